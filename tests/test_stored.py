"""Stored games: which split of the data is which of a recipe, cheap listings, and what the doctor says of them."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from imprint.cli import app
from imprint.envs.household import stored
from imprint.envs.household.game import FAMILIES
from imprint.envs.household.maker import write_games
from imprint.envs.household.stored import HELD_OUT, OFFICIAL, Entry, StoredGames, hold_out, split_roles
from imprint.envs.household.world import HouseholdWorld
from imprint.errors import GameError, RecipeError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `alfworld-download` leaves it, with made games: 24 to train on, 6 in `valid_seen`."""
    root = tmp_path_factory.mktemp("alfworld")
    write_games(root / "json_2.1.1", "train", 24)
    write_games(root / "json_2.1.1", "test", 6)
    (root / "json_2.1.1" / "test").rename(root / "json_2.1.1" / "valid_seen")
    (root / "logic").mkdir()
    return root


def table(path: Path, folder: Path, **more: Any) -> Path:
    """The games of a folder as the rows of a table, which hold no domain and no grammar."""
    rows = []
    for file in sorted(folder.glob("*/*/game.tw-pddl")):
        document = json.loads(file.read_text(encoding="utf-8"))
        sentence = document["grammar"].split("Your task is to: ")[1].split('"')[0]
        row = {"path": "/".join(file.parts[-4:]), "task": f"Your task is to: {sentence}"}
        rows.append(row | {key: document[key] for key in ("pddl_problem", "walkthrough", "solvable")} | more)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


# --- the published protocol ---


def test_the_published_splits_have_their_roles(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    world = HouseholdWorld(games="alfworld", validation=6)
    assert world.roles == {"train": "train", "validation": HELD_OUT, "test": "valid_seen"}
    assert world.max_turns == 50
    assert world.categories == tuple(OFFICIAL["train"])  # the published names, in the published order
    train, validation, test = (world.tasks(split) for split in ("train", "validation", "test"))
    assert [task.category for task in validation] == list(FAMILIES)
    assert {task.split for task in test} == {"test"} and len(test) == 6
    assert [task.id for task in test] == [task.id for task in world.tasks("valid_seen")]
    assert test[0].id.startswith("valid_seen/look_at_obj_in_light-")

    def folders(tasks: Any) -> set[str]:
        return {task.id.split("/")[1] for task in tasks}

    assert len(train) == 18 and not folders(train) & folders(validation)
    assert all(world.game(task).family == task.category for task in (*train, *validation, *test))
    assert world.environment().reset(test[0], 0).observation.endswith("with the desklamp.")


def test_a_folder_with_our_own_splits_uses_them(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        write_games(tmp_path, split, 6)
    world = HouseholdWorld(games=str(tmp_path))
    assert world.roles == {split: split for split in ("train", "validation", "test")}
    assert world.max_turns == 30 and len(world.tasks("train")) == 6


def test_as_stored_no_split_has_a_role(data: Path) -> None:
    world = HouseholdWorld(games=str(data), splits="as-stored")
    assert len(world.tasks("train")) == 24
    with pytest.raises(RecipeError, match=r"split 'test'(.|\n)*the splits here are: train, valid_seen"):
        world.tasks("test")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"validation": "valid_seen"}, "env.splits.validation: is valid_seen, as test is"),
        ({"validation": "train"}, "env.splits.train: is train, as validation is"),
        ({"train": "valid_unseen", "test": "valid_unseen"}, "env.splits.train: is valid_unseen, as test is"),
        ({"test": HELD_OUT, "validation": "valid_seen"}, "env.splits.test: cannot be held-out"),
        ({"valid": "train"}, "no role 'valid'"),
        ("stored", "cannot be 'stored'"),
    ],
)
def test_the_test_set_is_never_validated_or_trained_on(given: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        split_roles(given, ("train", "valid_seen", "valid_unseen"))


def test_roles_can_be_chosen() -> None:
    roles = split_roles({"test": "valid_unseen", "validation": "valid_seen"}, ("train", "valid_seen"))
    assert roles == {"train": "train", "validation": "valid_seen", "test": "valid_unseen"}


ENTRIES = st.lists(
    st.builds(
        lambda family, goal, trial: Entry(f"train/{family}-{goal}/trial_{trial}", family, ""),
        st.sampled_from(FAMILIES),
        st.integers(0, 9),
        st.integers(0, 3),
    ),
    unique_by=lambda entry: entry.id,
    max_size=60,
)


@given(ENTRIES, st.integers(0, 30), st.integers(0, 3))
def test_what_is_held_out_shares_no_task_with_what_is_trained_on(entries: list[Entry], count: int, seed: int) -> None:
    validation, train = hold_out(entries, count, seed)
    assert not {entry.task for entry in validation} & {entry.task for entry in train}
    assert len(validation) <= count and {*validation, *train} <= set(entries)
    assert hold_out(entries[::-1], count, seed) == (validation, train[::-1])
    for family in {entry.family for entry in entries}:
        assert any(entry.family == family for entry in train)  # at most half goes


def test_the_seed_chooses_and_the_families_take_turns() -> None:
    entries = [Entry(f"train/{f}-{n}/trial_0", f, "") for f in FAMILIES for n in range(20)]
    chosen = {seed: hold_out(entries, 12, seed)[0] for seed in (0, 1)}
    assert [entry.family for entry in chosen[0]] == [*FAMILIES, *FAMILIES]
    assert chosen[0] != chosen[1]


# --- listings ---


def test_a_listing_parses_no_game(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was parsed")

    monkeypatch.setattr(stored, "load_game", refuse)
    assert len(StoredGames(str(data)).entries("train")) == 24


def test_games_that_alfworld_leaves_out_are_left_out(data: Path, tmp_path: Path) -> None:
    paths = write_games(tmp_path, "train", 4)
    text = paths[0].read_text(encoding="utf-8")
    paths[0].write_text(text.replace('"solvable": true', '"solvable" :false'), encoding="utf-8")
    hostile = json.loads(paths[1].read_text(encoding="utf-8"))
    hostile = {"solvable": True, **hostile, "walkthrough": ['"solvable": false', "x" * 5000]}
    paths[1].write_text(json.dumps(hostile), encoding="utf-8")
    for path, name in (
        (paths[2], "pick_and_place_simple-A-movable-B-1"),
        (paths[3], "pick_and_place_simple-ASliced-B-1"),
    ):
        path.parent.parent.rename(tmp_path / "train" / name)
    assert [Path(entry.source) for entry in StoredGames(str(tmp_path)).entries("train")] == [paths[1]]


def test_a_folder_of_another_name_has_the_family_of_its_goal(tmp_path: Path) -> None:
    path = write_games(tmp_path, "train", 2)[1]
    path.parent.parent.rename(tmp_path / "train" / "my-task")
    assert {entry.task: entry.family for entry in StoredGames(str(tmp_path)).entries("train")}["my-task"] == FAMILIES[1]


@pytest.mark.parametrize("name", ["train.jsonl.gz", "train.jsonl"])
def test_a_table_is_a_split_with_the_ids_of_the_folder(data: Path, tmp_path: Path, name: str) -> None:
    folder = HouseholdWorld(games=str(data), splits="as-stored")
    rows = HouseholdWorld(games=str(table(tmp_path / name, data / "json_2.1.1" / "train")), splits="as-stored")
    ours, theirs = folder.tasks("train"), rows.tasks("train")
    assert [(task.id, task.category) for task in ours] == [(task.id, task.category) for task in theirs]
    assert all(folder.game(a) == rows.game(b) for a, b in zip(ours, theirs, strict=True))
    beside = StoredGames(str(tmp_path))
    assert list(beside.splits()) == ["train"] and len(beside.entries("train")) == 24


def test_a_table_says_which_row_is_wrong(data: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "train.jsonl", data / "json_2.1.1" / "valid_seen", solvable=False)
    with pytest.raises(RecipeError, match="split 'other'"):
        StoredGames(str(path)).entries("other")
    assert StoredGames(str(path)).entries("train") == ()
    path.write_text('{"path": "a/b"}\n')
    with pytest.raises(GameError, match=r"train\.jsonl:1: path: does not name its game"):
        StoredGames(str(path)).entries("train")
    path.write_text(f'\n{{"path": "train/{FAMILIES[0]}-x/t/game.tw-pddl", "task": 3}}\n')
    games = StoredGames(str(path))
    with pytest.raises(GameError, match=r"train\.jsonl:2: task"):
        games.game(games.entries("train")[0].source)
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(b"x" * 99)[:-9])
    with pytest.raises(GameError, match="cut short"):
        StoredGames(str(tmp_path / "train.jsonl.gz")).entries("train")


def test_nothing_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "none"))
    with pytest.raises(RecipeError, match=r"none: env.games: is not there(.|\n)*imprint envs doctor alfworld"):
        HouseholdWorld(games="alfworld")


