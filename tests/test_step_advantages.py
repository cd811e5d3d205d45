"""Step-level advantages: numbers worked by hand, the laws they obey, and a direct reading of GiGPO's formulas."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench import LIBRARY, Bench
from imprint.envs.household.engine import NOTHING, GameEngine
from imprint.envs.household.world import HouseholdEnvironment, HouseholdWorld
from imprint.errors import ImprintError, RecipeError
from imprint.learning.advantages import turn_advantages
from imprint.learning.rewards import RewardConfig, discounted_returns, turn_scores
from imprint.learning.sample import AdvantageOptions, group_samples, shared_state_turns
from imprint.learning.step_advantages import gigpo_advantages, shared_states, step_advantages
from imprint.measurement.conditions import WITH
from imprint.methods.loop import Loop
from imprint.recipe import parse_recipe
from imprint.types import Episode, StepResult, StopReason, Task, Turn

STEP = {"unit": "step", "scale": "none"}
episodes = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(-10, 10, allow_nan=False)), max_size=5), min_size=1, max_size=6
)


def apart(played: Sequence[Sequence[tuple[str, float]]]) -> tuple[list[list[float]], list[list[str]]]:
    """The returns and the states of drawn episodes."""
    return [[value for _, value in turns] for turns in played], [[state for state, _ in turns] for turns in played]


# --- by hand -------------------------------------------------------------------------------------------------------


def test_turns_are_compared_with_those_in_the_same_state():
    returns = [[0.9, 1.0], [0.0, 0.0, 0.3], [0.6]]
    anchors = [["door", "hall"], ["door", "cellar", "door"], ["door"]]
    # "door": 0.9, 0, 0.3 and 0.6 have the mean 0.45 and squares of 0.2025 + 0.2025 + 0.0225 + 0.0225 = 0.45
    std = math.sqrt(0.45 / 3)
    found = step_advantages(returns, anchors, "ggg")
    expected = [[0.45 / std, 0.0], [-0.45 / std, 0.0, -0.15 / std], [0.15 / std]]
    assert found == [pytest.approx(turns, abs=1e-5) for turns in expected]
    found = step_advantages(returns, anchors, "ggg", scale="none")
    assert found == [pytest.approx(turns) for turns in ([0.45, 0], [-0.45, 0, -0.15], [0.15])]


def test_a_state_of_another_group_is_another_state():
    assert step_advantages([[1.0], [0.0]], [["door"], ["door"]], "ab") == [[0.0], [0.0]]
    assert step_advantages([[1.0], [0.0]], [["door"], ["door"]], "aa", scale="none") == [[0.5], [-0.5]]


def test_the_two_advantages_are_added():
    scores, returns, anchors = [[1.0, 1.0], [0.0, 0.0]], [[0.5, 1.0], [0.0, 0.0]], [["s", "t"], ["s", "u"]]
    found = gigpo_advantages(scores, returns, anchors, "gg", step_weight=2.0, scale="none")
    assert found == [[0.5 + 2 * 0.25, 0.5], [-0.5 - 2 * 0.25, -0.5]]
    assert gigpo_advantages(scores, returns, anchors, "gg", step_weight=0.0) == turn_advantages(scores, "gg")


def test_the_deviation_has_a_floor():
    assert abs(step_advantages([[1.0], [1.01]], [["s"], ["s"]], "gg")[0][0]) > 0.5
    assert abs(step_advantages([[1.0], [1.01]], [["s"], ["s"]], "gg", std_floor=0.5)[0][0]) < 0.02


def test_bad_input_is_refused():
    with pytest.raises(ImprintError, match="nan"):
        step_advantages([[math.nan]], [["s"]], "g")
    for anchors in ([["s"]], [["s", "t"], []], [["s"], ["t", "u"]]):
        with pytest.raises(ValueError):
            step_advantages([[1.0], [0.0]], anchors, "gg")


def test_the_share_of_shared_states():
    anchors = [["s", "t"], ["s", "u"], ["s"]]
    assert shared_states(anchors, "ggh") == 2 / 5
    assert shared_states([["s", "s"]], "g") == 1.0
    assert shared_states([], "") == 0.0


def played(success: bool, *turns: tuple[float, bool]) -> Episode:
    made = tuple(
        Turn("", "look", f"saw {place}", reward, valid, 9, 0, 0) for place, (reward, valid) in enumerate(turns)
    )
    stop = StopReason.SUCCESS if success else StopReason.TURN_LIMIT
    return Episode(Task("t", "pick", "train"), 0, (), "begin", made, success, stop)


SOLVED = played(True, (0.0, True), (0.0, False), (10.0, True))


def test_returns_are_discounted_and_a_penalty_stays_with_its_turn():
    config = RewardConfig(success=2.0, invalid_penalty=0.1)
    assert discounted_returns(SOLVED, config, 0.5) == pytest.approx([0.5, 1.0 - 0.1, 2.0])
    assert discounted_returns(played(False, (9.0, True), (0.0, False)), config, 0.5) == pytest.approx([0.0, -0.1])
    own = RewardConfig(success=None, invalid_penalty=0.0)
    assert discounted_returns(played(False, (1.0, True), (4.0, True)), own, 0.5) == pytest.approx([3.0, 4.0])
    costly = RewardConfig(turn_cost=0.1, invalid_penalty=0.0)
    assert discounted_returns(SOLVED, costly, 0.5) == pytest.approx([0.25 - 0.175, 0.5 - 0.15, 0.9])
    assert discounted_returns(played(False), config, 0.5) == []


def test_without_a_discount_the_returns_are_the_scores():
    config = RewardConfig(success=3.0, compression_bonus=0.5)
    squeezed = replace(SOLVED, turns=tuple(replace(turn, compression=2.0) for turn in SOLVED.turns))
    for step in (None, 7, 8):
        found = discounted_returns(squeezed, config, 1.0, step=step)
        assert found == turn_scores(squeezed, config, step=step)


# --- laws ----------------------------------------------------------------------------------------------------------


@given(episodes, st.sampled_from(["std", "none"]))
def test_a_state_that_occurs_once_has_no_step_advantage_and_the_others_balance(drawn, scale):
    returns, anchors = apart(drawn)
    found = step_advantages(returns, anchors, ["g"] * len(drawn), scale=scale)
    by_state: dict[str, list[float]] = {}
    for values, states in zip(found, anchors, strict=True):
        for value, state in zip(values, states, strict=True):
            by_state.setdefault(state, []).append(value)
    for values in by_state.values():
        assert len(values) > 1 or values == [0.0]
        assert sum(values) == pytest.approx(0, abs=1e-6)


@given(episodes, st.floats(-10, 10, allow_nan=False))
def test_equal_returns_have_no_step_advantage(drawn, value):
    returns, anchors = apart(drawn)
    found = step_advantages([[value] * len(turns) for turns in returns], anchors, ["g"] * len(drawn))
    assert found == [[0.0] * len(turns) for turns in returns]


@given(episodes, st.randoms(use_true_random=False))
def test_step_advantages_follow_their_episodes_in_any_order(drawn, random):
    order = list(range(len(drawn)))
    random.shuffle(order)
    groups = [index % 2 for index in order]
    returns, anchors = apart(drawn)
    found = step_advantages(returns, anchors, list(range(2)) * (len(drawn) // 2) + [0] * (len(drawn) % 2))
    moved = step_advantages([returns[i] for i in order], [anchors[i] for i in order], groups)
    for place, index in enumerate(order):
        assert moved[place] == pytest.approx(found[index], abs=1e-6)


def reference(
    scores: Sequence[float],
    rewards: Sequence[Sequence[float]],
    anchors: Sequence[Sequence[Hashable]],
    groups: Sequence[Hashable],
    *,
    discount: float,
    weight: float,
    scaled: bool,
) -> list[list[float]]:
    """Equations 3 and 5 to 8, one turn at a time."""

    def normal(value: float, others: list[float]) -> float:
        sample = torch.tensor(others, dtype=torch.float64)
        if len(others) < 2:
            return 0.0
        return float((value - sample.mean()) / (sample.std() + 1e-6 if scaled else 1.0))

    def later(e: int, t: int) -> float:
        return sum(discount ** (k - t) * rewards[e][k] for k in range(t, len(rewards[e])))

    found = []
    for e, turns in enumerate(rewards):
        mates = [i for i, group in enumerate(groups) if group == groups[e]]
        whole = normal(scores[e], [scores[i] for i in mates if rewards[i]])
        row = []
        for t in range(len(turns)):
            same = [later(i, k) for i in mates for k in range(len(rewards[i])) if anchors[i][k] == anchors[e][t]]
            row.append(whole + weight * normal(later(e, t), same))
        found.append(row)
    return found


@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from("abcd"), max_size=6)), min_size=1, max_size=8),
    st.sampled_from(["std", "none"]),
    st.floats(0.1, 1.0),
)
def test_an_outcome_gives_what_the_formulas_say(drawn, scale, discount):
    config = RewardConfig(invalid_penalty=0.0)
    group = [played(success, *[(0.0, True)] * len(states)) for success, states in drawn]
    anchors = [states for _, states in drawn]
    groups = [place % 2 for place in range(len(drawn))]
    found = gigpo_advantages(
        [turn_scores(one, config) for one in group],
        [discounted_returns(one, config, discount) for one in group],
        anchors,
        groups,
        step_weight=0.7,
        scale=scale,
    )
    rewards = [[0.0] * (len(states) - 1) + [float(success)] if states else [] for success, states in drawn]
    scores = [float(success) for success, _ in drawn]
    scaled = scale == "std"
    expected = reference(scores, rewards, anchors, groups, discount=discount, weight=0.7, scaled=scaled)
    # Returns that differ by rounding only are beyond comparison, and the reference divides them by 1e-6.
    assert found == [pytest.approx(turns, abs=1e-3) for turns in expected]


# --- states --------------------------------------------------------------------------------------------------------


def household() -> tuple[HouseholdEnvironment, StepResult]:
    """A game and its opening."""
    world = HouseholdWorld(train=1)
    (task,) = world.tasks("train")
    game = HouseholdEnvironment(world)
    return game, game.reset(task, seed=0)


def test_a_household_game_is_in_the_same_state_after_what_changes_nothing_and_what_undoes_itself():
    game, begin = household()
    places = [command for command in begin.admissible if command.startswith("go to")]
    for idle in ("look", "inventory", "nonsense", "open the sky"):
        assert game.step(idle).state == begin.state != ""
    first = game.step(places[0])
    assert first.state != begin.state and first.state == first.anchor
    assert game.step(places[1]).state != first.state
    assert game.step(places[0]).state == first.state


def test_states_tell_apart_what_one_sentence_does_not():
    game, begin = household()
    found = {}
    for place in (command for command in begin.admissible if command.startswith("go to")):
        game.step(place)
        result = game.step("nonsense")
        assert result.observation == NOTHING
        found.setdefault(result.state, set()).add(game.engine.location)
    assert len(found) > 1 and all(len(locations) == 1 for locations in found.values())


def test_equal_states_of_a_household_go_on_alike():
    world = HouseholdWorld(train=6)
    for task in world.tasks("train"):
        seen: dict[str, tuple[str, ...]] = {}
        engine = GameEngine(world.game(task), with_admissible=True)
        result, visits = engine.reset(), 0
        for step in range(400):
            state = engine.state()
            visits += state in seen
            now = (*result.admissible, *(engine.copy().step(command).observation for command in result.admissible))
            assert seen.setdefault(state, now) == now
            result = engine.step(result.admissible[(step * step * 7 + step // 3) % len(result.admissible)])
            if result.done:
                break
        assert visits and len(seen) > 1


def test_without_a_state_a_moment_is_what_is_seen_and_possible():
    same = StepResult("Nothing happens.", admissible=("look",))
    assert same.anchor == StepResult("Nothing happens.", reward=1.0, admissible=("look",)).anchor
    others = [StepResult("Nothing happens."), StepResult("", admissible=("look",)), StepResult("s", state="here")]
    assert len({same.anchor, *(other.anchor for other in others)}) == 4


# --- in a run ------------------------------------------------------------------------------------------------------


def begun(folder, advantage):
    few = {"steps": 2, "rollout": {"tasks": 2, "group": 4, "max_new_tokens": 4}, "learner": {"lr": 1e-3}}
    evaluation = {"interval": 2, "tasks": 2, "test_tasks": 2}
    bench = Bench(folder, {"method": "grpo", **few, "evaluation": evaluation, "advantage": advantage})
    return bench, Loop(bench.parts)


def test_samples_carry_the_advantages_of_their_turns(tmp_path):
    bench, loop = begun(tmp_path / "run", {**STEP, "step_weight": 0.5, "discount": 0.8})
    groups = loop.play(lambda task, index: WITH.show(task, LIBRARY))
    groups = [[replace(e, success=place % 2 == 0) for place, e in enumerate(group)] for group in groups]
    samples = group_samples(groups, loop.scores(groups), loop.advantage)
    flat = [episode for group in groups for episode in group]
    assert all(len(episode.anchors) == len(episode.turns) for episode in flat)
    expected = gigpo_advantages(
        [turn_scores(e, bench.recipe.reward) for e in flat],
        [discounted_returns(e, bench.recipe.reward, 0.8) for e in flat],
        [e.anchors for e in flat],
        [0] * 4 + [1] * 4,
        step_weight=0.5,
        scale="none",
    )
    for sample, episode, advantages in zip(samples, flat, expected, strict=True):
        for turn, advantage in zip(episode.turns, advantages, strict=True):
            assert sample.advantages_T[turn.start : turn.stop] == pytest.approx(advantage)
    with pytest.raises(ValueError, match="returns"):
        group_samples(groups, loop.scores(groups), AdvantageOptions("step"))


def test_the_shared_states_of_a_run_are_logged_with_step_advantages_alone(tmp_path):
    bench, _ = begun(tmp_path / "run", STEP)
    bench.go()
    shares = [row["train/shared_states"] for row in bench.rows("metrics") if "env_steps" in row]
    assert len(shares) == 2 and all(0 < share <= 1 for share in shares)
    other, _ = begun(tmp_path / "other", {})
    other.go()
    assert not any("train/shared_states" in row for row in other.rows("metrics"))


def test_episodes_that_showed_other_skills_share_no_state_and_records_have_their_observations():
    one, other = replace(SOLVED, anchors=("s", "t", "u")), replace(SOLVED, anchors=("s", "v", "w"))
    assert shared_state_turns([[one, other]]) == 2 / 6
    assert shared_state_turns([[one, replace(other, skills=("red",))]]) == 0.0
    assert shared_state_turns([[one], [one]]) == 0.0
    assert shared_state_turns([[SOLVED, Episode.from_record(SOLVED.to_record())]]) == 1.0


@pytest.mark.parametrize("key", ["step_weight", "discount"])
def test_settings_of_the_step_are_refused_with_another_unit(key):
    with pytest.raises(RecipeError, match=rf"advantage\.{key}: has no effect with the unit 'turn'"):
        parse_recipe({"name": "t", "method": "grpo", "advantage": {"unit": "turn", key: 0.5}})
    assert parse_recipe({"name": "t", "method": "grpo", "advantage": {"unit": "step", key: 0.5}})
    with pytest.raises(RecipeError, match=key):
        parse_recipe({"name": "t", "method": "grpo", "advantage": {"unit": "step", key: -1}})


def test_a_recipe_with_step_advantages_survives_its_own_yaml():
    import yaml

    for advantage in ({}, {"unit": "step"}, {"unit": "step", "discount": 0.5}):
        recipe = parse_recipe({"name": "t", "method": "grpo", "advantage": advantage})
        assert parse_recipe(yaml.safe_load(recipe.to_yaml())).advantage == recipe.advantage
