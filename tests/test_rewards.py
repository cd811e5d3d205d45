"""Scores of turns by hand."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from imprint.learning.advantages import turn_advantages
from imprint.learning.rewards import RewardConfig, turn_scores
from imprint.recipe import Recipe
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


def squeezed(success: bool, *factors: float) -> Episode:
    turns = tuple(Turn("", "look", "", 0.0, True, 10, 0, 0, compression=factor) for factor in factors)
    stop = StopReason.SUCCESS if success else StopReason.TURN_LIMIT
    return Episode(Task("t", "pick", "train"), 0, (), "", turns, success, stop)


def test_compressing_is_rewarded_in_solved_tasks_every_eighth_step():
    config = RewardConfig(compression_bonus=0.01)
    bonus = [1 + 0.01 * math.log(2), 1.0, 1 + 0.01 * math.log(5)]
    for step in range(1, 25):
        expected = bonus if step in (8, 16, 24) else [1.0] * 3
        assert turn_scores(squeezed(True, 2, 1, 5), config, step=step) == pytest.approx(expected)
        assert turn_scores(squeezed(False, 2, 1, 5), config, step=step) == [0.0] * 3
    assert turn_scores(squeezed(True, 2, 1, 5), config) == [1.0] * 3
    assert turn_scores(squeezed(True, 2, 1, 5), RewardConfig(), step=8) == [1.0] * 3


@pytest.mark.parametrize("success", [1.0, 10.0])
def test_where_all_succeed_the_bonus_does_not_become_the_whole_advantage(success):
    """Without the guard the group's tiny deviation blows it up; with it, it stays beside what a success is worth."""
    reward = {"compression_bonus": 0.01, "success": success}
    guarded = Recipe(name="a", method="agentocr", reward=reward)
    bare = Recipe(name="a", method="agentocr", reward=reward, advantage={"std_floor": 0})
    assert Recipe(name="a", method="agentocr").std_floor == bare.std_floor == 0
    episodes = [squeezed(True, factor, factor) for factor in (1, 1, 1, 5)]
    scores = [turn_scores(episode, guarded.reward, step=8) for episode in episodes]
    unguarded = turn_advantages(scores, [0] * 4, std_floor=bare.std_floor)[-1][0]
    held = turn_advantages(scores, [0] * 4, std_floor=guarded.std_floor)[-1][0]
    assert unguarded > 1.4
    assert 0 < held < 0.13 / success
    # One failure among them, and both are the same: the guard touches nothing else.
    scores[0] = turn_scores(squeezed(False, 1, 1), guarded.reward, step=8)
    both = [turn_advantages(scores, [0] * 4, std_floor=floor) for floor in (guarded.std_floor, 0.0)]
    assert both[0] == both[1]


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
