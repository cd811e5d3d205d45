"""Household games as stored: what is read from them, damaged files, and that every stored game can be won."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprint.envs.household.engine import GameEngine
from imprint.envs.household.expert import solve
from imprint.envs.household.game import FAMILIES, Game, Goal, Object, Receptacle, Rules
from imprint.envs.household.pddl import load_game, load_rows, load_template, parse_game
from imprint.errors import GameError

DOMAIN = """(define (domain d) ; (a comment
 (:action CleanObject :parameters (?r) :precondition (and (or (receptacleType ?r BathType))) :effect (x ?r))
 (:action HeatObject :parameters (?r) :precondition (receptacleType ?r StoveType) :effect (y ?r))
 (:action CoolObject :parameters (?r) :precondition (and (receptacleType ?r FridgeType)) :effect (y ?r))
 (:action SliceObject :parameters (?k) :precondition (or (objectType ?k SawType) (objectType ?k AxeType))
  :effect (y ?k)))"""
GRAMMAR = """grammar :: \"\"\" { "task": [ { "rhs": "Your task is to: warm \\"an\\" egg." } ] } \"\"\";
action PutObject { template :: "put {o} in/on {r}"; }"""
PROBLEM = """(define (problem p) (:domain d)
 (:objects agent1 - agent  Egg - object
   Egg_bar_1 - object Egg_bar_2 - object Egg_bar_3 - object Stove_bar_1 Box_bar_1 - receptacle
   loc_1 loc_2 - location EggType - otype StoveType BoxType - rtype)
 (:init (= (total-cost) 0) (atLocation agent1 loc_2) (receptacleType Stove_bar_1 StoveType)
   (receptacleAtLocation Stove_bar_1 loc_1) (objectType Egg_bar_1 EggType) (objectType Egg_bar_2 EggType)
   (receptacleType Box_bar_1 BoxType) (receptacleAtLocation Box_bar_1 loc_2)
   (canContain BoxType EggType) (canContain StoveType EggType) (openable Box_bar_1) (opened Box_bar_1)
   (objectAtLocation Egg_bar_1 loc_1) (objectAtLocation Egg_bar_1 loc_2)
   (inReceptacle Egg_bar_1 Stove_bar_1) (inReceptacle Egg_bar_1 Box_bar_1) (pickupable Egg_bar_1)
   (HEATABLE Egg_bar_1))
 (:goal (and (exists (?r - receptacle) (exists (?o - object) (and (heatable ?o) (objectType ?o EggType)
   (receptacleType ?r BoxType) (isHot ?o) (inReceptacle ?o ?r)))))))"""
DOCUMENT = {"pddl_domain": DOMAIN, "grammar": GRAMMAR, "pddl_problem": PROBLEM, "walkthrough": ["look"]}


def test_a_document_is_read_from_what_it_says() -> None:
    game = parse_game(DOCUMENT, "some/game")
    assert game.rules == Rules(
        clean=frozenset({"Bath"}),
        heat=frozenset({"Stove"}),
        cool=frozenset({"Fridge"}),
        slice=frozenset({"Saw", "Axe"}),
    )
    assert (game.sentence, game.put_verb, game.start) == ('warm "an" egg.', "put", "loc_2")
    assert game.walkthrough == ("look",) and game.can_contain == {("Box", "Egg"), ("Stove", "Egg")}
    assert game.goal == Goal("Egg", "Box", require=frozenset({"heatable", "ishot"}))
    assert game.family == "pick_heat_then_place_in_recep"
    assert game.receptacles[0] == Receptacle("Box_bar_1", "Box", "loc_2", openable=True, opened=True)
    egg = Object("Egg_bar_1", "Egg", "Stove_bar_1", "loc_1", frozenset({"pickupable", "heatable"}))
    assert game.objects[0] == replace(egg, also_in=("Box_bar_1",), also_at=("loc_2",))
    assert [thing.id for thing in game.objects] == ["Egg_bar_1", "Egg_bar_2"]  # no fact mentions the third
    assert GameEngine(game).reset().observation.startswith("You are facing the box 1. Next to it")


@pytest.mark.parametrize(
    ("key", "old", "new", "message"),
    [
        ("pddl_problem", "(:goal", "(:aim", r"pddl_problem: the section \(:goal"),
        ("pddl_problem", "(:init", "(:start", r"pddl_problem: the section \(:init"),
        ("pddl_problem", "(isHot ?o) (inReceptacle ?o ?r)", "(isHot ?o)", "none of the six known families"),
        ("pddl_problem", "loc_1 loc_2 - location", "loc_2 - location", "loc_1 is used but not declared"),
        ("pddl_problem", "(atLocation agent1 loc_2)", "", "the agent is at 0 locations"),
        (
            "pddl_problem",
            "(objectType Egg_bar_1 EggType)",
            "(objectType Egg_bar_1)",
            "takes two terms, not 1",
        ),
        ("pddl_problem", "(receptacleAtLocation Box_bar_1 loc_2)", "", "Box_bar_1 has no location"),
        ("pddl_problem", "(define", "(" * 5000 + "define", "nested too deep"),
        ("pddl_problem", "(define", ") (define", "closed that was never opened"),
        ("pddl_domain", "HeatObject", "WarmObject", "pddl_domain: there is no action heatobject"),
        ("grammar", "Your task is to", "Do", "grammar: there is no sentence"),
        ("grammar", "action PutObject", "action Put", "grammar: the action PutObject has no template"),
    ],
)
def test_malformed_documents_name_file_part_and_hint(key: str, old: str, new: str, message: str) -> None:
    document = {**DOCUMENT, key: DOCUMENT[key].replace(old, new)}  # type: ignore[attr-defined]
    assert document[key] != DOCUMENT[key]
    with pytest.raises(GameError, match=message) as caught:
        parse_game(document, "g", where="folder/game.tw-pddl")
    assert caught.value.where == "folder/game.tw-pddl" and caught.value.key == key and caught.value.hint


@pytest.mark.parametrize("key", ["pddl_domain", "grammar", "pddl_problem"])
def test_missing_parts_are_named(key: str) -> None:
    with pytest.raises(GameError, match=f"{key}: is missing"):
        parse_game({k: v for k, v in DOCUMENT.items() if k != key}, "g")


@given(st.integers(1, len(PROBLEM) - 2))
def test_a_problem_cut_anywhere_is_an_error(length: int) -> None:
    with pytest.raises(GameError):
        parse_game({**DOCUMENT, "pddl_problem": PROBLEM[:length]}, "g")


def test_cut_and_absent_files(tmp_path: Path) -> None:
    path = tmp_path / "valid" / "task" / "trial" / "game.tw-pddl"
    path.parent.mkdir(parents=True)
    whole = json.dumps(DOCUMENT, indent=1)
    path.write_text(whole)
    assert load_game(path).id == "valid/task/trial"
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(GameError, match=r"game\.tw-pddl:\d+: is not whole JSON"):
        load_game(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GameError, match="UTF-8"):
        load_game(path)
    with pytest.raises(GameError, match="cannot be read"):
        load_game(tmp_path / "none" / "game.tw-pddl")


def test_rows_share_a_template_and_damage_is_located(tmp_path: Path) -> None:
    row = {"path": "train/a/b/game.tw-pddl", "task": "Your task is to: warm it.", "pddl_problem": PROBLEM}
    table = tmp_path / "rows.jsonl.gz"
    table.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for _ in range(3)).encode()))
    games = list(load_rows(table))
    assert [(g.id, g.sentence, g.put_verb, g.rules) for g in games] == [("train/a/b", "warm it.", "move", Rules())] * 3
    source = tmp_path / "game.tw-pddl"
    source.write_text(json.dumps(DOCUMENT))
    assert next(load_rows(table, load_template(source))).rules.heat == {"Stove"}
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(GameError, match="cut short"):
        list(load_rows(table))
    plain = tmp_path / "rows.jsonl"
    plain.write_text(json.dumps(row) + "\n" + json.dumps(row)[:100])
    with pytest.raises(GameError) as caught:
        list(load_rows(plain))
    assert caught.value.line == 2


def check_games(games: Iterable[Game]) -> tuple[int, float]:
    """All are won by their walkthrough and by the expert; returns how many and the expert's mean steps."""
    count = steps = 0
    for game in games:
        engine = GameEngine(game)
        assert all(engine.step(command).valid for command in game.walkthrough), game.id
        assert engine.won and game.walkthrough, game.id
        assert game.family in FAMILIES and game.id.split("/")[1].startswith(game.family), game.id
        engine.reset()
        steps += len(solve(engine, rng=random.Random(count)))
        assert engine.won, game.id
        engine.reset()
        steps += len(solve(engine))
        assert engine.won, game.id
        count += 1
    return count, steps / (2 * count)


def seen_games(folder: Path) -> list[Path]:
    return sorted((folder / "json_2.1.1" / "valid_seen").glob("*/*/game.tw-pddl"))


def test_all_valid_seen_games(alfworld_data: Path) -> None:
    count, steps = check_games(map(load_game, seen_games(alfworld_data)))
    print(f"expert: {count} games, {steps:.2f} steps each")
    assert count == 140 and steps < 10


def test_a_sample_of_the_train_games(alfworld_data: Path) -> None:
    template = load_template(seen_games(alfworld_data)[0])
    assert template.rules == Rules() and template.put_verb == "move"
    games = islice(load_rows(alfworld_data / "train.jsonl.gz", template, limit=900), 0, None, 3)
    assert check_games(games)[0] == 300


@pytest.mark.slow
def test_all_train_games(alfworld_data: Path) -> None:
    count, steps = check_games(load_rows(alfworld_data / "train.jsonl.gz"))
    print(f"expert: {count} games, {steps:.2f} steps each")
    assert count == 3553


def test_real_games_understand_exactly_what_they_offer(alfworld_data: Path) -> None:
    rng = random.Random(0)
    for path in seen_games(alfworld_data)[::20]:
        engine = GameEngine(load_game(path), with_admissible=True)
        commands = engine.reset().admissible
        seen = set(commands)
        for _ in range(60):
            for command in rng.sample(sorted(seen), 10):
                assert engine.copy().step(command).valid == (command in commands)
            result = engine.step(rng.choice(commands))
            assert result.valid
            commands = result.admissible
            seen.update(commands)
