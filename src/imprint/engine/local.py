"""The local engine: the parts of a run, built from its recipe, in one process on one device."""

from __future__ import annotations

from pathlib import Path

import torch

from imprint.context.config import ANSWER, LINE, ContextConfig
from imprint.context.prompt import Context
from imprint.context.visual import VisualContext
from imprint.engine.base import Engine
from imprint.envs.base import World, goal_of, own_format
from imprint.errors import RecipeError
from imprint.learning.learner import Learner
from imprint.models.local.policy import Policy
from imprint.models.local.sampler import LocalSampler
from imprint.recipe import Recipe
from imprint.rollout.pictures import PictureRollout
from imprint.rollout.tokens import TokenRollout
from imprint.security.vetting import Override
from imprint.skills.library import SkillLibrary


class LocalEngine(Engine):
    """Policy, world, skills, rollout, learner and evaluator of one recipe.

    Args:
        model: a folder to load in place of the recipe's model (a checkpoint to evaluate).
        trust: skills that are used whatever was found in them.
        library: in place of the recipe's.

    Raises:
        ImprintError: any part of the recipe that cannot be had, before anything is trained.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: str | Path | None = None,
        trust: Override | None = None,
        library: SkillLibrary | None = None,
    ) -> None:
        if recipe.threads is not None:
            torch.set_num_threads(recipe.threads)
        super().__init__(recipe, model, trust, library)
        draws = recipe.context.draws
        self.policy = Policy.load(
            model or recipe.model,
            device=recipe.device,
            dtype=recipe.dtype,
            pictures=draws,
            max_context=recipe.max_context,
        )
        self.device = str(self.policy.device)
        rollout = rollout_for(self.policy, self.world, recipe.context, recipe.rollout.batch)
        self.sampler, self.context = rollout.sampler, rollout.context
        if isinstance(self.context, VisualContext):
            self.draw = self.context.renderer.pixels
        self._use(rollout, LINE if self.context.style == "plain" else ANSWER)

    def sync(self, learner: object) -> None:
        self.sampler.sync(learner)

    @property
    def token_context(self) -> Context:
        return self.context

    def learner(self, recipe: Recipe, weights: Path | None = None) -> Learner:
        """A fresh optimizer on the policy's weights, by the settings of `recipe`.

        Args:
            weights: a checkpoint whose weights the policy gets first.

        Raises:
            RecipeError: the weights are too coarse for small updates to change them.
        """
        if recipe.dtype != "float32" and recipe.steps:
            raise RecipeError(
                f"{recipe.dtype} weights cannot be trained: most updates are smaller than their last digit",
                key="dtype",
                hint="set dtype: float32, and learner.precision: bfloat16 to compute in bfloat16",
            )
        temperature = recipe.rollout.temperature
        return Learner(self.policy, recipe.learner, total_steps=recipe.steps, temperature=temperature, weights=weights)


def rollout_for(policy: Policy, world: World, config: ContextConfig, batch: int = 256) -> TokenRollout:
    """The rollout that a context asks for, with the context itself."""
    sampler = LocalSampler(policy)
    if not config.draws:
        return TokenRollout(sampler, world, Context(policy, config, *own_format(world)), batch=batch)
    visual = VisualContext(policy, config, *own_format(world), goal_of(world))
    return (TokenRollout if visual.grows else PictureRollout)(sampler, world, visual, batch=batch)
