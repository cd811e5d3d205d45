"""A run that only measures: one test, with the use of a served model in the run's metrics, come what may."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from imprint.methods.base import Workbench
from imprint.methods.loop import Recorder
from imprint.runs.metrics import MetricsWriter


class Measuring(Recorder):
    """The test of a method that trains nothing.

    Attributes:
        numbers: what the test shows beside success, for the metrics.
    """

    def __init__(self, bench: Workbench, conditions: int = 2) -> None:
        super().__init__(bench)
        self.episodes = conditions * len(self.test_tasks)
        self.numbers: dict[str, float | None] = {}

    def __enter__(self) -> Self:
        self.bench.run.truncate_to(-1)  # of a run that was stopped; an endpoint's episodes are kept elsewhere
        self.bench.progress.begin(self.episodes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        meter = self.bench.meter
        if meter is not None:
            self.bench.progress.note(meter.sentences())
            self.numbers |= meter.metrics()
        if self.numbers:
            MetricsWriter(self.bench.run).log(0, self.numbers)
        if error is None:
            self.bench.run.set_status("finished", 0, env_steps=0)

    def advance(self, turns: int) -> None:
        """Report a finished episode."""
        meter = self.bench.meter
        self.bench.progress.advance(f"{turns} turns in the last episode" if meter is None else meter.line())
