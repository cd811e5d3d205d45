"""The parts of an adaptive gate: how good each step of a first attempt looks, and whether the task is difficult.

A scorer is any function from an episode to one score in [0, 1] per turn, registered in the group `imprint.scorers`:

    [project.entry-points."imprint.scorers"]
    my-reward-model = "my_package:score"

The published gate has a process reward model here. Ours do without one: `confidence` and `validity` are read off the
attempt itself; `oracle` knows how it ended, which nobody knows outside of a test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from imprint.errors import RecipeError
from imprint.support import plugins
from imprint.types import Episode

GROUP = "imprint.scorers"


class GateConfig(BaseModel):
    """The recipe's `gate` section (method `adaptmi`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scorer: str = Field(
        default="confidence",
        description="What scores a step of the first attempt: confidence, validity, oracle (knows how it ended), or "
        "one registered under `imprint.scorers`.",
    )
    t1: float = Field(
        default=0.85, ge=0, le=1, description="Difficult if the last step, or the mean, scores at most this."
    )
    t2: float = Field(default=0.7, ge=0, le=1, description="Difficult if any step scores at most this.")
    show: Literal["all", "missing"] = Field(
        default="all", description="What a second attempt reads; `missing` (AdaptMI+): what the first did not show."
    )


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
        key="gate.scorer",
        hint="set gate.scorer: validity, or name a scorer of your own",
    )


def validity(episode: Episode) -> list[float]:
    """Whether the world took each command: the least that any attempt says about itself."""
    return [float(turn.valid) for turn in episode.turns]


def oracle(episode: Episode) -> list[float]:
    """The outcome, for every step: with it, the gate opens for exactly the attempts that failed."""
    return [float(episode.success)] * len(episode.turns)


def make_scorer(name: str) -> StepScorer:
    """The scorer registered as `name`.

    Raises:
        RecipeError: there is none, or its package cannot be imported.
    """
    scorer: StepScorer = plugins.load(GROUP, "scorer", name, "gate.scorer")
    return scorer


def is_difficult(scores_T: Sequence[float], config: GateConfig) -> bool:
    """The published rule over the scores r_1..r_k: r_k <= t1, or their mean <= t1, or some r_i <= t2."""
    if not scores_T:  # nothing was done at all
        return True
    return scores_T[-1] <= config.t1 or fmean(scores_T) <= config.t1 or min(scores_T) <= config.t2


def both_attempts(first: Episode, second: Episode) -> Episode:
    """One record of a task that was tried twice: the second's outcome, and the turns that both have cost."""
    return replace(second, turns=(*first.turns, *second.turns), prompt_ids=(), token_ids=(), logprobs=())
