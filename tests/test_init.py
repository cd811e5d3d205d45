"""`imprint init` and docs/manual/your-world.md: the folder trains as it is, and the page shows that folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import ROOT
from imprint.cli import app
from imprint.commands.init import COMMANDS, STARTER
from imprint.envs.base import TeachableWorld, make_world
from imprint.errors import RecipeError
from imprint.recipe import load_recipe
from imprint.runs.run import Run
from imprint.skills.library import load_library

PAGE = (ROOT / "docs" / "manual" / "your-world.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WORLD = "world.py:DrinksWorld"
FEW = {  # beside the commands as they are printed
    "pretrain": ("steps=2", "copy_steps=1", "demos=2", "show_tasks=2"),
    "train": (
        *("steps=2", "rollout.tasks=2", "rollout.group=2", "curriculum.stages=1"),
        *("evaluation.tasks=3", "evaluation.test_tasks=3"),
    ),
}


def cli(*arguments: str, said: str | None = None, status: int = 0) -> str:
    result = CliRunner().invoke(app, arguments, input=said)
    assert result.exit_code == status, result.output
    return result.output


def run_commands(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Run command lines as a shell would, training in fewer steps; what they print."""
    said = ""
    for line in lines:
        program, *arguments = shlex.split(line, comments=True)
        if program == "cd":
            monkeypatch.chdir(arguments[0])
        else:
            assert program == "imprint"
            said += cli(*arguments, *(part for change in FEW.get(arguments[0], ()) for part in ("--set", change)))
    return said


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_what_it_writes_trains_with_the_commands_that_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = cli("init", "my drinks")
    assert files(tmp_path / "my drinks") == files(STARTER)
    lines = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
    assert [line.split("#")[0].strip() for line in lines[1:]] == [command for command, _ in COMMANDS]
    assert "train it: imprint train recipe.yaml\n" in run_commands(lines, monkeypatch)
    run = Run.open(Path("runs/drinks-s0"))
    assert run.status()["state"] == "finished"
    assert {row["family"] for row in run.rows("evaluations")} == {"all", "tea", "cocoa", "punch"}
    assert "tea" in cli("eval", "runs/drinks-s0", "--tasks", "3", "--quiet")
    solved = "take glass\nadd lemon\nserve 60\n"
    assert "solved in 3 turns" in cli("play", "--recipe", "recipe.yaml", "--task", "tea-60", said=solved)


def test_the_page_shows_what_it_writes_and_its_commands_are_those_that_it_prints() -> None:
    shown, commands = {}, []
    for kind, text in BLOCK.findall(PAGE):
        first, _, rest = text.partition("\n")
        if kind == "sh":
            commands += text.splitlines()
        else:
            shown[re.sub(r"^(# |<!-- )| -->$", "", first)] = rest
    assert shown == {name: text for name, text in files(STARTER).items() if name != "README.md"}
    assert commands == ["imprint init drinks", "cd drinks", *(command for command, _ in COMMANDS)]


@pytest.mark.parametrize("taken", ["file", "folder", "link"])
def test_it_replaces_nothing(taken: str, tmp_path: Path) -> None:
    place = tmp_path / "drinks"
    if taken == "link":
        place.symlink_to(tmp_path / "elsewhere")
        assert "nothing in it is replaced" in " ".join(cli("init", str(place), status=2).split())
        assert not (tmp_path / "elsewhere").exists()
        return
    if taken == "folder":
        place.mkdir()
        place = place / "mine.txt"
    place.write_text("mine", encoding="utf-8")
    assert "nothing in it is replaced" in " ".join(cli("init", str(tmp_path / "drinks"), status=2).split())
    assert files(tmp_path) == {place.relative_to(tmp_path).as_posix(): "mine"}


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()  # of `git init`
    cli("init", str(tmp_path))
    assert (tmp_path / "world.py").is_file()


# --- the world that it writes ---


@pytest.fixture(scope="module")
def world() -> TeachableWorld:
    made = make_world(f"{STARTER / 'world.py'}:DrinksWorld")
    assert isinstance(made, TeachableWorld)
    return made


def test_its_splits_are_disjoint_and_demonstrations_succeed_without_a_real_rule(world: TeachableWorld) -> None:
    ids = [task.id for split in ("train", "validation", "test") for task in world.tasks(split)]
    assert (len(ids), len(set(ids))) == (270, 270)
    shown = [world.demonstration(seed, lesson="any") for seed in range(200)]
    assert all(one is not None and one.success for one in shown)
    told = {(one.pages[0].name, one.pages[0].body) for one in shown if one is not None}
    real = {(skill.name, skill.body) for skill in load_library(STARTER / "skills").skills}
    assert len(told) > 50 and len(real) == 3 and not told & real


# --- a world in a file ---


def broken(tmp_path: Path, text: str, name: str = "World") -> str:
    (tmp_path / "w.py").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        make_world(f"{tmp_path / 'w.py'}:{name}")
    assert caught.value.key == "env.name"
    return str(caught.value)


def test_a_file_that_fails_is_told_with_its_line(tmp_path: Path) -> None:
    assert "w.py:2: env.name: the world cannot be loaded: ZeroDivisionError" in broken(tmp_path, "x = 1\ny = x / 0\n")
    assert "w.py:3: env.name: the world cannot be loaded: SyntaxError" in broken(tmp_path, "x = 1\n\nclass :\n")
    assert "did you mean 'World'?" in broken(tmp_path, "class World: pass\n", "Wolrd")
    (tmp_path / "w.py").unlink()
    with pytest.raises(RecipeError, match="there is no such file"):
        make_world(f"{tmp_path / 'w.py'}:World")


def test_its_options_are_checked_as_those_of_an_installed_world() -> None:
    with pytest.raises(RecipeError, match="has no option 'max_turn'"):
        make_world(f"{STARTER / 'world.py'}:DrinksWorld", max_turn=3)


def test_it_is_relative_to_the_recipe_and_absolute_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "r.yaml").write_text(f"name: r\nenv: {{name: {WORLD}}}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("deep/r.yaml").env.name == f"{tmp_path / 'deep'}/{WORLD}"
    (tmp_path / "other.py").touch()
    given = load_recipe("deep/r.yaml", ["env.name=other.py:World"])
    assert given.env.name == f"{tmp_path / 'other.py'}:World"
