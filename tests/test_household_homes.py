"""Made games of size `alfred`: drawn from what was counted; and the smaller ones, which must not change."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from imprint.envs.base import SPLITS
from imprint.envs.household.catalog import CONTAINS
from imprint.envs.household.engine import GameEngine
from imprint.envs.household.game import FAMILIES, Game
from imprint.envs.household.homes import _rake
from imprint.envs.household.maker import MakerConfig, game_file, goal_of, make_game
from imprint.envs.household.room_statistics import KINDS, Histogram, Tree, fours, kind_of, room_statistics
from imprint.envs.household.splits import LIGHT, TREATED

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@lru_cache
def homes(split: str = "train", count: int = 240) -> tuple[Game, ...]:
    return tuple(make_game(split, index, MakerConfig(size="alfred")) for index in range(count))


@pytest.mark.parametrize(
    ("size", "known"),
    [
        ("small", "ca329b98691071b12da76c3a1504983c21d79830963dd228b91b9fd3a53ed2ff"),
        ("medium", "641ea56aedecf689bb89340935c2b6f1abff74402207f9ec19d0ecf78998ca8d"),
        ("alfred", "5ae1097798e25e97f75cb79f9961d7fa444edf3b396cd2427052acab415649d7"),
    ],
)
def test_games_stay_byte_for_byte_what_they_were(size: Any, known: str) -> None:
    """Published runs were made with the smaller ones; a change that redraws the rooms of `alfred` should be meant."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for index in range(12):
            digest.update(json.dumps(game_file(make_game(split, index, MakerConfig(size=size)))).encode())
    assert digest.hexdigest() == known


# --- what counts are drawn with ---


def test_a_histogram_gives_values_as_often_as_they_were_counted() -> None:
    rng = random.Random(0)
    drawn = Counter(Histogram({"a": 1, "never": 0, "b": 3}).draw(rng) for _ in range(4000))
    assert set(drawn) == {"a", "b"}
    assert drawn["b"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_a_tree_keeps_pairs_together_and_apart_from_whichever_end_it_is_drawn() -> None:
    # 60 rooms with desk and lamp, 40 with neither; 30 of the rooms without a lamp have a bed, none of the others.
    tree = Tree({"Desk Lamp": [[40, 0], [0, 60]], "Lamp Bed": [[10, 30], [60, 0]]})
    rng = random.Random(0)
    for _ in range(50):
        assert tree.draw(rng, "Desk") == {"Desk": 1, "Lamp": 1, "Bed": 0}
        assert tree.draw(rng, "Bed") == {"Desk": 0, "Lamp": 0, "Bed": 1}
    assert tree.share("Lamp") == 0.6
    assert tree.share("Bed") == 0.3
    assert "Sofa" not in tree


def test_raking_gives_a_part_the_margins_of_the_whole() -> None:
    whole = {("Mug", "Desk", "x"): 6.0, ("Mug", "Bed", "x"): 2.0, ("Cup", "Desk", "x"): 1.0, ("Cup", "Bed", "x"): 1.0}
    part = {key: n for key, n in whole.items() if key != ("Cup", "Bed", "x")}
    fitted = _rake(whole, part)
    # Two cups in ten, all on the desk; three things in ten on the bed, all mugs: one way is left.
    wanted = {("Mug", "Desk", "x"): 0.5, ("Mug", "Bed", "x"): 0.3, ("Cup", "Desk", "x"): 0.2}
    total = sum(fitted.values())
    assert {key: n / total for key, n in fitted.items()} == pytest.approx(wanted, abs=0.02)
    assert _rake(whole, whole) == pytest.approx(whole)


def test_the_room_statistics_name_things_and_places_that_the_maker_knows() -> None:
    facts = room_statistics()
    assert set(facts.rooms) == set(KINDS)
    assert {family for family, _, _ in facts.goals} == set(FAMILIES)
    assert facts.single <= set(CONTAINS)
    for kind, room in facts.rooms.items():
        assert all(name in room.things_tree or name == "DeskLamp" for name in room.things), kind
        assert {place for places in room.lies.values() for place in places} <= set(CONTAINS)
        assert set(room.things) == set(room.lies)


# --- what the games are like ---


@pytest.mark.parametrize("split", SPLITS)
def test_only_published_goals_are_asked_for_and_each_in_a_room_where_it_was(split: str) -> None:
    goals = room_statistics().goals
    for game in homes(split, 60):
        rooms = goals[goal_of(game)]
        assert rooms[KINDS.index(kind_of(r.type for r in game.receptacles))] > 0, game.id


def test_nothing_asked_for_begins_where_it_has_to_end_or_in_its_tool() -> None:
    for game in homes():
        types = {r.id: r.type for r in game.receptacles}
        tool = TREATED[game.family][0] if game.family in TREATED else game.goal.target_type
        for thing in game.objects:
            if thing.type == game.goal.object_type:
                assert tool not in {types[name] for name in (thing.receptacle or "", *thing.also_in)}, game.id


def test_what_is_asked_for_is_cold_from_the_fridge_and_nothing_else_is() -> None:
    seen = Counter()
    for game in homes():
        types = {r.id: r.type for r in game.receptacles}
        for thing in game.objects:
            cold = thing.type == game.goal.object_type and types[thing.receptacle or ""] == "Fridge"
            assert ("iscool" in thing.flags) == cold
            seen[cold] += 1
    assert seen[True] > 5


def test_a_burner_or_hook_holds_one_thing_that_is_not_asked_for() -> None:
    for game in homes():
        single = {r.id for r in game.receptacles if r.type in room_statistics().single}
        others = [o.receptacle for o in game.objects if o.type != game.goal.object_type and o.receptacle in single]
        assert len(others) == len(set(others)), game.id


def test_a_coffee_machine_stands_on_something_that_holds_its_mug_too() -> None:
    found = Counter()
    for game in homes():
        types = {r.id: r.type for r in game.receptacles}
        for thing in game.objects:
            if types[thing.receptacle or ""] == "CoffeeMachine":
                found.update([types[name] for name in thing.also_in] or ["nothing"])
    assert found["CounterTop"] > found["nothing"]
    assert set(found) <= {"CounterTop", "DiningTable", "nothing"}


def test_some_lamps_stand_beside_what_is_to_be_looked_at() -> None:
    games = [game for game in homes() if game.family == LIGHT]
    spots = [{o.receptacle for o in game.objects if o.type == "DeskLamp"} for game in games]
    beside = [
        any(o.type == game.goal.object_type and o.receptacle in spot for o in game.objects)
        for game, spot in zip(games, spots, strict=True)
    ]
    assert 0.1 < sum(beside) / len(games) < 0.7


def test_rooms_are_of_published_sizes() -> None:
    for game in homes():
        layout = [r.type for r in game.receptacles]
        assert room_statistics().rooms[kind_of(layout)].totals[fours(len(layout))] > 0


def test_a_sink_that_is_a_thing_is_declared_as_one() -> None:
    """Published games have no receptacle type Sink either, though their domain names it."""
    game = next(game for game in homes() if any(o.type == "Sink" for o in game.objects))
    problem = game_file(game)["pddl_problem"]
    assert "SinkType - otype" in problem and "SinkType - rtype" not in problem
    engine = GameEngine(game)
    for command in game.walkthrough:
        engine.step(command)
    assert engine.won


# --- the comparison ---


@pytest.fixture
def support(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from support import distribution

    return distribution


def test_the_distance_is_the_share_to_be_moved(support: Any) -> None:
    import numpy as np

    assert support.distance(np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25])) == 0.25
    assert support.distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0


