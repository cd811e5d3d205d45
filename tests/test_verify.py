"""Our engine against ALFWorld's own: how they are compared, and (with the extra) that they agree."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from imprint.cli import app
from imprint.commands.console import plain
from imprint.envs.base import Environment, make_world
from imprint.envs.household import engine as engine_module
from imprint.envs.household import reference
from imprint.envs.household.documents import complete, find_games, read_document
from imprint.envs.household.engine import GameEngine
from imprint.envs.household.game import Game, Goal, Object
from imprint.envs.household.gamefile import game_file
from imprint.envs.household.maker import MakerConfig, make_game, write_games
from imprint.envs.household.pddl import load_rows, parse_game
from imprint.envs.household.reference import ReferenceEngine
from imprint.envs.household.verify import MAX_TURNS, Stored, choose, compare, games_in, made_games, walk
from imprint.envs.household.walks import Walker
from imprint.errors import GameError, ImprintError
from imprint.types import StepResult
from test_household_engine import KITCHEN, OBJECTS

INSTALLED = all(find_spec(name) is not None for name in ("textworld", "alfworld", "fast_downward"))
REASON = "the extra imprint[alfworld] is not installed"
SIZES = ("small", "medium", "alfred")


def textworld(test: Any) -> Any:
    """Marks a test that plays on the reference engine."""
    return pytest.mark.textworld(pytest.mark.skipif(not INSTALLED, reason=REASON)(test))


@pytest.fixture(scope="module")
def theirs() -> ReferenceEngine:
    return ReferenceEngine(MAX_TURNS, remember=True)


# --- what is walked, without the reference engine ---


def explore(game: Game, seed: int, turns: int = 20) -> tuple[GameEngine, list[tuple[str, bool]]]:
    engine = GameEngine(game, max_turns=MAX_TURNS)
    walker = Walker(engine, seed, turns)
    played: list[tuple[str, bool]] = []
    done = False
    while not done:
        command = walker.next()
        result = engine.step(command)
        played.append((command, result.valid))
        done = result.done
    return engine, played


def test_walks_show_every_verb_possible_and_refused_and_mostly_win() -> None:
    seen: Counter[tuple[str, bool]] = Counter()
    won = 0
    for index in range(120):
        engine, played = explore(make_game("train", index, MakerConfig(size="alfred")), index)
        won += engine.won
        seen.update(((command.split() or [""])[0], valid) for command, valid in played)
    for verb in ["go", "take", "move", "open", "close", "clean", "heat", "cool", "slice", "use", "examine"]:
        assert seen[verb, True] >= 5 and seen[verb, False] >= 5, verb
    assert won >= 100


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(SIZES), st.integers(0, 40))
def test_a_walk_is_given_by_its_seed(seed: int, size: str, turns: int) -> None:
    game = make_game("train", seed, MakerConfig(size=size))  # type: ignore[arg-type]
    assert explore(game, seed, turns)[1] == explore(game, seed, turns)[1]


def test_every_difference_is_seen_and_told() -> None:
    one = StepResult("You see nothing.", admissible=("look", "open box 1", "use lamp 1"))
    assert compare("g", ["look"], one, replace(one)) is None
    for field, value in (
        ("observation", "You see a box 1."),
        ("reward", 1.0),
        ("terminated", True),
        ("truncated", True),
        ("success", True),
        ("valid", False),
        ("admissible", ("look", "open box 1")),
    ):
        found = compare("g", ["look"], one, replace(one, **{field: value}))
        assert found is not None and found.what == field
    fewer = compare("some/game", ["go to box 1", "look"], one, replace(one, admissible=("help", "look")))
    assert fewer is not None and fewer.describe() == (
        "some/game: admissible differs after 2 commands\n"
        "    1  > 'go to box 1'\n"
        "    2  > 'look'\n"
        "  ours:      3 commands, of which only here: open box 1, use lamp 1\n"
        "  TextWorld: 2 commands, of which only here: help"
    )
    turned = compare("g", [], one, replace(one, admissible=one.admissible[::-1]))
    assert turned is not None and "another order: use lamp 1, open box 1, look" in turned.describe()


# --- where games come from ---


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three games as a table of rows, and the first of them whole beside it."""
    games = [make_game("train", index) for index in range(3)]
    documents = [game_file(game) for game in games]
    (tmp_path / "game.tw-pddl").write_text(json.dumps(documents[0]))
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt", encoding="utf-8") as rows:
        for game, document in zip(games, documents, strict=True):
            row = {key: document[key] for key in ("pddl_problem", "walkthrough", "solvable")}
            path = f"train/task-{game.family}/trial/game.tw-pddl"
            rows.write(json.dumps(row | {"path": path, "task": f"Your task is to: {game.sentence}"}) + "\n")
    return tmp_path / "rows.jsonl.gz"