# --- the real data ---


def test_the_real_games_are_counted_and_held_out(alfworld_data: Path) -> None:
    games = StoredGames(str(alfworld_data))
    for split in ("train", "valid_seen"):
        assert Counter(entry.family for entry in games.entries(split)) == OFFICIAL[split]
    world = HouseholdWorld(games=str(alfworld_data), validation=128)
    assert len(world.tasks("validation")) == 128 and 3400 < len(world.tasks("train")) < 3553 - 127
    for task in (*world.tasks("train")[::300], *world.tasks("test")[::20]):
        assert world.game(task).family == task.category


# --- the doctor ---


def call(*arguments: object, status: int = 0) -> Result:
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["envs", "doctor", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_the_doctor_says_what_is_missing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    result = call("alfworld", status=1)
    assert "24 of 3,553" in result.output and "6 of 140" in result.output and "0 of 134" in result.output
    assert f"games: {data} ($ALFWORLD_DATA)" in result.output and "textworld" in result.output
    assert "incomplete: train, valid_seen, valid_unseen" in result.stderr and "alfworld-download" in result.stderr
    assert "no such folder" in call("--data", tmp_path / "none", status=1).stderr
    assert "alfworld" in call("moon", status=2).stderr


def test_the_doctor_is_content_with_the_published_numbers(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        name: dict(Counter(e.family for e in StoredGames(str(data)).entries(name))) for name in ("train", "valid_seen")
    }
    monkeypatch.setattr(stored, "OFFICIAL", found)
    assert "all published games are here" in call("--data", data).output
