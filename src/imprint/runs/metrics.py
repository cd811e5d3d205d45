"""The numbers of a training step, written where one looks: metrics.jsonl, TensorBoard, trackers."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from types import TracebackType
from typing import Any, Protocol, Self, SupportsFloat

from imprint.errors import ImprintError, RecipeError
from imprint.runs.run import Run

__all__ = ["TRACKERS", "MetricsWriter", "Tracker"]

Number = int | float


class Tracker(Protocol):
    """Somewhere else that metrics go to; only sees finite numbers."""

    def log(self, step: int, metrics: Mapping[str, Number]) -> None: ...

    def close(self) -> None: ...


class MetricsWriter:
    """Writes one row per call to `metrics.jsonl`, TensorBoard and the trackers.

    Args:
        run: open for writing; after `run.truncate_to(step)` TensorBoard also forgets what is later.
        trackers: names from `TRACKERS`, e.g. ("wandb",); TensorBoard needs no naming.

    Raises:
        RecipeError: no such tracker, or its package is not installed.
    """

    def __init__(self, run: Run, trackers: Sequence[str] = ()) -> None:
        self._run = run
        self._trackers: list[Tracker] = []
        self._last = -1 if run.resumed_from is None else run.resumed_from
        for name in dict.fromkeys(("tensorboard", *trackers)):
            if name not in TRACKERS:
                raise RecipeError(
                    f"no tracker is called {name!r}",
                    key="loggers",
                    hint=f"choose from: {', '.join(TRACKERS)}",
                )
            self._trackers.append(TRACKERS[name](run))

    def log(self, step: int, metrics: Mapping[str, SupportsFloat | None]) -> None:
        """Write the metrics of `step`; NaN and infinities become null.

        Raises:
            ImprintError: `step` is earlier than the last one written, or a metric is not a number.
        """
        if step < self._last:
            raise ImprintError(
                f"step {step} was logged after step {self._last}",
                where=self._run.record_path("metrics"),
                hint="log steps in order; truncate_to(step) when resuming",
            )
        plain = {name: _plain(name, value) for name, value in metrics.items() if name != "step"}
        self._run.append("metrics", [{"step": step, **plain}])
        self._last = step
        finite = {name: value for name, value in plain.items() if value is not None}
        for tracker in self._trackers:
            tracker.log(step, finite)

    def close(self) -> None:
        """Flush and close TensorBoard and the trackers."""
        for tracker in self._trackers:
            tracker.close()
        self._trackers = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _plain(name: str, value: SupportsFloat | None) -> Number | None:
    if value is None:
        return None
    if isinstance(value, Integral):
        return int(value)
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ImprintError(f"the metric is not a number: {value!r}", key=name, hint="log numbers only") from error
    return number if math.isfinite(number) else None


class _TensorBoard:
    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import; only writers need it

        purge = None if run.resumed_from is None else run.resumed_from + 1
        self._writer: Any = SummaryWriter(log_dir=str(run.path / "tensorboard"), purge_step=purge)

    def log(self, step: int, metrics: Mapping[str, Number]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Module:
    """Weights & Biases, or a package with the same three functions (init, log, finish)."""

    def __init__(self, package: str, log_step: bool, **options: Any) -> None:
        try:
            self._module = importlib.import_module(package)
        except ImportError as error:
            raise RecipeError(
                f"the recipe asks for the tracker {package!r}, which is not installed",
                key="loggers",
                hint=f"pip install {package}, or remove it from `loggers`",
            ) from error
        self._log_step = log_step
        self._module.init(**options)

    def log(self, step: int, metrics: Mapping[str, Number]) -> None:
        if self._log_step:
            self._module.log(dict(metrics), step=step)
        else:
            self._module.log({"step": step, **metrics})

    def close(self) -> None:
        self._module.finish()


def _wandb(run: Run) -> Tracker:
    # A resumed run is a new run there: W&B refuses steps that it has seen.
    options = {"project": "imprint", "name": run.path.name, "dir": str(run.path), "config": run.recipe}
    return _Module("wandb", True, **options)


def _trackio(run: Run) -> Tracker:
    return _Module("trackio", False, project="imprint", name=run.path.name, config=run.recipe)


TRACKERS: dict[str, Callable[[Run], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _wandb,
    "trackio": _trackio,
}
