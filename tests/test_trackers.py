"""Trackers: what TensorBoard, W&B and trackio are given of a run, and that none of them can stop it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from imprint.errors import RecipeError
from imprint.jobs.train import train_run
from imprint.measurement.trials import paired_rows
from imprint.recipe import parse_recipe
from imprint.runs.metrics import MetricsWriter
from imprint.runs.run import Run
from imprint.runs.trackers import Trackers, check_trackers
from imprint.types import StopReason, Trial

RECIPE = "name: a\nmethod: skill0\nsteps: 8\n"
FEW: dict[str, Any] = {
    "name": "few",
    "method": "skill0",
    "steps": 2,
    "threads": 1,
    "env": {"name": "household", "max_turns": 2},
    "rollout": {"tasks": 1, "group": 2},
    "evaluation": {"tasks": 2, "test_tasks": 2},
    "curriculum": {"interval": 1, "stages": 2},
}


class Service(ModuleType):
    """The functions and classes that `wandb` and `trackio` share, with their names and arguments."""

    def __init__(self, name: str, fails: tuple[str, ...] = (), starting_step: int = 0) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.calls: list[tuple[Any, ...]] = []
        self.fails = fails
        self.run = SimpleNamespace(starting_step=starting_step)

    def _called(self, function: str, *values: Any) -> None:
        self.calls.append((function, *values))
        if function in self.fails:
            raise ConnectionError("the server is away\nand more")

    def init(self, **options: Any) -> None:
        self._called("init", options)

    def log(self, values: dict[str, Any], step: int) -> None:
        self._called("log", step, values)

    def finish(self, exit_code: int | None = None) -> None:
        self._called("finish", exit_code)

    @staticmethod
    def Table(*, columns: list[str], data: list[list[Any]]) -> list[dict[str, Any]]:
        return [dict(zip(columns, row, strict=True)) for row in data]

    @staticmethod
    def Html(data: str, inject: bool) -> str:
        return Path(data).read_text(encoding="utf-8")

    def logged(self, name: str) -> list[tuple[int, Any]]:
        """(step, value) of each time that `name` was logged."""
        return [(call[1], call[2][name]) for call in self.calls if call[0] == "log" and name in call[2]]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Service:
    name, options = request.param if isinstance(request.param, tuple) else (request.param, {})
    monkeypatch.setitem(sys.modules, name, made := Service(name, **options))
    return made


def trial(condition: str, task: str, success: bool, step: int = 0, family: str = "heat") -> Trial:
    counts = dict.fromkeys(("turns", "valid_turns", "context_tokens", "text_tokens", "cached_tokens"), 1)
    rest = {"answered_tokens": 1, "first_tokens": 1, "env_steps": 0, "score": None, "skills": (), "seed": 0}
    where = {"step": step, "split": "validation", "condition": condition, "task": task, "family": family}
    return Trial(**where, success=success, stop=StopReason.TURN_LIMIT, **counts, **rest)  # type: ignore[arg-type]


def test_tensorboard_drops_what_a_resumed_run_repeats(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Run.create(tmp_path / "run", RECIPE) as run, Trackers(run):
        metrics = MetricsWriter(run)
        for step in (1, 2, 3):
            metrics.log(step, {"train/success": 0.1 * step})
    with Run.create(tmp_path / "run", RECIPE, resume=True) as run, Trackers(run):
        run.truncate_to(1)  # after the trackers have started, as in a job
        MetricsWriter(run).log(2, {"train/success": 0.9})
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    seen = [(event.step, round(event.value, 3)) for event in events.Scalars("train/success")]
    assert seen == [(1, 0.1), (2, 0.9)]


def test_an_unknown_or_missing_tracker_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="choose from: tensorboard, wandb, trackio"):
        check_trackers(["mlflow"])
    monkeypatch.setitem(sys.modules, "wandb", None)
    recipe = parse_recipe({**FEW, "loggers": ["wandb"], "model": str(tmp_path / "none")})
    with pytest.raises(RecipeError, match=r"loggers: .*\n.*pip install wandb"):  # before the model is looked for
        train_run(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("service", ["wandb", "trackio"], indirect=True)
def test_a_run_shows_its_recipe_decisions_evaluations_and_report(service: Service, tmp_path: Path) -> None:
    recipe = parse_recipe({**FEW, "loggers": [service.__name__]})
    train_run(recipe, tmp_path / "few-s0", quiet=True)
    run = Run.open(tmp_path / "few-s0")
    options = service.calls[0][1]
    assert (options["project"], options["name"], options["group"]) == ("imprint", "few-s0", "few")
    assert options["config"] == run.recipe and options["config"]["curriculum"]["stages"] == 2
    assert [step for step, _ in service.logged("train/success")] == [1, 2]
    assert service.logged("table/curriculum")[-1][1] == run.rows("curriculum") != []
    step, rows = service.logged("table/paired")[-1]
    assert step == 2 and rows == paired_rows(map(Trial.from_record, run.rows("trials")))
    assert {(row["split"], row["condition"], row["minus"]) for row in rows} == {
        ("validation", "with", "without"),
        ("test", "with", "without"),
    }
    assert service.logged("table/evaluations")[-1][1] == run.rows("evaluations")
    assert service.logged("report") == [(2, (run.path / "report.html").read_text(encoding="utf-8"))]
    assert service.calls[-1][0] == "finish"
    numbers = [value for call in service.calls if call[0] == "log" for value in call[2].values()]
    assert all(isinstance(value, int | float | list | str) for value in numbers)  # no null among them


@pytest.mark.parametrize("fails", [("init",), ("log",), ("finish",), ("init", "log", "finish")])
def test_a_failing_service_is_reported_once_and_stops_nothing(
    fails: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", Service("wandb", fails))
    with Run.create(tmp_path / "run", RECIPE) as run:
        with Trackers(run, ["wandb"]):
            for step in (1, 2, 3):
                MetricsWriter(run).log(step, {"a": 1})
        assert [row["step"] for row in run.rows("metrics")] == [1, 2, 3]
    assert [record.getMessage() for record in caplog.records] == [
        "the logger wandb failed (ConnectionError: the server is away); training continues, and "
        f"every record is in {tmp_path / 'run'}"
    ]
    assert (tmp_path / "run" / "tensorboard").is_dir()


@pytest.mark.parametrize("service", ["wandb"], indirect=True)
def test_what_cannot_be_read_for_a_service_stops_nothing(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def no_page() -> Path:
        raise OSError("no space left")

    with Run.create(tmp_path / "run", RECIPE) as run, Trackers(run, ["wandb"]) as trackers:
        run.append("trials", [{"step": 0, "split": "test"}])  # no trial
        run.append("evaluations", [{"step": 0, "split": "test"}])
        trackers.page("report", no_page)
        MetricsWriter(run).log(1, {"a": 1})
    assert [record.getMessage()[:33] for record in caplog.records] == ["the logger wandb failed (KeyError"]
    assert service.logged("table/evaluations") and service.logged("a") == [(1, 1)]


@pytest.mark.parametrize("service", [("wandb", {"starting_step": 3})], indirect=True)
def test_a_resumed_run_resumes_in_wandb_and_repeats_no_step(service: Service, tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", RECIPE) as run, Trackers(run, ["wandb"]):
        for step in (1, 2, 3, 4):
            MetricsWriter(run).log(step, {"a": step})
    assert service.calls[0][1]["resume"] == "auto" and service.calls[0][1]["dir"] == str(run.path)
    assert service.logged("a") == [(3, 3), (4, 4)]


@pytest.mark.parametrize("service", ["wandb"], indirect=True)
def test_what_stopped_is_not_called_finished(service: Service, tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", RECIPE) as run:
        with pytest.raises(KeyboardInterrupt), Trackers(run, ["wandb"]):
            raise KeyboardInterrupt
        assert service.calls[-1] == ("finish", 1) and run.listeners == []


@pytest.mark.parametrize("service", ["trackio"], indirect=True)
def test_trackio_gets_the_users_project_and_resumes(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_PROJECT", "mine")
    for _ in range(2):
        with Run.create(tmp_path / "run", RECIPE, resume=True) as run, Trackers(run, ["trackio"]):
            MetricsWriter(run).log(1, {"a": 1})
    begun = [call[1] for call in service.calls if call[0] == "init"]
    assert [(one["project"], one["resume"]) for one in begun] == [("mine", "never"), ("mine", "allow")]


def test_pairs_by_family_have_intervals_by_hand() -> None:
    """Of two pairs of `heat` one differs, the pair of `cool` does not, and what has no partner is left out."""
    with_ = [trial("with", "a", True), trial("with", "b", True), trial("with", "c", False, family="cool")]
    without = [trial("without", "a", False), trial("without", "b", True), trial("without", "c", False, family="cool")]
    alone = [trial("with", "d", True, step=5), trial("only", "a", True, step=7)]
    rows = paired_rows([*with_, *without, *alone])
    shown = [(row["family"], row["condition"], row["minus"], row["pairs"], row["difference"]) for row in rows]
    assert shown == [
        ("all", "with", "without", 3, pytest.approx(1 / 3)),
        ("cool", "with", "without", 1, 0.0),
        ("heat", "with", "without", 2, 0.5),
    ]
    z2 = 1.959964**2
    assert (rows[1]["low"], rows[1]["high"]) == pytest.approx((-z2 / (1 + z2), z2 / (1 + z2)), abs=1e-5)


REAL = """
import sys
from pathlib import Path
from imprint.runs.folder import refuse_mixed
from imprint.runs.metrics import MetricsWriter
from imprint.runs.run import Run
from imprint.runs.trackers import Trackers

