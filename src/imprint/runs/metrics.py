"""The numbers of a training step, as rows of `metrics.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral
from typing import SupportsFloat

from imprint.errors import ImprintError
from imprint.runs.run import Run

__all__ = ["MetricsWriter"]

Number = int | float


class MetricsWriter:
    """Writes one row per call to `metrics.jsonl` of a run that is open for writing."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._last = -1 if run.resumed_from is None else run.resumed_from

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
