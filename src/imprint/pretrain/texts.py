"""Texts of a world's language, for pictures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice

from imprint.context.prompt import CUE
from imprint.envs.base import TeachableWorld

HELD_OUT = 300  # texts of the world's language that no lesson uses


def some_text(texts: Sequence[str], rng: random.Random, longest: int = 600) -> str:
    """A few of the texts, one after the other; the first starts at a random word."""
    words = rng.choice(texts).split(" ")
    parts = [" ".join(words[rng.randrange(len(words)) :])]
    wanted = rng.randint(60, longest)
    while sum(map(len, parts)) < wanted:
        parts.append(rng.choice(texts))
    return "\n".join(parts)[:longest]


def language_of(world: TeachableWorld, count: int = 6000, *, cued: bool = False) -> list[str]:
    """The first texts of a world's language, without those too short to draw.

    Args:
        cued: with the cue before each command, as a transcript has it.
    """
    texts = [
        (CUE + text if cued and text.startswith(" ") else text).removesuffix(CUE)
        for text in islice(world.language(), count)
    ]
    return [text.strip("\n" if cued else "\n >") for text in texts if len(text.strip("\n >")) > 3]
