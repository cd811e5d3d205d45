"""Scores of turns by hand."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from imprint.rewards import RewardConfig, turn_scores
from imprint.types import Episode, StopReason, Task, Turn


def episode(success: bool, *turns: tuple[float, bool]) -> Episode:
    played = tuple(Turn("", "look", "", reward, valid, 10, 0, 0) for reward, valid in turns)
    stop = StopReason.SUCCESS if success else StopReason.TURN_LIMIT
    return Episode(Task("t", "pick", "train"), 0, (), "", played, success, stop)


SOLVED = episode(True, (0.0, True), (0.0, False), (10.0, True))
FAILED = episode(False, (0.5, True), (0.0, False))


def test_outcome_goes_to_every_turn_and_the_penalty_to_its_own():
    assert turn_scores(SOLVED, RewardConfig()) == pytest.approx([1.0, 0.9, 1.0])
    assert turn_scores(FAILED, RewardConfig()) == pytest.approx([0.0, -0.1])


def test_the_paper_s_figures():
    assert turn_scores(SOLVED, RewardConfig(success=10.0)) == pytest.approx([10.0, 9.9, 10.0])


def test_the_environment_s_own_return():
    config = RewardConfig(success=None, invalid_penalty=0.0)
    assert turn_scores(SOLVED, config) == [10.0] * 3
    assert turn_scores(FAILED, config) == [0.5] * 2


def test_turn_cost_lowers_the_outcome_of_long_episodes():
    assert turn_scores(SOLVED, RewardConfig(turn_cost=0.01)) == pytest.approx([0.97, 0.87, 0.97])


def test_no_turns_no_scores():
    assert turn_scores(episode(False), RewardConfig()) == []


@pytest.mark.parametrize("wrong", [{"bonus": 1}, {"invalid_penalty": -0.1}, {"success": 0}, {"turn_cost": "nan"}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        RewardConfig(**wrong)


def test_the_penalty_can_be_for_the_format_alone():
    turns = [Turn("", "", "", 0.0, False, 10, 0, 0, well_formed=kept) for kept in (True, False)]
    played = Episode(Task("t", "pick", "train"), 0, (), "", tuple(turns), False, StopReason.TURN_LIMIT)
    assert turn_scores(played, RewardConfig()) == pytest.approx([-0.1, -0.1])
    assert turn_scores(played, RewardConfig(invalid="format")) == pytest.approx([0.0, -0.1])
    assert Episode.from_record(played.to_record()) == played
