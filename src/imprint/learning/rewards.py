"""Rewards: a score for each turn of an episode, which learning compares within a group."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from imprint.types import Episode

__all__ = ["RewardConfig", "discounted_returns", "outcome", "turn_scores"]


class RewardConfig(BaseModel):
    """The `reward` section of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    success: float | None = Field(
        default=1.0,
        gt=0,
        description="The outcome of a solved task (0 otherwise); null takes the environment's own return.",
    )
    invalid_penalty: float = Field(
        default=0.1, ge=0, description="Taken from the turns whose action was not understood or not possible."
    )
    invalid: Literal["action", "format"] = Field(
        default="action",
        description="Which turns are penalised: `format`, as published, only those whose answer breaks the format.",
    )
    turn_cost: float = Field(default=0.0, ge=0, description="Taken from the outcome for every turn of the episode.")
    compression_bonus: float = Field(
        default=0.0,
        ge=0,
        description="Times ln c, for a turn of a solved task that asked for its next picture to be compressed by c "
        "(published: 0.01).",
    )
    compression_interval: int = Field(default=8, ge=1, description="The bonus is given every N training steps.")


def outcome(episode: Episode, config: RewardConfig) -> float:
    """What an episode as a whole is worth, before costs and penalties."""
    return episode.episode_return if config.success is None else config.success * episode.success


def turn_scores(episode: Episode, config: RewardConfig, *, step: int | None = None) -> list[float]:
    """The score of each turn: the outcome of the whole episode, less what the turn itself did wrong.

    With n turns, score_t = outcome - turn_cost * n - invalid_penalty * [turn t was invalid]. What is invalid
    is set by `config.invalid`: an answer out of format, or also a command that is not possible. The outcome is
    not discounted and not divided among the turns; the penalty touches its own turn only.

    In training steps that `compression_interval` divides, a turn of a solved task gets compression_bonus * ln c_t on
    top, for the factor c_t that it asked for (SKILL0, arXiv 2604.02268, by its code). At most 0.01 * ln 5 = 0.016
    beside an outcome of 1, it is the *only* difference within a group that solved its task throughout: divided by that
    group's deviation it would become a whole advantage, and squeezing pictures the goal. `advantage.std_floor` sees to
    that.

    Args:
        step: the training step, from 1 on; None: no bonus.

    Returns:
        One score per turn, in order; empty for an episode without turns.
    """
    shared = outcome(episode, config) - config.turn_cost * len(episode.turns)
    return [shared - penalty + bonus for penalty, bonus in _own_parts(episode, config, step)]


def discounted_returns(
    episode: Episode, config: RewardConfig, discount: float, *, step: int | None = None
) -> list[float]:
    """What each turn led to, later rewards discounted: GiGPO's step return (arXiv 2505.10978, Eq. 5).

    G_t = r_t + discount * G_{t+1}, with r the turn's reward less `turn_cost`: the environment's own where
    `config.success` is null, else the outcome, at the last turn. Penalty and bonus touch their own turn only, as in
    `turn_scores`.

    Args:
        discount: above 0, at most 1. At 1 and without `turn_cost`, an outcome gives `turn_scores`.
        step: as in `turn_scores`.

    Returns:
        One return per turn, in order; empty for an episode without turns.
    """
    rewards = [turn.reward if config.success is None else 0.0 for turn in episode.turns]
    if rewards and config.success is not None:
        rewards[-1] = outcome(episode, config)
    returns, later = [0.0] * len(rewards), 0.0
    for t in reversed(range(len(rewards))):
        returns[t] = later = rewards[t] - config.turn_cost + discount * later
    own = _own_parts(episode, config, step)
    return [value - penalty + bonus for value, (penalty, bonus) in zip(returns, own, strict=True)]


def _own_parts(episode: Episode, config: RewardConfig, step: int | None) -> list[tuple[float, float]]:
    """The penalty and the bonus of each turn."""
    valid = [turn.well_formed if config.invalid == "format" else turn.valid for turn in episode.turns]
    bonus = config.compression_bonus * episode.success
    if step is None or step % config.compression_interval:
        bonus = 0.0
    return [
        (0.0 if is_valid else config.invalid_penalty, bonus * math.log(turn.compression))
        for turn, is_valid in zip(episode.turns, valid, strict=True)
    ]
