"""A run's folder: what makes it one, and that nothing but what a run wrote is ever removed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from imprint.cli import app
from imprint.errors import CheckpointError
from imprint.runs.folder import MARKER, clear, is_run
from imprint.runs.metrics import MetricsWriter
from imprint.runs.run import Run
from imprint.runs.trackers import Trackers
from imprint.support.files import atomic_folder

GOLDEN = Path(__file__).with_name("golden")
RECIPE = "name: a\nmethod: grpo\nsteps: 8\n"


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below `folder`, with contents."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def make_run(path: Path) -> Path:
    """A run with something of everything."""
    with Run.create(path, RECIPE) as run, Trackers(run):
        MetricsWriter(run).log(1, {"loss": 1.0})
        run.write_episodes(1, "with", [])
        with atomic_folder(run.checkpoint_path(1)) as folder:
            names = ("config.json", "odd.bin", "trainer.pt")
            for name in names:
                (folder / name).write_text("{}")
            (folder / "state.json").write_text(json.dumps({"step": 1, "files": [*names, "state.json"]}))
        run.set_status("finished", 1)
    (path / "report.html").write_text("page")
    (path / ".metrics.jsonl.tmp-abc1").write_text("a killed writer's")
    return path


def cleared(path: Path) -> None:
    with Run.create(path, Run.open(path).recipe_text, resume=True) as run:
        run.clear()


def test_a_recipe_makes_no_run_and_a_marker_does(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    assert not is_run(tmp_path)
    (tmp_path / MARKER).write_text('{"state": "mine"}')
    assert not is_run(tmp_path)
    with pytest.raises(CheckpointError, match="which makes no run"):
        Run.open(tmp_path)
    with pytest.raises(CheckpointError, match="not empty and holds no run"):
        Run.create(tmp_path, RECIPE, resume=True)
    assert is_run(make_run(tmp_path / "run"))


@pytest.mark.parametrize("name", ["run", "run-grpo"])
def test_a_run_older_than_the_marker_is_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    shutil.copytree(GOLDEN / name, path)
    assert is_run(path) and not (path / MARKER).exists()
    (path / "status.json").unlink()
    assert is_run(path)  # by its checkpoint
    cleared(path)
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("status", ["{}", "[1]", '{"state": "open", "step": 3}', '{"state": "running"}', "{"])
def test_a_status_that_no_run_wrote_is_no_evidence(status: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "status.json").write_text(status)
    assert not is_run(tmp_path)


def test_a_run_killed_before_its_recipe_was_written_begins_again(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    (tmp_path / "killed").mkdir()
    shutil.copy(tmp_path / "run" / MARKER, tmp_path / "killed" / MARKER)
    Run.create(tmp_path / "killed", RECIPE).close()
    assert is_run(tmp_path / "killed")


def test_everything_that_a_run_writes_is_removed_and_its_folder_stays(tmp_path: Path) -> None:
    cleared(make_run(tmp_path / "run"))
    assert tree(tmp_path) == {"run": None}


PLACES = [
    *("notes.txt", "nested/recipe.yaml", "checkpoints/notes.txt", "checkpoints/merged/model.safetensors"),
    *("checkpoints/step-000001/model.gguf", "episodes/mine.jsonl", "tensorboard/plot.png", "wandb/notes.txt"),
    *("tensorboard/events.out.tfevents.1/mine", "report.html.bak", "run.json.d/x", "episodes/step-000001.with.jsonl/x"),
]


@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_holds_anything_else_is_not_removed(place: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    if (run / place).parent.is_file():
        (run / place).parent.unlink()
    (run / place).parent.mkdir(parents=True, exist_ok=True)
    (run / place).write_text("mine")
    before = tree(run)
    with pytest.raises(CheckpointError, match="was not written by the run, so nothing is removed"):
        clear(run)
    assert tree(run) == before


names = st.text("abc.-_0123456789", min_size=1, max_size=9).filter(lambda name: name not in (".", ".."))


@given(parts=st.lists(st.one_of(names, st.sampled_from(["checkpoints", "episodes", "wandb"])), min_size=1, max_size=3))
def test_no_file_of_anyone_is_lost(parts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    run = make_run(tmp_path_factory.mktemp("runs") / "run")
    mine = run.joinpath(*parts)
    try:
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.open("x").close()
    except OSError:
        return  # the run's own file is there
    with pytest.raises(CheckpointError):
        clear(run)
    assert mine.exists()


@pytest.mark.parametrize("place", ["checkpoints", "report.html", "checkpoints/step-000001", "recipe.yaml"])
def test_links_are_not_followed(place: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / place).rename(tmp_path / "elsewhere")
    (run / place).symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path)
    with pytest.raises(CheckpointError, match="was not written by the run"):
        clear(run)
    assert tree(tmp_path) == before


def test_a_link_to_a_run_stays_a_link(tmp_path: Path) -> None:
    make_run(tmp_path / "disk")
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    cleared(tmp_path / "run")
    assert (tmp_path / "run").is_symlink() and list((tmp_path / "disk").iterdir()) == []


@pytest.mark.parametrize("command", [["train", "recipe.yaml", "--out", ".", "--fresh"], ["report", "."], ["eval", "."]])
def test_a_users_folder_with_a_recipe_is_left_alone(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text("name: mine  # with my comments\nmethod: zero_shot\n")
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and "no run" in result.output and "Traceback" not in result.output
    assert tree(tmp_path) == before
