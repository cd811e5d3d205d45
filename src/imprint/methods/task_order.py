"""Which training tasks a step plays."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imprint.rollout.base import derive_seed
from imprint.types import Task

__all__ = ["TaskOrder"]

MEMORY = 0.8  # of a category's success, per step that plays it
UNKNOWN = 0.5  # the success of a category that was not played yet


class TaskOrder:
    """The training tasks of each step: a seeded shuffle of the split, walked through, shuffled anew when used up.

    Args:
        count: tasks per step.
        balance: each category is walked through by itself, and the categories take turns.
        focus: each category is walked through by itself, and how often one is drawn is proportional to
            1 - focus x its success in training (a running mean); 0: categories are not drawn.
    """

    def __init__(self, tasks: Sequence[Task], count: int, *, balance: bool, seed: int, focus: float = 0.0) -> None:
        self.count = count
        self.seed = seed
        self.focus = focus
        by_category: dict[str, list[Task]] = {}
        for task in tasks if balance or focus else ():
            by_category.setdefault(task.category, []).append(task)
        self.categories = sorted(by_category)
        self.decks = [by_category[name] for name in self.categories] or [list(tasks)]
        self.taken = [0] * len(self.decks)  # of each deck, where categories are drawn
        self.success: dict[str, float] = {}

    def at(self, step: int) -> list[Task]:
        """The tasks of a step, counted from 0; with `focus` the steps are asked for in their order."""
        if self.focus:
            return self._focused(random.Random(derive_seed(self.seed, "focus", step)))
        places, decks = range(step * self.count, (step + 1) * self.count), self.decks
        return [self._drawn(decks[place % len(decks)], place // len(decks)) for place in places]

    def note(self, played: Iterable[tuple[str, bool]]) -> None:
        """Take in the category and the success of the episodes of a step."""
        if not self.focus:
            return
        won: dict[str, list[bool]] = {}
        for category, success in played:
            won.setdefault(category, []).append(success)
        for category, results in won.items():
            before = self.success.get(category, UNKNOWN)
            self.success[category] = MEMORY * before + (1 - MEMORY) * sum(results) / len(results)

    def state(self) -> dict[str, Any]:
        """What an exact resume needs, JSON-ready."""
        return {"taken": self.taken, "success": self.success}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """The inverse of `state`; None (a checkpoint without it) changes nothing."""
        if state is not None:
            self.taken, self.success = list(state["taken"]), dict(state["success"])

    def _focused(self, rng: random.Random) -> list[Task]:
        weights = [1 - self.focus * self.success.get(name, UNKNOWN) for name in self.categories]
        tasks = []
        for deck in rng.choices(range(len(self.decks)), weights, k=self.count):
            tasks.append(self._drawn(self.decks[deck], self.taken[deck]))
            self.taken[deck] += 1
        return tasks

    def _drawn(self, deck: Sequence[Task], place: int) -> Task:
        round_, index = divmod(place, len(deck))
        order = list(range(len(deck)))
        random.Random(derive_seed(self.seed, "tasks", round_)).shuffle(order)
        return deck[order[index]]
