"""What is in a folder of runs: a row for each, from its small records alone (trials and episodes are not read)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imprint.errors import ImprintError
from imprint.measurement.naming import COLUMNS
from imprint.measurement.trials import Evaluation
from imprint.report.summary import Summary
from imprint.runs.folder import is_run
from imprint.runs.run import Run

__all__ = ["Listed", "find_runs", "list_runs"]

DEPTH = 4  # of folders below the one that is asked about
STAMPS = ("recipe.yaml", "status.json", "metrics.jsonl", "evaluations.jsonl")


@dataclass(frozen=True, slots=True)
class Listed:
    """One run of a folder.

    Attributes:
        updated: when its records last changed.
        summary: None if a record is damaged; `problem` then names it.
    """

    path: Path
    updated: datetime
    summary: Summary | None
    problem: str | None = None

    @property
    def state(self) -> str:
        """`training`, `finished`, `interrupted`, `failed`, `not begun` or `damaged`."""
        return "damaged" if self.summary is None else self.summary.state or "not begun"

    def end(self, role: str) -> Evaluation | None:
        """The last evaluation of the condition `with` or `without` (see `Summary.headline`)."""
        head = None if self.summary is None else self.summary.headline(role)
        return None if head is None else head.end

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary: a run of `imprint runs --json`."""
        record = {"path": str(self.path), "state": self.state, "updated": self.updated.isoformat(timespec="seconds")}
        run = self.summary
        if run is None:
            return {**record, "problem": self.problem}
        facts = {"name": run.name, "method": run.method, "world": run.world, "seed": run.seed}
        counts = {"step": run.last_step, "steps": run.steps, "env_steps": run.env_steps, "done": run.share_done}
        return {**record, **facts, **counts, "success": {role: _success(self.end(role)) for role in COLUMNS}}


def find_runs(folder: Path) -> Iterator[Path]:
    """The folders of runs at `folder` and below it, by name; what lies in a run or a hidden folder is not looked at."""
    if is_run(folder):
        yield folder
    elif folder.is_dir():
        yield from _below(folder, DEPTH)


def list_runs(folder: Path) -> list[Listed]:
    """The runs at `folder` and below it, by path. One that cannot be read is `damaged`, and the others still there."""
    return [_listed(path) for path in find_runs(folder)]


def _below(folder: Path, depth: int) -> Iterator[Path]:
    inner = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    for entry in sorted(inner):
        if is_run(entry):
            yield entry
        elif depth > 1 and not entry.is_symlink():
            yield from _below(entry, depth - 1)


def _listed(path: Path) -> Listed:
    stamps = [(path / name).stat().st_mtime for name in STAMPS if (path / name).exists()]
    updated = datetime.fromtimestamp(max(stamps), UTC)
    try:
        return Listed(path, updated, Summary.brief(Run.open(path)))
    except ImprintError as error:
        return Listed(path, updated, None, error.describe())


def _success(e: Evaluation | None) -> dict[str, Any] | None:
    if e is None:
        return None
    named = {"condition": e.arm, "split": e.split, "step": e.step, "episodes": e.episodes, "successes": e.successes}
    return {**named, "rate": e.success, "low": e.interval.low, "high": e.interval.high}
