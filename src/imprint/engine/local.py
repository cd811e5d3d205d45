"""The local engine: the parts of a run, built from its recipe, in one process on one device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from imprint.context.prompt import Context
from imprint.envs.base import SPLITS, World, make_world
from imprint.errors import RecipeError
from imprint.evaluate import Evaluator
from imprint.learning.learner import Learner
from imprint.policy.local import Sampling
from imprint.policy.model import Policy
from imprint.recipe import Recipe
from imprint.rollout import Rollout
from imprint.skills.library import load_library
from imprint.types import Task


class LocalEngine:
    """Policy, world, skills, rollout, learner and evaluator of one recipe.

    Args:
        model: a folder to load in place of the recipe's model (a checkpoint to evaluate).

    Raises:
        ImprintError: any part of the recipe that cannot be had, before anything is trained.
    """

    def __init__(self, recipe: Recipe, model: str | Path | None = None) -> None:
        if recipe.threads is not None:
            torch.set_num_threads(recipe.threads)
        self.recipe = recipe
        self.world: World = make_world(recipe.env.name, **recipe.env.options)
        self.library = load_library(recipe.skills)
        self.library.check(self.world.categories)
        self.policy = Policy.load(model or recipe.model, device=recipe.device, dtype=recipe.dtype)
        self.context = Context(self.policy, recipe.context, getattr(self.world, "templates", None))
        self.rollout = Rollout(self.policy, self.world, self.context, batch=recipe.rollout.batch)
        limit = recipe.rollout.max_new_tokens or (24 if self.context.style == "plain" else 512)
        self.sampling = Sampling(recipe.rollout.temperature, limit)
        self.evaluator = Evaluator(
            self.rollout, self.library, Sampling(recipe.evaluation.temperature, limit), recipe.seed
        )

    def learner(self) -> Learner:
        """A fresh optimizer on the policy's weights.

        Raises:
            RecipeError: the weights are too coarse for small updates to change them.
        """
        recipe = self.recipe
        if recipe.dtype != "float32" and recipe.steps:
            raise RecipeError(
                f"{recipe.dtype} weights cannot be trained: most updates are smaller than their last digit",
                key="dtype",
                mend="set dtype: float32, and learner.precision: bfloat16 to compute in bfloat16",
            )
        return Learner(self.policy, recipe.learner, total_steps=recipe.steps, temperature=recipe.rollout.temperature)

    def tasks(self, split: str, count: int | None = None) -> Sequence[Task]:
        """The first `count` tasks of a split.

        Raises:
            RecipeError: there are none, or one has a category that the world does not declare.
        """
        found = self.world.tasks(split)
        if not found:
            raise RecipeError(f"the split {split!r} is empty", key="env", mend=f"give tasks for {', '.join(SPLITS)}")
        for task in found:
            if task.category not in self.world.categories:
                raise RecipeError(
                    f"task {task.id!r} has the unknown category {task.category!r}",
                    key="env",
                    mend=f"categories are: {', '.join(self.world.categories)}",
                )
        if count is not None and count > len(found):
            raise RecipeError(
                f"{count} {split} tasks are asked for and there are {len(found)}",
                key="evaluation",
                mend="ask for fewer, or give the world more",
            )
        return found[:count]
