"""`imprint report`: a run's page, or one of several runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from imprint.commands.console import say

Write = Callable[[int | None], Path]  # given the seconds after which the page loads itself anew


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that `imprint train` made; at most 8.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the page goes.  [default: report.html in the run; of several runs.html in this folder]",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write it anew while a run trains; the open page follows.")
    ] = False,
    every: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="How often --watch looks.")] = 5,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a run's report: one HTML file with its curves, its skills and episodes to read. Several runs: compared.

    The run may still be going on. Example: `imprint report runs/demo --open`

    Two runs in one page, live: `imprint report runs/demo runs/other --watch`
    """

    def write(refresh: int | None) -> Path:
        from imprint.report.overlay import write_overlay
        from imprint.report.page import write_report

        if len(runs) > 1:
            return write_overlay(runs, out or Path("runs.html"), refresh)
        return write_report(runs[0], refresh, out)

    path = write(every if watch else None)
    say(path)
    if show:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    if watch:
        try:
            follow(runs, write, every)
        except KeyboardInterrupt as error:
            write(None)
            raise KeyboardInterrupt(f"no longer watched: {path} is as of now") from error


def follow(runs: Sequence[Path], write: Write, every: float) -> None:
    """Write the page anew when a record has changed, until no run is in training; the last page stays as it is."""
    from imprint.runs.run import Run

    written = None
    while any(Run.open(run).state == "training" for run in runs):
        stamps = [path.stat().st_mtime_ns for run in runs for path in sorted(run.glob("*.json*"))]
        if stamps != written:
            write(int(every))
            written = stamps
        time.sleep(every)
    write(None)
    for run in runs:
        say(f"{run}: {Run.open(run).state}", stderr=True)
