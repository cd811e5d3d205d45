"""Where a run's records are sent while it trains: TensorBoard always, W&B and trackio if the recipe's `loggers` asks.

A tracker listens to the run (`Run.listeners`), so that nothing which writes a record knows of it. One that fails is
reported once and never stops the training: the run's own files hold everything.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from imprint.errors import RecipeError
from imprint.measurement.evaluate import EVIDENCE
from imprint.measurement.trials import paired_rows
from imprint.runs.run import RECORDS, Record, Run
from imprint.types import Trial

__all__ = ["TRACKERS", "Tracker", "Trackers", "check_trackers"]

Row = Mapping[str, Any]
TABLES = frozenset(RECORDS) - {"metrics", "timings", "trials"}
_log = logging.getLogger(__name__)


class Tracker(Protocol):
    """One place that shows a run."""

    def log(self, step: int, metrics: Mapping[str, int | float]) -> None:
        """Add a step's finite numbers."""

    def table(self, step: int, name: str, rows: Callable[[], Sequence[Row]]) -> None:
        """Show all rows so far, which have the same keys; `rows` reads them."""

    def page(self, step: int, name: str, write: Callable[[], Path]) -> None:
        """Show an HTML file; `write` makes it."""

    def close(self, *, failed: bool) -> None:
        """Send what is left; `failed` if the training did not get to its end."""


class Trackers:
    """The trackers of a run, from before its first record to after its report.

    Args:
        run: open for writing.
        names: beside TensorBoard, from `TRACKERS`.

    Raises:
        RecipeError: no such tracker, or its package is not installed.
    """

    def __init__(self, run: Run, names: Sequence[str] = ()) -> None:
        check_trackers(names)
        self._run = run
        self._names = tuple(dict.fromkeys(("tensorboard", *names)))
        self._trackers: dict[str, Tracker] = {}
        self._failed: set[str] = set()
        self._step = 0

    def __enter__(self) -> Self:
        for name in self._names:
            with self._guarded(name):
                self._trackers[name] = TRACKERS[name](self._run)
        self._run.listeners.append(self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.listeners.remove(self._receive)
        self._each(lambda tracker: tracker.close(failed=kind is not None))

    def page(self, name: str, write: Callable[[], Path]) -> None:
        """Show the HTML file that `write` makes, after the last step."""
        self._each(lambda tracker: tracker.page(self._step, name, write))

    def _receive(self, record: Record, rows: Sequence[Row]) -> None:
        """Send what was just written to `record`; tables are sent whole, as the services replace them whole."""
        self._step = max(self._step, *(row["step"] for row in rows)) if rows else self._step
        if record == "metrics":
            for row in rows:
                self._numbers(row)
        elif record in TABLES:
            self._table(record, lambda: self._run.rows(record))
            if record == "evaluations":
                self._table("paired", self._paired)

    def _numbers(self, row: Row) -> None:
        finite = {name: value for name, value in row.items() if name != "step" and value is not None}
        self._each(lambda tracker: tracker.log(row["step"], finite))

    def _table(self, name: str, rows: Callable[[], Sequence[Row]]) -> None:
        self._each(lambda tracker: tracker.table(self._step, f"table/{name}", rows))

    def _paired(self) -> list[dict[str, Any]]:
        trials = (Trial.from_record(row) for row in self._run.rows("trials") if row["split"] != EVIDENCE)
        return paired_rows(trials)

    def _each(self, send: Callable[[Tracker], None]) -> None:
        for name, tracker in self._trackers.items():
            with self._guarded(name):
                send(tracker)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a service's client fails in its own ways
            if name not in self._failed:
                self._failed.add(name)
                reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
                _log.warning(
                    "the logger %s failed (%s); training continues, and every record is in %s",
                    *(name, reason, self._run.path),
                )


def check_trackers(names: Sequence[str]) -> None:
    """See that the trackers can be had, without starting one.

    Raises:
        RecipeError: no such tracker, or its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise RecipeError(
                f"no tracker is called {name!r}", key="loggers", hint=f"choose from: {', '.join(TRACKERS)}"
            )
        if name != "tensorboard" and find_spec(name) is None:
            raise RecipeError(
                f"the recipe asks for the tracker {name!r}, which is not installed",
                key="loggers",
                hint=f"pip install {name}, or remove it from `loggers`",
            )


class _TensorBoard:
    """Scalars alone: TensorBoard has no tables and no pages."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @cached_property
    def _writer(self) -> Any:
        """Made at the first number, when it is known from which step the run resumes: later ones are dropped."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        after = self._run.resumed_from
        return SummaryWriter(
            log_dir=str(self._run.path / "tensorboard"), purge_step=None if after is None else after + 1
        )

    def log(self, step: int, metrics: Mapping[str, int | float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def table(self, step: int, name: str, rows: Callable[[], Sequence[Row]]) -> None:
        pass

    def page(self, step: int, name: str, write: Callable[[], Path]) -> None:
        pass

    def close(self, *, failed: bool) -> None:
        if "_writer" in self.__dict__:
            self._writer.close()


class _Service:
    """W&B or trackio, whose modules have the same functions and classes.

    A run's seeds form a group. What the user set in the environment (`WANDB_PROJECT`, say) wins over our project.
    """

    def __init__(self, package: str, run: Run, **options: Any) -> None:
        self._module: Any = importlib.import_module(package)
        self._module.init(
            project=os.environ.get(f"{package.upper()}_PROJECT", "imprint"),
            name=run.path.resolve().name,
            group=str(run.recipe.get("name", "")) or None,
            config=run.recipe,
            **options,
        )

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._module.log(dict(metrics), step=step)

    def table(self, step: int, name: str, rows: Callable[[], Sequence[Row]]) -> None:
        if listed := rows():
            columns = list(listed[0])
            data = [[row.get(column) for column in columns] for row in listed]
            self.log(step, {name: self._module.Table(columns=columns, data=data)})

    def page(self, step: int, name: str, write: Callable[[], Path]) -> None:
        self.log(step, {name: self._module.Html(str(write()), inject=False)})

    def close(self, *, failed: bool) -> None:
        self._module.finish()


class _Wandb(_Service):
    """A resumed run resumes there too (`auto`: W&B keeps its id in the run's folder until it finishes well)."""

    def __init__(self, run: Run) -> None:
        super().__init__("wandb", run, dir=str(run.path), resume="auto")
        self._first = self._module.run.starting_step

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        if step >= self._first:  # W&B has the earlier ones, and a resumed run repeats them exactly
            super().log(step, metrics)

    def close(self, *, failed: bool) -> None:
        self._module.finish(exit_code=int(failed))


class _Trackio(_Service):
    def __init__(self, run: Run) -> None:
        super().__init__("trackio", run, resume="allow" if run.rows("metrics") else "never")


TRACKERS: dict[str, Callable[[Run], Tracker]] = {"tensorboard": _TensorBoard, "wandb": _Wandb, "trackio": _Trackio}
