"""Paths in a recipe: relative to the recipe, absolute in what a run keeps, and told at once where they lead nowhere."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typer.testing import CliRunner

from imprint.cli import app
from imprint.engine import make_engine
from imprint.errors import LibraryError, PolicyError, RecipeError
from imprint.jobs.resume import resumption
from imprint.jobs.train import train_run
from imprint.models.local.policy import Policy, tiny_folder
from imprint.models.names import may_be_hub_name
from imprint.recipe import load_recipe, parse_recipe
from imprint.runs.run import Run
from imprint.support.keys import MayBePath, Places

SKILL = "---\nname: all\ndescription: For all tasks.\nmetadata:\n  tasks: '*'\n---\nDo it.\n"
RECIPE = {
    "name": "paths",
    "method": "zero_shot",
    "model": "base",
    "skills": "my-skills",
    "device": "cpu",
    "threads": 1,
    "env": {"name": "household", "train": 6, "validation": 6, "test": 6, "max_turns": 2},
    "rollout": {"max_new_tokens": 2},
    "evaluation": {"tasks": 1, "test_tasks": 1},
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a recipe, a model and skills that it names relatively."""
    folder = tmp_path / "project"
    shutil.copytree(tiny_folder(), folder / "base")
    (folder / "my-skills" / "all").mkdir(parents=True)
    (folder / "my-skills" / "all" / "SKILL.md").write_text(SKILL)
    return written(folder, **RECIPE)


