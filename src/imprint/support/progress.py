"""Progress on the terminal: a bar with the rate and the time left, or plain lines where there is no terminal."""

from __future__ import annotations

import datetime
import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Tells how far a long job is. Quiet ones say nothing at all.

    Args:
        what: the job's name, before the bar.
        quiet: no output (tests, libraries).
    """

    def __init__(self, what: str, *, quiet: bool = False, console: Console | None = None) -> None:
        self.what = what
        self.console = console or Console(stderr=True, quiet=quiet)
        self._bar = Bar(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self.console,
            transient=not self.console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=None, numbers="", rate="")
        self._began, self._first = time.monotonic(), 0
        self._warnings = _Warnings(self)

    def begin(self, total: int, done: int = 0) -> None:
        """Say how many units there are, and how many were done before (in an earlier, interrupted run)."""
        self._began, self._first = time.monotonic(), done
        self._bar.update(self._task, total=total, completed=done)

    def advance(self, numbers: str = "", by: int = 1) -> None:
        """One more unit is done; `numbers` is what to show beside the bar."""
        task = self._bar.tasks[0]
        done = int(task.completed) + by
        seconds = (time.monotonic() - self._began) / max(1, done - self._first)
        rate = f"{seconds:.1f} s each" if seconds >= 1 else f"{1 / max(seconds, 1e-9):.1f} a second"
        self._bar.update(self._task, advance=by, numbers=numbers, rate=rate)
        if not self.console.is_terminal and task.total:
            # A log wants about ten lines a job, not a bar.
            every = max(1, int(task.total) // 10)
            if done % every < by or task.finished:
                left = datetime.timedelta(seconds=round(seconds * (task.total - done)))
                self.note(f"{self.what}: {done} of {int(task.total)}, {rate}, {left} left; {numbers}")

    def note(self, text: str) -> None:
        """A line that stays; a log gets it whole, for paths in it are searched and copied."""
        console = self._bar.console
        console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bar.start()
        if not self.console.quiet:  # else Python's own handler prints it
            logging.getLogger("imprint").addHandler(self._warnings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("imprint").removeHandler(self._warnings)
        if self.console.is_terminal:
            self._bar.stop()


class _Warnings(logging.Handler):
    """What Imprint's modules warn of while the job runs, as lines that stay."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.note(f"note: {record.getMessage()}")
