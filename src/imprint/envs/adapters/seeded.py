"""What worlds share whose tasks are the seeds of another's environment: splits, categories, and what success is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from imprint.envs.base import SPLITS
from imprint.envs.values import as_truth
from imprint.errors import GameError, RecipeError
from imprint.types import Task

SPAN = 1_000_000  # seeds that a split may have
TURNS = 30  # of an episode, by default
UNKNOWN = "Nothing happens."  # the observation after a command that never reaches the environment
SUCCESS_HINT = "give True or False there, or set env.threshold: the sum of rewards that is a success"
Ask = Callable[[int], Any]  # of a seed: the category that the environment gives it


@dataclass(frozen=True)
class Seeds:
    """Tasks that are seeds: disjoint ranges of them for the splits, in categories.

    Args:
        categories: of tasks. One is that of all; of several, the environment gives that of each seed.
        counts: how many seeds each split has.
        seed: another one gives other ranges.
        where: the environment, for errors.

    Raises:
        RecipeError: a category is there twice, or a split is too large.
    """

    categories: tuple[str, ...]
    counts: Mapping[str, int]
    seed: int
    where: str

    def __post_init__(self) -> None:
        if len(set(self.categories)) < len(self.categories):
            raise RecipeError("a category is named twice", key="env.categories", hint="name each once")
        for split, count in self.counts.items():
            if count > SPAN:
                raise RecipeError(f"a split has at most {SPAN:,} seeds", key=f"env.{split}", hint="ask for fewer")

    def tasks(self, split: str, asking: Callable[[], AbstractContextManager[Ask]]) -> Sequence[Task]:
        """One task a seed; with several categories the environment is asked for that of each.

        Raises:
            RecipeError: there is no such split, or the environment gives no category of a task.
        """
        if split not in self.counts:
            raise RecipeError(f"there is no split {split!r}", key="split", hint=f"choose from: {', '.join(SPLITS)}")
        first = (self.seed * len(SPLITS) + SPLITS.index(split)) * SPAN
        seeds = range(first, first + self.counts[split])
        if len(self.categories) == 1:
            found = [self.categories[0]] * len(seeds)
        else:
            with asking() as ask:
                found = [self._checked(seed, ask(seed)) for seed in seeds]
        return [
            Task(f"{split}/{seed}", category, split, str(seed)) for seed, category in zip(seeds, found, strict=True)
        ]

    def _checked(self, seed: int, category: Any) -> str:
        if not isinstance(category, str) or category not in self.categories:
            given = "no category" if category is None else f"the category {category!r}"
            raise RecipeError(
                f"{self.where} gives the seed {seed} {given}",
                key="env.categories",
                hint="name all its categories, or one for all tasks",
            )
        return category


@dataclass(frozen=True, slots=True)
class SuccessRule:
    """When an episode is solved: by a value that the environment gives at its end, or by the sum of its rewards.

    Args:
        key: of that value.
        threshold: the sum from which on it is solved, in place of the value.
    """

    key: str
    threshold: float | None

    def of(self, values: Mapping[str, Any], total: float, where: str) -> bool:
        """Whether an episode that has ended is solved.

        Raises:
            GameError: the value is missing, or is neither true nor false.
        """
        if self.threshold is not None:
            return total >= self.threshold
        if self.key not in values:
            raise GameError(
                f"gives no {self.key!r} at the end of an episode, so that success is unknown",
                where=where,
                key="env.success",
                hint="name the key that it gives, or set env.threshold: the sum of rewards that is a success",
            )
        try:
            return as_truth(values[self.key], self.key)
        except GameError as error:
            problem = f"{self.key!r} at the end of an episode {error.problem}"
            raise GameError(problem, where=where, key="env.success", hint=SUCCESS_HINT) from error

    def unasked(self, total: float) -> bool:
        """Whether an episode is solved that our turn limit ended at a command that never reached the environment."""
        return self.threshold is not None and total >= self.threshold
