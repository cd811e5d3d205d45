"""What every engine has: a world, skills, and somebody who plays in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imprint.envs.base import SPLITS, World, make_ready_world
from imprint.errors import RecipeError
from imprint.measure.evaluate import Evaluator
from imprint.models.sampling import Sampling
from imprint.models.served.usage import Meter
from imprint.recipe import Recipe
from imprint.rollout.base import Player
from imprint.security.vetting import Override, vet
from imprint.skills.library import load_library
from imprint.types import Task

if TYPE_CHECKING:
    from imprint.learning.learner import Learner


LINE, ANSWER = 24, 512  # tokens of the longest response: a command, or a chat answer with its thoughts


def check_pictures(recipe: Recipe) -> None:
    """See that what a recipe says of pictures has an effect.

    Raises:
        RecipeError: nobody sees a picture by which its compression could be chosen, or a server is to be sent some.
    """
    context = recipe.context
    if context.compression and not context.draws:
        raise RecipeError(
            "there is no picture to compress",
            key="context.compression",
            hint="set context.history: image (or context.skills), or context.compression: false",
        )
    if context.draws and recipe.endpoint is not None:
        raise RecipeError(
            "pictures are not sent to a model behind an endpoint",
            key="context.skills" if context.skills == "image" else "context.history",
            hint="set it to text, or take a local vision-language model and no endpoint",
        )


class Engine:
    """World, skills, rollout and evaluator of one recipe.

    Attributes:
        rollout: who plays; given by the engine's kind.
        meter: what the model was asked and what that costs, where somebody counts.
        verdicts: what was decided about each skill, before a model sees any of them.
    """

    rollout: Player
    sampling: Sampling
    evaluator: Evaluator
    meter: Meter | None = None

    def __init__(self, recipe: Recipe, trust: Override | None = None) -> None:
        self.recipe = recipe
        check_pictures(recipe)
        self.world: World = make_ready_world(recipe.env.name, **recipe.env.options)
        self.library = load_library(recipe.skills, lenient=recipe.lenient)
        self.library.check(self.world.categories)
        self.verdicts = vet(self.library, recipe.trust, trust)

    def _seat(self, rollout: Player, longest: int) -> None:
        """Let `rollout` play, for training and for evaluation; answers have at most `longest` tokens by default."""
        recipe, limit = self.recipe, self.recipe.rollout.max_new_tokens or longest
        self.rollout = rollout
        self.sampling = Sampling(recipe.rollout.temperature, limit)
        self.evaluator = Evaluator(rollout, self.library, Sampling(recipe.evaluation.temperature, limit), recipe.seed)

    def learner(self) -> Learner:
        """What changes the weights.

        Raises:
            RecipeError: this engine has no weights that can be changed.
        """
        raise RecipeError(
            "a model behind an endpoint cannot be trained",
            key="endpoint",
            hint="choose a method that only measures (zero_shot, few_shot, skic, adaptmi), or a local model",
        )

    def tasks(self, split: str, count: int | None = None) -> Sequence[Task]:
        """The first `count` tasks of a split.

        Raises:
            RecipeError: there are none, or one has a category that the world does not declare.
        """
        found = self.world.tasks(split)
        if not found:
            raise RecipeError(f"the split {split!r} is empty", key="env", hint=f"give tasks for {', '.join(SPLITS)}")
        for task in found:
            if task.category not in self.world.categories:
                raise RecipeError(
                    f"task {task.id!r} has the unknown category {task.category!r}",
                    key="env",
                    hint=f"categories are: {', '.join(self.world.categories)}",
                )
        if count is not None and count > len(found):
            raise RecipeError(
                f"{count} {split} tasks are asked for and there are {len(found)}",
                key="evaluation",
                hint="ask for fewer, or give the world more",
            )
        return found[:count]
