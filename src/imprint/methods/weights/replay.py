"""Replay: what readers once did well, kept to be learned again (self-imitation, Oh et al. 2018, arXiv 1806.05635)."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from imprint.learning.sample import OffPolicy, Sample, packed, unpacked
from imprint.types import Draw

MEMORY = 0.8  # of the running mean of a category's scores without skills, per group of episodes


class Replay:
    """Transferred samples by category, each with the score its episode had, beside what is now scored without skills.

    A drawn sample is weighted by max(0, score - score without skills) of its category: that paper's (R - V)+, with a
    running mean for V. What is known without the skill text is replayed no more.

    Args:
        count: samples drawn at a time.
        size: the newest so many of each category are kept.
        rules: those that the samples were made under.
        draw: gives restored pictures their pixels, where there are pictures.
    """

    def __init__(self, count: int, size: int, rules: OffPolicy | None = None, draw: Draw | None = None) -> None:
        self.count = count
        self.size = size
        self.rules = rules
        self.draw_pixels = draw
        self._kept: dict[str, deque[tuple[Sample, float]]] = {}
        self._without: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(len(kept) for kept in self._kept.values())

    def add(self, category: str, sample: Sample, score: float) -> None:
        """Keep a sample whose advantages are 1 where it is to be learned, and 0 elsewhere."""
        self._kept.setdefault(category, deque(maxlen=self.size)).append((sample, score))

    def note_without(self, category: str, score: float) -> None:
        """Move a category's running mean towards the mean score of a group's episodes without skills."""
        before = self._without.get(category, score)
        self._without[category] = MEMORY * before + (1 - MEMORY) * score

    def draw(self, rng: random.Random, weight: float = 1.0) -> list[Sample]:
        """`count` samples, as many of each category, without those that nothing is left to gain from."""
        categories = sorted(self._kept)
        rng.shuffle(categories)
        drawn = []
        for place in range(self.count if categories else 0):
            category = categories[place % len(categories)]
            sample, score = rng.choice(self._kept[category])
            gain = score - self._without.get(category, 0.0)
            if gain > 0:
                drawn.append(sample.scaled(weight * gain))
        return drawn

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        kept = {
            category: [packed(sample) | {"score": score} for sample, score in entries]
            for category, entries in self._kept.items()
        }
        return {"kept": kept, "without": dict(self._without)}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`; older checkpoints call the running means `by_heart`."""
        self._kept.clear()
        for category, entries in state["kept"].items():
            for entry in entries:
                self.add(category, unpacked(entry, self.rules, self.draw_pixels), float(entry["score"]))
        self._without = dict(state["without"] if "without" in state else state["by_heart"])
