"""Demonstrations that a policy begins and the teacher finishes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprint.context.config import ContextConfig
from imprint.engine.local import rollout_for
from imprint.envs.base import PractisableWorld
from imprint.envs.household.engine import GameEngine
from imprint.envs.household.random_rules import Lesson, make_random_rules
from imprint.envs.household.teacher import PAGE_WEIGHT, TakenOver
from imprint.envs.household.world import HouseholdWorld
from imprint.errors import RecipeError
from imprint.models.sampling import Sampling
from imprint.pretrain.own_play import OwnPlay
from imprint.pretrain.recipe import PretrainRecipe
from imprint.pretrain.train import train_base
from imprint.skills.library import load_library
from imprint.support.progress import Progress
from tiny import continuing, tiny_policy


def strayed(game: TakenOver, seed: int, turns: int) -> list[str]:
    """Possible commands drawn at random, which lead anywhere."""
    engine, rng = GameEngine(game.rules.game), random.Random(seed)
    engine.reset()
    actions: list[str] = []
    while len(actions) < turns:
        actions.append(rng.choice([*engine.admissible(), "go to nowhere 9", "take mug 1 from nowhere 9"]))
        if engine.step(actions[-1]).done:
            break
    return actions


@given(seed=st.integers(0, 10_000), turns=st.integers(0, 20))
def test_wherever_a_policy_strays_the_teacher_wins_from_there(seed, turns):
    game = HouseholdWorld(max_turns=40).practice(seed, lesson="renamed")
    actions = strayed(game, seed, turns)
    demo = game.finished(actions)
    if demo is None:  # it was won by chance, or what is in the way cannot be put back
        return
    assert demo.success
    assert [(action, weight) for action, _, weight in demo.turns[: len(actions)]] == [(a, 0.0) for a in actions]
    assert all(weight > 0 for _, _, weight in demo.turns[len(actions) :])


def test_hardly_anything_is_lost():
    games = [HouseholdWorld(max_turns=40).practice(seed, lesson="full") for seed in range(150)]
    finished = [game.finished(strayed(game, seed, seed % 12)) for seed, game in enumerate(games)]
    assert sum(demo is not None for demo in finished) > 140


def test_a_thing_taken_by_mistake_is_put_back_where_it_was():
    for seed in range(100):
        rules = make_random_rules(seed, lesson=Lesson(closed_book=0.0))
        game = TakenOver(rules, 40)
        engine = GameEngine(rules.game)
        engine.reset()
        takes: list[str] = []
        for place in engine.tables.name_R:
            engine.step(f"go to {place}")
            takes = [c for c in engine.admissible() if c.startswith("take ")]
            takes = [c for c in takes if not c.startswith(f"take {rules.game.goal.object_type.lower()} ")]
            if takes:
                break
        if not takes:
            continue
        begun = [f"go to {place}", takes[0]]
        demo = game.finished(begun)
        thing = takes[0].removeprefix("take ").partition(" from ")[0]
        assert demo is not None
        assert demo.turns[2][0] == f"move {thing} to {place}"
        assert demo.turns[2][2] == PAGE_WEIGHT
        return
    pytest.fail("no game with another thing in reach")


def test_what_is_begun_is_drawn_from_the_seed_alone():
    world = HouseholdWorld(max_turns=20)
    assert isinstance(world, PractisableWorld)
    rollout = rollout_for(tiny_policy(max_context=2048), world, ContextConfig(style="plain"))
    lessons = ["orders", "full", "line", "full"]
    first, again, other = (
        OwnPlay(world, rollout, Sampling(1.0, 24)).demonstrations(lessons, seed) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert 1 <= len(first) <= 3  # orders have no game to begin
    assert all(demo.turns[-1][1].success for demo in first)


def test_a_recipe_can_ask_for_it(tmp_path):
    recipe = continuing(
        tmp_path,
        steps=2,
        demos=4,
        lessons={"line": 0},
        own_play=1,
        show_interval=2,
        show_tasks=1,
        env={"name": "household", "max_turns": 20, "train": 6, "validation": 6},
    )
    with Progress("pretrain", quiet=True) as progress:
        policy, _ = train_base(recipe, load_library("household"), tmp_path / "out", progress)
    assert policy.max_context == 2048


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"env": {"name": "search"}, "skills": "search"}, "practice"),
        ({"context": {"style": "plain", "skills": "image"}}, "drawn"),
    ],
)
def test_a_world_whose_teacher_cannot_take_over_is_refused(tmp_path, changes, hint):
    recipe = PretrainRecipe(name="t", own_play=0, **changes)
    with Progress("pretrain", quiet=True) as progress, pytest.raises(RecipeError, match=hint) as failure:
        train_base(recipe, load_library("household"), tmp_path / "out", progress)
    assert failure.value.key == "own_play"