def test_rows_become_whole_games(table: Path) -> None:
    stored = games_in(table, "train", table.with_name("game.tw-pddl"))
    assert [parse_game(game.read(), game.name) for game in stored] == list(load_rows(table))
    made = game_file(make_game("train", 1))
    row = {"task": f"Your task is to: {make_game('train', 1).sentence}", "pddl_problem": made["pddl_problem"]}
    assert complete(row, game_file(make_game("train", 0)), "here")["grammar"] == made["grammar"]
    quoted = complete({"task": 'Your task is to: find "\\1" {x}.'}, made, "here")["grammar"]
    assert 'Your task is to: find \\"\\\\1\\" {x}."' in quoted


def test_games_that_are_not_there_are_told(table: Path, tmp_path: Path) -> None:
    with pytest.raises(GameError, match=r"rows.*--template.*domain and grammar"):
        games_in(table, "train")
    with pytest.raises(GameError, match=r"no game of the split 'valid_seen'"):
        games_in(table, "valid_seen", table.with_name("game.tw-pddl"))
    with pytest.raises(GameError, match=r"valid_seen.*holds no"):
        games_in(tmp_path, "valid_seen")


def test_games_are_found_below_the_data_folder_and_in_it(tmp_path: Path) -> None:
    paths = write_games(tmp_path / "json_2.1.1", "train", 3)
    assert find_games(tmp_path, "train") == find_games(tmp_path / "json_2.1.1", "train") == sorted(paths)
    stored = games_in(tmp_path, "train")
    assert [game.read() for game in stored] == [read_document(path) for path in sorted(paths)]
    assert stored[0].name.startswith("train/") and stored[0].name.count("/") == 2


def test_a_sample_is_drawn_by_its_seed_and_stays_in_order() -> None:
    games = [Stored(str(number), dict) for number in range(50)]
    sample = choose(games, 10, 3)
    assert sample == choose(games, 10, 3) != choose(games, 10, 4)
    assert len(set(sample)) == 10 and sample == sorted(sample, key=lambda game: int(game.name))
    assert choose(games, None, 0) == choose(games, 99, 0) == games


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textworld", None)
    reference._modules.cache_clear()
    try:
        with pytest.raises(ImprintError, match=r"pip install 'imprint\[alfworld\]'.*g\+\+"):
            ReferenceEngine()
        result = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["envs", "verify", "--made", "1"])
        assert result.exit_code == 2 and "imprint[alfworld]" in result.output
    finally:
        reference._modules.cache_clear()


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ImprintError, match=r"(?s)env\.engine.*'native' or 'textworld'"):
        make_world("household", engine="thor")


# --- the two engines ---


def agree(name: str, document: dict[str, Any], theirs: ReferenceEngine, *commands: str) -> StepResult:
    """Give both the same commands; returns what the last one brought about."""
    ours = GameEngine(parse_game(document, name), with_admissible=True, max_turns=MAX_TURNS)
    theirs.load(document, name)
    mine, other = ours.reset(), theirs.reset()
    assert mine == other and ours.full_intro == theirs.full_intro
    for place, command in enumerate(commands):
        mine, other = ours.step(command), theirs.step(command)
        assert mine == other, commands[: place + 1]
    return mine