with Run.create(sys.argv[1], "name: real\\nsteps: 2\\n") as run, Trackers(run, [sys.argv[2]]) as trackers:
    MetricsWriter(run).log(1, {"train/success": 0.25})
    run.append("curriculum", [{"step": 1, "skill": "heat", "action": "withdraw", "helpfulness": None, "active": False}])
    (run.path / "report.html").write_text("<!doctype html><p>a report</p>")
    trackers.page("report", lambda: run.path / "report.html")
    refuse_mixed(run.path)  # its files are known as the run's: --fresh may remove them
refuse_mixed(run.path)
"""


def logged_by(package: str, folder: Path) -> str:
    """What REAL prints with the real package, without network."""
    pytest.importorskip(package)
    (folder / "home").mkdir()
    offline = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(folder / "trackio"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(folder / "run"), package],
        env={**os.environ, **offline, "HOME": str(folder / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "failed" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def test_the_real_wandb_writes_an_offline_run(tmp_path: Path) -> None:
    assert "offline" in logged_by("wandb", tmp_path)
    (files,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files")
    (table,) = files.rglob("*.table.json")
    shown = json.loads(table.read_text())
    assert shown["columns"] == ["step", "skill", "action", "helpfulness", "active"]
    assert shown["data"] == [[1, "heat", "withdraw", None, False]]
    (page,) = files.rglob("*.html")
    assert page.read_text() == "<!doctype html><p>a report</p>"  # nothing is added to it
    (log,) = files.parent.glob("*.wandb")
    assert b"train/success" in log.read_bytes() and b"real" in log.read_bytes()


def test_the_real_trackio_writes_its_database(tmp_path: Path) -> None:
    import sqlite3

    logged_by("trackio", tmp_path)
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as opened:
        rows = [json.loads(row[0]) for row in opened.execute("select metrics from metrics order by id")]
    numbers = {name: value for row in rows for name, value in row.items()}
    assert numbers["train/success"] == 0.25
    assert numbers["table/curriculum"]["_value"][0]["skill"] == "heat"
    (page,) = (tmp_path / "trackio").rglob("*.html")
    assert page.read_text() == "<!doctype html><p>a report</p>"
