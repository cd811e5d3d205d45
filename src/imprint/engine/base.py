"""What every engine has: a world, skills, and what plays in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from imprint.agent import Agent, ModelRef
from imprint.context.config import check_pictures
from imprint.envs.base import SPLITS, World, make_ready_world
from imprint.envs.checked import environment_errors
from imprint.errors import RecipeError
from imprint.measurement.conditions import WITH
from imprint.measurement.evaluate import Evaluator
from imprint.methods.base import Learner, Workbench, measuring_methods
from imprint.models.sampling import Sampling
from imprint.models.served.usage import Meter
from imprint.recipe import Recipe
from imprint.rollout.base import Rollout
from imprint.security.vetting import Override, vet
from imprint.skills.library import SkillLibrary, load_library
from imprint.types import Draw, Task

if TYPE_CHECKING:
    from imprint.context.prompt import Context
    from imprint.runs.run import Run
    from imprint.support.progress import Progress


class Engine:
    """World, skills, rollout and evaluator of one recipe.

    Args:
        model: in place of the recipe's.
        trust: skills that are used whatever was found in them.
        library: in place of the recipe's; it is vetted like that.

    Attributes:
        rollout: what plays; given by the engine's kind.
        device: where the model's weights are; "" behind an endpoint.
        meter: what the model was asked and what that costs, where it is counted.
        kept_in: the file that keeps each finished episode, so that what was stopped resumes; None: nothing does.
        verdicts: what was decided about each skill, before a model sees any of them.
        agent: the recipe's model with its library, which shows all skills.
    """

    rollout: Rollout
    sampling: Sampling
    evaluator: Evaluator
    device: str = ""
    meter: Meter | None = None
    kept_in: Path | None = None
    draw: Draw | None = None

    def __init__(
        self,
        recipe: Recipe,
        model: str | Path | None = None,
        trust: Override | None = None,
        library: SkillLibrary | None = None,
    ) -> None:
        self.recipe = recipe
        recipe.refuse_missing(*(["model"] if model else []), *(["skills"] if library is not None else []))
        check_pictures(recipe.context, served=recipe.endpoint is not None)
        self.world: World = make_ready_world(recipe.env.name, **recipe.env.options)
        if library is None:
            self.library = load_library(recipe.skills, lenient=recipe.lenient, categories=self.world.categories)
        else:
            self.library = library
            library.check(self.world.categories, unserved=recipe.skills.unserved == "play")
        self.verdicts = vet(self.library, recipe.trust, trust)
        endpoint = None if recipe.endpoint is None else recipe.endpoint.base_url
        self.agent = Agent(ModelRef(str(model or recipe.model), endpoint=endpoint), self.library, WITH, recipe.skills)

    def _use(self, rollout: Rollout, longest: int) -> None:
        """Let `rollout` play, for training and for evaluation; answers have at most `longest` tokens by default."""
        recipe, limit = self.recipe, self.recipe.rollout.max_new_tokens or longest
        self.rollout = rollout
        self.sampling = Sampling(recipe.rollout.temperature, limit)
        self.evaluator = Evaluator(rollout, self.library, Sampling(recipe.evaluation.temperature, limit), recipe.seed)

    def bench(self, run: Run, progress: Progress) -> Workbench:
        """What a method works with."""
        return Workbench(
            recipe=self.recipe,
            world=self.world,
            rollout=self.rollout,
            sampling=self.sampling,
            evaluator=self.evaluator,
            run=run,
            progress=progress,
            make_learner=self.learner,
            task_source=partial(tasks_of, self.world),
            context=self.token_context,
            meter=self.meter,
            draw=self.draw,
            sync=self.sync,
        )

    @property
    def token_context(self) -> Context | None:
        """How episodes are rendered as tokens; None where they have none."""
        return None

    def sync(self, learner: object) -> None:
        """Tell the sampler that the learner has changed the weights."""

    def learner(self, recipe: Recipe, weights: Path | None = None) -> Learner:
        """What changes the weights, by the settings of `recipe`, from those of a checkpoint (None: as they are).

        Raises:
            RecipeError: this engine has no weights that can be changed.
        """
        raise RecipeError(
            "a model behind an endpoint cannot be trained",
            key="endpoint",
            hint=f"choose a method that only measures ({', '.join(measuring_methods())}), or a local model",
        )

    def tasks(self, split: str, count: int | None = None) -> Sequence[Task]:
        """The first `count` tasks of a split; see `tasks_of`."""
        return tasks_of(self.world, split, count)


def tasks_of(world: World, split: str, count: int | None = None) -> Sequence[Task]:
    """The first `count` tasks of a world's split.

    Raises:
        RecipeError: there are none or fewer, one has a category that the world does not declare, or two have one id.
        GameError: the world raises something that is no error of Imprint's.
    """
    with environment_errors(world.name, f"the tasks of {split!r}"):
        found = world.tasks(split)
    if not found:
        raise RecipeError(f"the split {split!r} is empty", key="env", hint=f"give tasks for {', '.join(SPLITS)}")
    for task in found:
        if task.category not in world.categories:
            raise RecipeError(
                f"task {task.id!r} has the unknown category {task.category!r}",
                key="env",
                hint=f"categories are: {', '.join(world.categories)}",
            )
    twice = [name for name, times in Counter(task.id for task in found).items() if times > 1]
    if twice:
        raise RecipeError(
            f"{len(twice):,} ids of {split!r} stand for several tasks, the first is {twice[0]!r}",
            key="env",
            hint="give each task an id of its own: what is measured is paired by it",
        )
    if count is not None and count > len(found):
        raise RecipeError(
            f"{count} {split} tasks are asked for and there are {len(found)}",
            key="evaluation",
            hint="ask for fewer, or give the world more",
        )
    return found[:count]