@textworld
@pytest.mark.parametrize("size", SIZES)
def test_made_games_play_alike(size: str, theirs: ReferenceEngine) -> None:
    count = {"small": 6, "medium": 2, "alfred": 2}[size]
    for place, game in enumerate(made_games(count, MakerConfig(size=size))):  # type: ignore[arg-type]
        walked = walk(game.name, game.read(), theirs, place)
        assert walked.difference is None, walked.difference.describe()
        assert walked.success or len(walked.commands) == MAX_TURNS


@textworld
def test_published_games_play_alike(theirs: ReferenceEngine, alfworld_data: Path) -> None:
    for game in choose(games_in(alfworld_data, "valid_seen"), 2, 0):
        walked = walk(game.name, game.read(), theirs, 0)
        assert walked.difference is None, walked.difference.describe()


@textworld
@pytest.mark.slow
@pytest.mark.parametrize("split", ["valid_seen", "train"])
def test_many_published_games_play_alike(split: str, theirs: ReferenceEngine, alfworld_data: Path) -> None:
    template = find_games(alfworld_data, "valid_seen")[0]
    data, count = (alfworld_data / "train.jsonl.gz", 100) if split == "train" else (alfworld_data, None)
    for game in choose(games_in(data, split, template), count, 0):
        walked = walk(game.name, game.read(), theirs, game.name)
        assert walked.difference is None, walked.difference.describe()


@textworld
def test_heat_and_cool_undo_each_other_and_clean_stays(theirs: ReferenceEngine) -> None:
    commands = ["go to countertop 1", "take apple 2 from countertop 1", "examine apple 2", "go to fridge 1"]
    for place, verb in (("fridge", "cool"), ("microwave", "heat"), ("sinkbasin", "clean"), ("fridge", "cool")):
        commands += [f"go to {place} 1", f"{verb} apple 2 with {place} 1", "examine apple 2", "inventory"]
    assert agree("kitchen", game_file(KITCHEN), theirs, *commands, "heat apple 2 with fridge 1").valid is False


@textworld
def test_a_lamp_only_turns_on(theirs: ReferenceEngine) -> None:
    commands = ["use desklamp 1", "go to cabinet 1", "use desklamp 1", "examine desklamp 1", "use desklamp 1", "look"]
    assert agree("kitchen", game_file(KITCHEN), theirs, *commands).valid


@textworld
@pytest.mark.parametrize("count", [1, 2])
def test_sliced_goals_play_alike(count: int, theirs: ReferenceEngine) -> None:
    """No published text game asks for slices, but the engine's rules have them."""
    require = frozenset({"sliceable", "issliced"})
    game = replace(KITCHEN, goal=Goal("Apple", "CounterTop", count=count, require=require))
    document = game_file(game)
    commands = ["go to countertop 1", "slice apple 2 with knife 1", "take knife 1 from countertop 1"]
    commands += ["slice knife 1 with knife 1", "slice apple 2 with knife 1"]
    won = agree("slices", document, theirs, *commands)
    assert won.terminated is (count == 1)
    if count == 2:
        commands += ["go to fridge 1", "slice apple 1 with knife 1", "look", "move knife 1 to fridge 1", "look"]
        commands += ["take apple 1 from fridge 1", "examine apple 1", "cool apple 1 with fridge 1", "examine apple 1"]
        commands += ["go to countertop 1", "move apple 1 to countertop 1"]
        assert agree("slices", document, theirs, *commands).success


