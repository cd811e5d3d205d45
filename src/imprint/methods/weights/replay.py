"""Replay: what readers once did well, kept to be learned again (self-imitation, Oh et al. 2018, arXiv 1806.05635)."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import torch

from imprint.learning.config import Transfer
from imprint.learning.scoring import Sample
from imprint.types import Draw, Picture, undrawn

HEART_MEMORY = 0.8  # of the running mean of a category's scores by heart, per group of episodes


class Replay:
    """Transferred samples by category, each with the score its episode had, beside what is now scored by heart.

    A drawn sample weighs max(0, score - score by heart) of its category: that paper's (R - V)+, with a running mean
    for V. What is known by heart is rehearsed no more.

    Args:
        transfer: the rules that the samples were made under; its `replay_size` newest of each category are kept.
        draw: gives restored pictures their pixels, where there are pictures.
    """

    def __init__(self, transfer: Transfer, draw: Draw | None = None) -> None:
        self.transfer = transfer
        self._pixels = draw or undrawn
        self._kept: dict[str, deque[tuple[Sample, float]]] = {}
        self._by_heart: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(len(kept) for kept in self._kept.values())

    def add(self, category: str, sample: Sample, score: float) -> None:
        """Keep a sample whose advantages are 1 where it is to be learned, and 0 elsewhere."""
        self._kept.setdefault(category, deque(maxlen=self.transfer.replay_size)).append((sample, score))

    def note_by_heart(self, category: str, score: float) -> None:
        """Move a category's running mean towards the mean score of a group's episodes without the page."""
        before = self._by_heart.get(category, score)
        self._by_heart[category] = HEART_MEMORY * before + (1 - HEART_MEMORY) * score

    def draw(self, dice: random.Random) -> list[Sample]:
        """`transfer.replay` samples, as many of each category, without those that nothing is left to gain from."""
        categories = sorted(self._kept)
        dice.shuffle(categories)
        drawn = []
        for place in range(self.transfer.replay if categories else 0):
            category = categories[place % len(categories)]
            sample, score = dice.choice(self._kept[category])
            gain = score - self._by_heart.get(category, 0.0)
            if gain > 0:
                drawn.append(sample.scaled(self.transfer.weight * gain))
        return drawn

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        kept = {category: [_packed(*entry) for entry in entries] for category, entries in self._kept.items()}
        return {"kept": kept, "by_heart": dict(self._by_heart)}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self._kept.clear()
        for category, entries in state["kept"].items():
            for entry in entries:
                self.add(category, *self._unpacked(entry))
        self._by_heart = dict(state["by_heart"])

    def _unpacked(self, entry: dict[str, Any]) -> tuple[Sample, float]:
        mask, old, learned = (entry[name].numpy() for name in ("mask", "old_logprobs", "learned"))
        prompt, tokens = (tuple(entry[name].tolist()) for name in ("prompt", "tokens"))
        pictures = tuple(Picture(text, factor, self._pixels) for text, factor in entry.get("pictures", ()))
        return Sample(prompt, tokens, mask, old, learned, self.transfer, pictures), float(entry["score"])


def _packed(sample: Sample, score: float) -> dict[str, Any]:
    return {
        "prompt": torch.tensor(sample.prompt_ids, dtype=torch.int32),
        "tokens": torch.tensor(sample.token_ids, dtype=torch.int32),
        "mask": torch.from_numpy(sample.mask_T),
        "old_logprobs": torch.from_numpy(sample.old_logprobs_T),
        "learned": torch.from_numpy(sample.advantages_T),
        "score": score,
        "pictures": [(picture.text, picture.factor) for picture in sample.pictures],
    }
