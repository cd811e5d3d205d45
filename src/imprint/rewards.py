"""What an episode is worth: a score for each of its turns, which learning compares within a group."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from imprint.types import Episode

__all__ = ["RewardConfig", "turn_scores"]


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


def turn_scores(episode: Episode, config: RewardConfig) -> list[float]:
    """The score of each turn: the outcome of the whole episode, less what the turn itself did wrong.

    With n turns, score_t = outcome - turn_cost * n - invalid_penalty * [turn t was invalid]. What is invalid,
    `config.invalid` says: an answer out of format, or also a command that is not possible. The outcome is
    not discounted and not divided among the turns; the penalty touches its own turn only.

    Returns:
        One score per turn, in order; empty for an episode without turns.
    """
    outcome = episode.episode_return if config.success is None else config.success * episode.success
    shared = outcome - config.turn_cost * len(episode.turns)
    valid = [turn.well_formed if config.invalid == "format" else turn.valid for turn in episode.turns]
    return [shared - (0.0 if is_valid else config.invalid_penalty) for is_valid in valid]