@textworld
def test_two_of_a_kind_in_one_place(theirs: ReferenceEngine) -> None:
    game = replace(KITCHEN, goal=Goal("Apple", "Cabinet", count=2))
    commands = [
        "go to cabinet 2",
        "open cabinet 2",
        "take apple 2 from countertop 1",
        "move apple 2 to cabinet 2",
        "go to fridge 1",
        "take apple 1 from fridge 1",
        "go to cabinet 1",
        "open cabinet 1",
        "move apple 1 to cabinet 1",  # one in each of two: not yet
        "look",
        "take apple 1 from cabinet 1",
        "go to cabinet 2",
        "move apple 1 to cabinet 2",
    ]
    assert not agree("two", game_file(game), theirs, *commands[:-1]).success
    assert agree("two", game_file(game), theirs, *commands).reward == 1


@textworld
def test_things_in_two_places_and_in_none(theirs: ReferenceEngine) -> None:
    wide = Object(
        "Pan_bar_1",
        "Bowl",
        "CounterTop_bar_1",
        "loc_a",
        frozenset({"pickupable", "cleanable"}),
        also_in=("Fridge_bar_1",),
        also_at=("loc_c",),
    )
    document = game_file(replace(KITCHEN, objects=(*OBJECTS, wide)))
    commands = ["go to countertop 1", "take pan 1 from countertop 1", "look", "go to fridge 1", "look"]
    commands += ["move pan 1 to fridge 1", "look", "examine fridge 1", "close fridge 1", "look", "examine fridge 1"]
    agree("wide", document, theirs, *commands)


