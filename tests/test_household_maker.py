"""The maker of household games: what it promises about every game, and about the three splits."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprint.envs.base import SPLITS
from imprint.envs.household.catalog import AFFORDANCES, CONTAINS, OPENABLE, ROOMS
from imprint.envs.household.engine import GameEngine
from imprint.envs.household.expert import solve
from imprint.envs.household.game import FAMILIES, Game, Rules
from imprint.envs.household.maker import (
    MakerConfig,
    check_disjoint,
    game_file,
    goal_of,
    layout_of,
    make_game,
    write_games,
)
from imprint.envs.household.pddl import load_game, parse_game, read_expression
from imprint.envs.household.splits import SHARES, asks_of
from imprint.errors import GameError

SIZES = ("small", "medium", "alfred")


@lru_cache
def sample(size: str, split: str = "train", count: int = 120, seed: int = 0) -> tuple[Game, ...]:
    config = MakerConfig(seed=seed, size=size)  # type: ignore[arg-type]
    return tuple(make_game(split, index, config) for index in range(count))


def portable(game: Game) -> list[str]:
    return [thing.type for thing in game.objects if "pickupable" in thing.flags]


@pytest.mark.parametrize("size", SIZES)
def test_the_stored_walkthrough_wins_and_not_before_its_end(size: str) -> None:
    for game in sample(size):
        engine = GameEngine(game)
        assert 0 < len(game.walkthrough) <= 20, game.id
        for command in game.walkthrough:
            assert not engine.won, game.id
            assert engine.step(command).valid, (game.id, command)
        assert engine.won, game.id


@pytest.mark.parametrize("size", SIZES)
def test_the_goal_is_not_true_at_the_start(size: str) -> None:
    for game in sample(size):
        engine = GameEngine(game)
        engine.reset()
        assert not engine.step("inventory").success, game.id
        assert len(solve(GameEngine(game))) == len(game.walkthrough), game.id


@given(
    split=st.sampled_from(SPLITS),
    index=st.integers(0, 10**9),
    seed=st.integers(-5, 2**40),
    size=st.sampled_from(SIZES),
)
@settings(max_examples=60)
def test_any_game_is_deterministic_solvable_and_well_formed(split: str, index: int, seed: int, size: Any) -> None:
    config = MakerConfig(seed=seed, size=size)
    game = make_game(split, index, config)
    assert make_game(split, index, config) == game
    engine = GameEngine(game)
    assert solve(engine) and engine.won
    well_formed(game)


def well_formed(game: Game) -> None:
    names = [r.id for r in game.receptacles] + [o.id for o in game.objects] + [game.start]
    assert len({name.lower() for name in names}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) for name in names)
    assert game.start not in {r.location for r in game.receptacles}
    where = {r.id: r for r in game.receptacles}
    for thing in game.objects:
        assert thing.receptacle is not None
        assert thing.location == where[thing.receptacle].location
        for flag, types in AFFORDANCES.items():
            assert (flag in thing.flags) == (thing.type in types)
    assert all(r.type in OPENABLE for r in game.receptacles if r.openable)
    assert all(o in CONTAINS[r] for r, o in game.can_contain)


def test_other_seeds_sizes_splits_and_indices_give_other_games() -> None:
    base = make_game("train", 0)
    others = [
        make_game("train", 6),
        make_game("test", 0),
        make_game("train", 0, MakerConfig(seed=1)),
        make_game("train", 0, MakerConfig(size="medium")),
    ]
    assert len({game.receptacles for game in [base, *others]}) == 5


def test_a_known_game_stays_as_it_is() -> None:
    """A change that redraws every game (and so makes old runs incomparable) should be meant."""
    game = make_game("train", 0)
    assert (game.family, game.sentence, layout_of(game), game.walkthrough) == KNOWN


KNOWN = (
    "pick_and_place_simple",
    "put some statue on countertop.",
    tuple(
        {
            "ArmChair": 1,
            "Bed": 2,
            "Cabinet": 2,
            "CounterTop": 1,
            "Dresser": 1,
            "GarbageCan": 1,
            "Shelf": 1,
        }.items()
    ),
    (
        "go to shelf 1",
        "take statue 1 from shelf 1",
        "go to countertop 1",
        "move statue 1 to countertop 1",
    ),
)


@pytest.mark.parametrize("families", [FAMILIES, FAMILIES[2:4]])
def test_every_prefix_is_balanced_over_the_families(families: tuple[str, ...]) -> None:
    config = MakerConfig(families=families)
    counts = Counter(dict.fromkeys(families, 0))
    for index in range(25):
        counts[make_game("validation", index, config).family] += 1
        assert max(counts.values()) - min(counts.values()) <= 1
    assert set(counts) == set(families)


@pytest.mark.parametrize(
    ("size", "receptacles", "objects"), [("small", (6, 9), (6, 12)), ("medium", (10, 16), (12, 20))]
)
def test_sizes_are_in_their_ranges(size: str, receptacles: tuple[int, int], objects: tuple[int, int]) -> None:
    games = sample(size)
    found = {len(game.receptacles) for game in games}
    assert found == set(range(receptacles[0], receptacles[1] + 1))
    assert {len(portable(game)) for game in games} == set(range(objects[0], objects[1] + 1))


def test_alfred_rooms_are_about_as_full_as_the_published_ones() -> None:
    games = sample("alfred")
    kitchens = [game for game in games if any(r.type == "Fridge" for r in game.receptacles)]
    others = [game for game in games if game not in kitchens]
    assert 29 < mean([len(game.receptacles) for game in kitchens]) < 37
    assert 12 < mean([len(game.receptacles) for game in others]) < 18
    assert 39 < mean([len(portable(game)) for game in kitchens]) < 50
    assert 16 < mean([len(portable(game)) for game in others]) < 26


def mean(values: list[int]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("size", SIZES)
def test_the_objects_suit_the_family_and_the_right_tool_is_not_the_only_one(size: str) -> None:
    tools = {"Microwave", "Fridge", "SinkBasin"}
    needed = {"clean": "SinkBasin", "heat": "Microwave", "cool": "Fridge"}
    seen = set()
    for game in sample(size):
        furniture = {r.type for r in game.receptacles}
        treatment = game.family.split("_")[1]
        if treatment in needed:
            kind = game.goal.object_type
            assert kind in AFFORDANCES[f"{treatment}able"]
            assert needed[treatment] in furniture
            assert tools <= furniture or "Toilet" in furniture
            assert game.goal.target_type != needed[treatment]
            seen.add(treatment)
        if game.family == "pick_two_obj_and_place":
            assert portable(game).count(game.goal.object_type) >= 2
    assert seen == set(needed)


def test_some_things_are_shut_away_and_some_furniture_shares_a_spot() -> None:
    """Measured on the published games: a quarter of the objects, and a sixth of the furniture."""
    games = sample("alfred")
    doors = {r.id: r.openable for game in games for r in game.receptacles}
    shut = [doors[thing.receptacle or ""] for game in games for thing in game.objects]
    spots = [Counter(r.location for r in game.receptacles) for game in games]
    shared = sum(n for spot in spots for n in spot.values() if n > 1) / sum(map(sum, (s.values() for s in spots)))
    assert 0.15 < mean(shut) < 0.3
    assert 0.08 < shared < 0.2


def test_the_sentences_are_the_published_ones() -> None:
    patterns = {
        "pick_and_place_simple": {"put some X on Y.", "put a X in Y."},
        "look_at_obj_in_light": {"look at X under the Y.", "examine the X with the Y."},
        "pick_clean_then_place_in_recep": {"clean some X and put it in Y.", "put a clean X in Y."},
        "pick_heat_then_place_in_recep": {"heat some X and put it in Y.", "put a hot X in Y."},
        "pick_cool_then_place_in_recep": {"cool some X and put it in Y.", "put a cool X in Y."},
        "pick_two_obj_and_place": {"put two X in Y.", "find two X and put them in Y."},
    }
    found: dict[str, set[str]] = {family: set() for family in FAMILIES}
    for game in sample("small"):
        _, thing, target = goal_of(game)
        text = re.sub(rf"\b{thing.lower()}\b", "X", game.sentence)
        found[game.family].add(re.sub(rf"\b{target.lower()}\b", "Y", text))
    assert found == patterns


# --- the splits ---


def test_no_goal_and_no_layout_is_in_two_splits_whatever_the_size_and_seed() -> None:
    made: dict[str, list[Game]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for seed, (size, count) in enumerate((("small", 700), ("medium", 200), ("alfred", 100))):
            made[split] += sample(size, split, count, seed)
    check_disjoint(made)


def test_goals_are_parted_about_70_15_15_with_enough_in_every_family() -> None:
    for family in FAMILIES:
        sizes = {split: len(asks_of(split)[family]) for split in SPLITS}
        total = sum(sizes.values())
        assert min(sizes.values()) >= 4, family
        for split in SPLITS:
            assert abs(sizes[split] - total * SHARES[split] / 100) <= 1, (family, split)


def test_every_goal_combination_of_a_split_turns_up() -> None:
    config = MakerConfig(families=("pick_heat_then_place_in_recep",))
    found = {goal_of(make_game("test", index, config))[1:] for index in range(120)}
    wanted = {(ask.object_type, ask.target) for ask in asks_of("test")["pick_heat_then_place_in_recep"]}
    assert found == wanted


@pytest.mark.parametrize("what", ["goal", "layout"])
def test_check_disjoint_names_both_games(what: str) -> None:
    game, other = make_game("train", 0), make_game("test", 1)
    twin = replace(other, id="made/test/x", **borrowed(game, what))
    check_disjoint({"train": [game], "test": [other]})
    with pytest.raises(GameError, match=f"made/test/x.*same {what} as made/train/0 of train"):
        check_disjoint({"train": [game], "test": [other, twin]})


def borrowed(game: Game, what: str) -> dict[str, Any]:
    if what == "layout":
        return {"receptacles": game.receptacles}
    return {"family": game.family, "goal": game.goal}


# --- files ---


@pytest.mark.parametrize("size", SIZES)
def test_a_file_reads_back_to_an_equal_game(size: str) -> None:
    for game in sample(size)[:24]:
        document = json.loads(json.dumps(game_file(game)))
        assert parse_game(document, game.id) == game
        assert document["solvable"] is True


def test_written_games_are_where_alfworld_looks_for_them(tmp_path: Path) -> None:
    paths = write_games(tmp_path, "train", 6)
    assert paths == sorted(paths, key=paths.index) and len(set(paths)) == 6
    for index, path in enumerate(paths):
        game = make_game("train", index)
        assert path.name == "game.tw-pddl"
        assert path.parent.name == f"made_{index}"
        family, thing, target = goal_of(game)
        assert re.fullmatch(rf"{family}-{thing}-None-{target}-\d+", path.parent.parent.name)
        assert path.parent.parent.parent == tmp_path / "train"
        loaded = load_game(path)
        assert replace(loaded, id=game.id) == game
        trajectory = json.loads((path.parent / "traj_data.json").read_text(encoding="utf-8"))
        assert trajectory["task_type"] == family
        assert trajectory["pddl_params"]["object_target"] == thing
        assert target in (
            trajectory["pddl_params"]["parent_target"],
            trajectory["pddl_params"]["toggle_target"],
        )
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == 6 * ["game.tw-pddl"] + 6 * ["traj_data.json"]


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_games(tmp_path, "test", 3)]
    assert [path.read_bytes() for path in write_games(tmp_path, "test", 3)] == first


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("in the way", encoding="utf-8")
    with pytest.raises(GameError, match="cannot be written"):
        write_games(tmp_path, "train", 1)


def test_what_the_domain_cannot_express_is_refused() -> None:
    game = make_game("train", 0)
    with pytest.raises(GameError, match="rules or commands of its own"):
        game_file(replace(game, rules=Rules(heat=frozenset({"Toaster"}))))
    strange = replace(game.objects[0], flags=frozenset({"edible"}))
    with pytest.raises(GameError, match="no predicate for 'edible'"):
        game_file(replace(game, objects=(strange, *game.objects[1:])))
    injected = replace(game.objects[0], id="Mug_bar_1) (opened x")
    with pytest.raises(GameError, match="no PDDL name"):
        game_file(replace(game, objects=(injected, *game.objects[1:])))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_game("training", 0), "no split 'training'"),
        (lambda: make_game("train", -1), "0 or more"),
        (lambda: MakerConfig(families=("juggle",)), "unknown family 'juggle'"),
        (lambda: MakerConfig(families=()), "no family"),
        (lambda: MakerConfig(size="huge"), "unknown size 'huge'"),  # type: ignore[arg-type]
    ],
)
def test_bad_requests_say_what_to_do(call: Any, message: str) -> None:
    with pytest.raises(GameError, match=f"{message}(.|\n)*hint"):
        call()


# --- the templates against the published domain and grammar ---


@pytest.fixture(scope="module")
def published(alfworld_data: Path) -> dict[str, Any]:
    path = min((alfworld_data / "json_2.1.1" / "valid_seen").glob("*/*/game.tw-pddl"))
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def actions(domain: str) -> dict[str, dict[str, Any]]:
    parts = read_expression(domain, where="domain", key="pddl_domain")
    found = [part for part in parts if isinstance(part, list) and part[0] == ":action"]
    return {part[1]: dict(zip(part[2::2], part[3::2], strict=True)) for part in found}


def normal(expression: Any) -> Any:
    """Without costs, switches that nothing asks about, the order of a conjunction, and needless and/or."""
    if isinstance(expression, str):
        return expression
    items = [normal(item) for item in expression]
    items = [item for item in items if item and item[0] not in ("increase", "when")]
    if not items or items[0] not in ("and", "or"):
        return tuple(items)
    return items[1] if len(items) == 2 else (items[0], *sorted(items[1:], key=str))


def test_the_domain_has_the_published_actions(published: dict[str, Any]) -> None:
    ours, theirs = actions(game_file(make_game("train", 0))["pddl_domain"]), actions(published["pddl_domain"])
    assert ours.keys() == theirs.keys()
    for name, action in ours.items():
        keys = (":parameters", ":effect") if name == "examineObject" else tuple(action)
        for key in keys:
            assert normal(action[key]) == normal(theirs[name][key]), (name, key)
    # The published condition also names what lies in reach, in a form that no engine has ever matched.
    assert normal(ours["examineObject"][":precondition"]) == ("holds", "?a", "?o")


def grammar_parts(grammar: str) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
    rules: dict[str, Any] = {}
    for block in re.findall(r'grammar :: """(.*?)"""', grammar, re.DOTALL):
        rules |= json.loads(block)
    commands = re.findall(r'action (\w+) \{\s*template :: "(.*?)";\s*feedback :: "(.*?)";', grammar, re.DOTALL)
    return rules, {name: (template, feedback) for name, template, feedback in commands}


def test_the_grammar_has_the_published_commands_and_sentences(published: dict[str, Any]) -> None:
    game = make_game("train", 0)
    our_rules, our_commands = grammar_parts(game_file(game)["grammar"])
    rules, commands = grammar_parts(published["grammar"])
    names = {"facing": "look-variations", "beside": "list_objects_on_the_floor", "around": "list_appliances"}
    assert our_commands.keys() == actions(published["pddl_domain"]).keys()
    for name, (template, feedback) in our_commands.items():
        assert template == commands[name][0]
        if name == "help":
            assert feedback == commands[name][1]
    for name, alternatives in our_rules.items():
        if name == "task":
            assert alternatives == [{"rhs": f"Your task is to: {game.sentence}"}]
            continue
        text = json.dumps(alternatives)
        for our_name, their_name in names.items():
            text = text.replace(f"#{our_name}#", f"#{their_name}#")
        if name == "ToggleObject.feedback":  # after the action it is always on
            assert json.loads(text)[0]["rhs"] == rules["toggleObject.feedback"][0]["rhs"]
            continue
        their_name = names.get(name, name if name in rules else name[0].lower() + name[1:])
        assert json.loads(text) == rules[their_name], name


def test_the_catalogue_agrees_with_the_published_games(alfworld_data: Path) -> None:
    paths = sorted((alfworld_data / "json_2.1.1" / "valid_seen").glob("*/*/game.tw-pddl"))[::10]
    furniture = {piece.type for room in ROOMS for piece in room.furniture}
    for path in paths:
        game = load_game(path)
        assert {r.type for r in game.receptacles} <= furniture
        assert all(o in CONTAINS[r] for r, o in game.can_contain)
        for thing in game.objects:
            for flag, types in AFFORDANCES.items():
                assert (flag in thing.flags) == (thing.type in types), thing.id