def test_a_statistic_of_the_task_is_compared_within_its_family(support: Any) -> None:
    import numpy as np

    games = homes()[:6]
    tally = support.Tally(support.walkthrough_length, {"made": games, "longer": [*games[:5], games[0]]})
    assert {family for family, _ in tally.keys} == {game.family for game in games}
    even = np.full(6, 1 / 6)
    assert support.distance(tally.shares("made", even), tally.shares("longer", even)) == pytest.approx(1 / 6)


def test_family_weights_give_the_families_their_shares(support: Any) -> None:
    games = homes()[:9]  # two of each of the first three families
    shares = dict(zip(FAMILIES, (0.25, 0.09, 0.2, 0.11, 0.18, 0.17), strict=True))
    weights = support.family_weights(games, shares)
    for family, share in shares.items():
        assert sum(w for w, game in zip(weights, games, strict=True) if game.family == family) == pytest.approx(share)


@pytest.mark.slow
def test_the_comparison_runs_on_published_games(alfworld_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "maker_distribution.py"), "--quick", "--json", str(tmp_path / "out")]
    command += ["--games", str(alfworld_data / "json_2.1.1" / "valid_seen"), "--figure", str(tmp_path / "f.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "out").read_text())["figures"]
    assert figures["receptacles"]["made"][0] < 0.3
    assert (tmp_path / "f.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_room_statistics_are_what_their_command_counts(
    alfworld_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "room_statistics.json"
    command = [sys.executable, str(BENCHMARKS / "support" / "count_rooms.py")]
    command += [str(alfworld_data / "train.jsonl.gz"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    from imprint.envs.household import room_statistics as module

    assert out.read_text() == (Path(module.__file__).parent / module.FILE).read_text()