@textworld
def test_the_turn_limit_ends_both(theirs: ReferenceEngine) -> None:
    assert agree("kitchen", game_file(KITCHEN), theirs, *["look", "dance"] * (MAX_TURNS // 2)).truncated


@textworld
def test_remembering_changes_nothing(theirs: ReferenceEngine) -> None:
    game = made_games(1, MakerConfig(size="medium"))[0]
    assert walk(game.name, game.read(), theirs, 5) == walk(game.name, game.read(), ReferenceEngine(MAX_TURNS), 5)


@textworld
def test_the_process_is_left_as_it_was() -> None:
    before = (list(sys.argv), os.environ.get("ALFWORLD_DATA"))
    engine = ReferenceEngine()
    engine.load(game_file(make_game("train", 0)))
    engine.reset()
    assert (list(sys.argv), os.environ.get("ALFWORLD_DATA")) == before


@textworld
@pytest.mark.parametrize(
    "code",
    ["__import__('pathlib').Path('FILE').touch()", "r.name.__class__", "r.name.upper()", "r.name if r else 1"],
)
def test_a_grammar_runs_no_code(code: str, tmp_path: Path, theirs: ReferenceEngine) -> None:
    marker = tmp_path / "touched"
    document = game_file(make_game("train", 0))
    evil = code.replace("FILE", str(marker))
    for honest in ('"nothing"', "You open the {r.name}", 'template :: "open {r}"'):
        assert honest in document["grammar"]
        bad = (
            honest.replace("{r.name}", f"{{{evil}}}").replace("{r}", f"{{{evil}}}").replace('"nothing', f'"{{{evil}}}')
        )
        with pytest.raises(GameError):
            theirs.load(document | {"grammar": document["grammar"].replace(honest, bad)}, "evil")
            theirs.reset()
    assert not marker.exists()


@textworld
def test_what_textworld_cannot_read_is_an_error_of_ours(theirs: ReferenceEngine) -> None:
    document = game_file(make_game("train", 0))
    for broken in ({"pddl_problem": "(define"}, {"grammar": "none"}, {"pddl_domain": "(define (domain alfred))"}):
        with pytest.raises(GameError, match=r"broken.*TextWorld"):
            theirs.load(document | broken, "broken")


@textworld
def test_the_world_plays_on_either_engine(tmp_path: Path) -> None:
    write_games(tmp_path, "train", 1)
    made = {"train": 1, "validation": 1, "test": 1}
    for options in (made, {"games": str(tmp_path)}):
        worlds = [make_world("household", engine=engine, max_turns=5, **options) for engine in ("native", "textworld")]
        ours, other = (world.environment() for world in worlds)
        assert isinstance(other, Environment)
        with pytest.raises(GameError, match="step before reset"):
            other.step("look")
        task = worlds[0].tasks("train")[0]
        assert worlds[1].tasks("train") == worlds[0].tasks("train")
        for _ in range(2):
            assert ours.reset(task, 0) == other.reset(task, 0)
            for command in ("look", "dance", "inventory", "help", "look"):
                result = ours.step(command)
                assert result == other.step(command)
            assert result.truncated


@textworld
def test_the_command_counts_and_stops_at_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_games(tmp_path, "train", 6)
    call = ["envs", "verify", "--data", str(tmp_path), "--split", "train", "--games", "2", "--turns", "4"]
    runner = CliRunner(env={"COLUMNS": "160"})
    good = runner.invoke(app, [*call, "--made", "1", "--size", "small"])
    assert good.exit_code == 0, good.output
    assert "3 games, " in good.output and " 0 differences" in good.output and "possible" in good.output
    monkeypatch.setattr(engine_module, "enumerate_names", lambda names: ", ".join(reversed(list(names))) or "nothing")
    bad = runner.invoke(app, call)
    assert bad.exit_code == 1
    text = plain(bad.output)
    assert "1 differences" in text and "observation differs after" in text
    assert "ours:" in text and "TextWorld:" in text


@textworld
@pytest.mark.parametrize("family", [1, 6])
def test_made_games_are_won_in_alfworld_itself(family: int, tmp_path: Path) -> None:
    """Played by the unmodified package, as its users start it."""
    from alfworld.agents.environment import get_environment

    write_games(tmp_path / "json", "test", 6)
    config = alfworld_config(tmp_path / "json" / "test", [family])
    env = get_environment("AlfredTWEnv")(config, train_eval="eval_in_distribution")
    assert len(env.game_files) == 1
    walkthrough = read_document(env.game_files[0])["walkthrough"]
    batch = env.init_env(batch_size=1)
    observations, infos = batch.reset()
    assert "Your task is to: " in observations[0] and infos["extra.gamefile"][0] == env.game_files[0]
    dones: tuple[bool, ...] = (False,)
    for command in walkthrough:
        assert not dones[0] and command in infos["admissible_commands"][0]
        observations, scores, dones, infos = batch.step([command])
    assert dones[0] and infos["won"][0] and scores[0] == 1
    batch.close()


@textworld
@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_all_kinds_of_made_games_are_won_in_alfworld_itself(size: str, tmp_path: Path) -> None:
    from alfworld.agents.environment import get_environment

    write_games(tmp_path / "json", "validation", 24, MakerConfig(seed=1, size=size))  # type: ignore[arg-type]
    config = alfworld_config(tmp_path / "json" / "validation", [1, 2, 3, 4, 5, 6])
    env = get_environment("AlfredTWEnv")(config, train_eval="eval_in_distribution")
    batch = env.init_env(batch_size=1)
    assert len(env.game_files) == 24
    for _ in env.game_files:
        _, infos = batch.reset()
        for command in read_document(infos["extra.gamefile"][0])["walkthrough"]:
            _, _, dones, infos = batch.step([command])
        assert dones[0] and infos["won"][0]
    batch.close()


def alfworld_config(games: Path, families: list[int]) -> dict[str, Any]:
    """What ALFWorld's own configuration file says, as far as its text environment reads it."""
    limits = {"training": {"max_nb_steps_per_episode": 50}}
    return {
        "dataset": {
            "data_path": str(games),
            "eval_id_data_path": str(games),
            "eval_ood_data_path": str(games),
            "num_train_games": -1,
            "num_eval_games": -1,
        },
        "env": {
            "type": "AlfredTWEnv",
            "domain_randomization": False,
            "task_types": families,
            "expert_timeout_steps": 150,
            "expert_type": "handcoded",
            "goal_desc_human_anns_prob": 0.0,
        },
        "general": {"training_method": "dagger"},
        "dagger": limits,
        "rl": limits,
    }
