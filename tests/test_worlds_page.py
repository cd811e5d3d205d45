"""The example of docs/manual/worlds.md, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from imprint.cli import app
from imprint.runs.run import Run
from plugged import install
from tiny import saved_policy

PAGE = Path(__file__).parents[1] / "docs" / "manual" / "worlds.md"
BLOCK = re.compile(r"^```\w+\n(?:# ([\w./-]+)|<!-- ([\w./-]+) -->)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_example_is_a_package_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for code, page, content in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        path = tmp_path / (code or page)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        written.append(path.name)
    assert written == ["world.py", "SKILL.md", "SKILL.md", "pyproject.toml", "recipe.yaml"]
    (tmp_path / "my_locks" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(install(tmp_path, tmp_path / "venv").site))

    assert "A red lock is before you" in cli("envs", "show", "my-locks")
    assert "locks-red: valid" in cli("skills", "validate", "my-locks", "--env", "my-locks")
    recipe = str(tmp_path / "recipe.yaml")
    assert "solved in 1 turn" in cli("play", "--recipe", recipe, "--family", "blue", said="turn right\n")
    model = saved_policy(tmp_path / "model")
    cli("train", recipe, "--out", str(tmp_path / "run"), "--set", f"model={model}", "--set", "threads=1", "--quiet")
    run = Run.open(tmp_path / "run")
    assert run.status()["state"] == "finished"
    assert run.recipe["skills"] == yaml.safe_load((tmp_path / "recipe.yaml").read_text(encoding="utf-8"))["skills"]


def cli(*arguments: str, said: str | None = None) -> str:
    result = CliRunner().invoke(app, arguments, input=said)
    assert result.exit_code == 0, result.output
    return result.output