def written(folder: Path, **values: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(yaml.safe_dump(values))
    return folder / "mine.yaml"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt to use the network fails the test."""

    def refuse(*args: Any, **more: Any) -> None:
        pytest.fail("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_run_begun_from_elsewhere_can_be_moved_and_loaded(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert train_run(load_recipe(project), Path("run"), quiet=True)
    shutil.move("run", tmp_path / "moved")
    again = load_recipe(tmp_path / "moved" / "recipe.yaml")
    assert (again.model, again.skills.path) == (str(project.parent / "base"), str(project.parent / "my-skills"))
    assert make_engine(again).library.names == ("all",)
    assert not train_run(load_recipe(project), tmp_path / "moved", quiet=True)  # finished, and the same recipe


def test_the_recipes_folder_goes_before_the_working_directory(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(project.parent, other)
    monkeypatch.chdir(other)
    assert load_recipe(project).model == str(project.parent / "base")
    assert load_recipe(project).notes == []
    assert load_recipe(project, ["model=base"]).model == str(other / "base")  # typed in the shell
    shutil.rmtree(project.parent / "base")
    moved = load_recipe(project)
    assert moved.model == str(other / "base")
    assert moved.notes == [f"`model: base` is not in {project.parent}, but in {other}"]


def test_a_run_with_paths_from_the_working_directory_resumes(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As recipes were written, and stored, before paths were relative to the recipe."""
    monkeypatch.chdir(project.parent)
    old = yaml.safe_dump(parse_recipe(RECIPE).model_dump(mode="json") | {"model": "base", "skills": "my-skills"})
    Run.create(tmp_path / "old", old).close()
    assert resumption(tmp_path / "old", load_recipe(project)).text == old
    assert (
        resumption(
            tmp_path / "old", load_recipe(written(tmp_path / "new", **RECIPE | {"model": "../project/base"}))
        ).text
        == old
    )


@pytest.mark.parametrize(
    ("change", "key", "hint"),
    [
        ({"model": "./no"}, "model", "hub name"),
        ({"model": "runs/x/policy"}, "model", "hub name"),
        ({"model": "my-skills/base"}, "model", "hub name"),
        ({"model": "~no-such-user/x"}, "model", "hub name"),
        ({"model": "~/nowhere/at/all"}, "model", "hub name"),
        ({"skills": "no-skills"}, "skills", "installed library"),
        ({"skills": "/no/skills"}, "skills", "installed library"),
        ({"env": {"name": "household", "games": "json_2.1.1"}}, "env.games", "imprint envs doctor alfworld"),
        ({"env": {"name": "search", "questions": "nq", "retriever": "index"}}, "env.questions", "search-data.md"),
    ],
)
def test_what_is_not_there_is_told_at_once_with_both_places(
    change: dict[str, Any], key: str, hint: str, project: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    monkeypatch.chdir(project.parent.parent)
    recipe = load_recipe(written(project.parent, **RECIPE | change))
    with pytest.raises(RecipeError) as caught:
        make_engine(recipe)
    assert caught.value.key == key and hint in str(caught.value.hint)
    assert f"in {project.parent} or {project.parent.parent}" in str(caught.value)
    result = CliRunner().invoke(app, ["train", str(project), "--out", "run"])
    assert result.exit_code == 2 and "Traceback" not in result.output and not Path("run").exists()


def test_a_checkpoint_is_measured_though_its_base_is_gone(project: Path) -> None:
    recipe = load_recipe(written(project.parent, **RECIPE | {"model": "./gone"}))
    assert make_engine(recipe, model="imprint-tiny").agent.model.base == "imprint-tiny"


@pytest.mark.parametrize(
    "name", ["./no", "../no", "~no-such-user/no", "runs/x/policy", "/no", "~/no", "-no", "a//b", "tests/no"]
)
def test_a_missing_folder_is_not_looked_up(name: str, offline: None) -> None:
    with pytest.raises(PolicyError, match="there is no such folder"):
        Policy.load(name)


@pytest.mark.parametrize("name", ["gpt2", "Qwen/Qwen3-8B", "org-1/model_v1.5"])
def test_hub_names_are_looked_up(name: str) -> None:
    assert may_be_hub_name(name)


def test_a_served_models_name_is_no_path(project: Path) -> None:
    endpoint = {"base_url": "http://127.0.0.1:9/v1"}
    assert load_recipe(written(project.parent, **RECIPE | {"endpoint": endpoint})).model == "base"
    written(project.parent, **RECIPE)
    assert load_recipe(project, ["endpoint.base_url=http://127.0.0.1:9/v1"]).model == "base"


def test_a_library_and_a_folder_of_one_name_are_told_apart(project: Path) -> None:
    (project.parent / "my-skills").rename(project.parent / "household")
    with pytest.raises(LibraryError, match=r"write \./household for the folder"):
        load_recipe(written(project.parent, **RECIPE | {"skills": "household"}))
    found = load_recipe(written(project.parent, **RECIPE | {"skills": "./household"}))
    assert found.skills.path == str(project.parent / "household")


class Inner(BaseModel):
    table: Path | None = None
    notes: str = ""


class Section(BaseModel):
    """A plug-in's section."""

    data: Annotated[str, MayBePath(names=("made",), hint="make it")] = "made"
    files: list[Path] = []
    by_name: dict[str, Path] = {}
    inner: Inner | None = None
    out: Annotated[str | None, MayBePath(made=True)] = None


class World:
    def __init__(self, *, maps: Path | None = None, count: int = 3) -> None: ...


def test_sections_of_others_have_paths_too(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    x, places = str(tmp_path / "x"), Places([tmp_path])
    given_ = {
        "data": "x",
        "files": ["x", "/y"],
        "by_name": {"a": "x"},
        "inner": {"table": "x", "notes": "x"},
        "out": "o",
    }
    assert places.resolved(Section, given_) == {
        "data": x,
        "files": [x, "/y"],
        "by_name": {"a": x},
        "inner": {"table": x, "notes": "x"},
        "out": str(tmp_path / "o"),
    }
    assert places.resolved(World, {"maps": "x", "count": 3, "more": "x"}) == {"maps": x, "count": 3, "more": "x"}
    assert places.missing == {}
    places.resolved(Section, {"data": "no"}, "mine.")
    assert places.missing == {"mine.data": ("no", "make it")}


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=3), one, max_size=3),
    max_leaves=6,
)


@given(values=st.dictionaries(st.sampled_from(["data", "files", "by_name", "inner", "out", "other"]), json))
def test_any_values_keep_their_shape(values: dict[str, Any]) -> None:
    """What is wrong with them, validation says."""

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(inner) for key, inner in value.items()}
        return [shape(inner) for inner in value] if isinstance(value, list) else type(value)

    found = Places([Path("/nowhere"), Path("/either")]).resolved(Section, values)
    assert shape(found) == shape(values)
    assert Places([Path("/nowhere")]).resolved(Section, found) == found  # once is enough
