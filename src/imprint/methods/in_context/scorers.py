"""Scorers: how good each step of an attempt looks.

A scorer is any function from an episode to one score in [0, 1] per turn, registered in the group `imprint.scorers`:

    [project.entry-points."imprint.scorers"]
    my-reward-model = "my_package:score"

AdaptMI, as published, has a process reward model here. Ours do without one: `confidence` and `validity` are read off
the attempt itself; `oracle` knows how it ended, which is not known outside of a test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Protocol

from imprint.errors import RecipeError
from imprint.support import plugins
from imprint.types import Episode

GROUP = "imprint.scorers"
KEY = "adaptmi.scorer"


class StepScorer(Protocol):
    """How good each step of an attempt looks."""

    def __call__(self, episode: Episode) -> Sequence[float]:
        """One score in [0, 1] per turn of `episode`, in order."""
        ...


def confidence(episode: Episode) -> list[float]:
    """How sure the policy was: the mean log-probability of a turn's tokens as a probability; 0 for an invalid turn.

    Not a reward model: a policy can be sure and wrong. The log-probs are at the sampling temperature (at 0: of 1).

    Raises:
        RecipeError: the log-probs are not known.
    """
    if episode.turns and not episode.logprobs:
        raise unknown_logprobs()
    return [math.exp(fmean(episode.logprobs[turn.start : turn.stop])) if turn.valid else 0.0 for turn in episode.turns]


def unknown_logprobs() -> RecipeError:
    """What is wrong with asking a served model how sure it was."""
    return RecipeError(
        "the log-probs of a served model are not known",
        key=KEY,
        hint="set adaptmi.scorer: validity, or name a scorer of your own",
    )


def validity(episode: Episode) -> list[float]:
    """Whether the world took each command: the least that any attempt shows about itself."""
    return [float(turn.valid) for turn in episode.turns]


def oracle(episode: Episode) -> list[float]:
    """The outcome, for every step: with it, exactly the attempts that failed are tried again."""
    return [float(episode.success)] * len(episode.turns)


def make_scorer(name: str) -> StepScorer:
    """The scorer registered as `name`.

    Raises:
        RecipeError: there is none, or its package cannot be imported.
    """
    scorer: StepScorer = plugins.load(GROUP, "scorer", name, KEY)
    return scorer
