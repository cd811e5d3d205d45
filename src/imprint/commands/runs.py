"""`imprint runs`: what is in a folder of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.console import Json, console, document, emit, grid, say
from imprint.errors import CheckpointError
from imprint.measurement.naming import COLUMNS

if TYPE_CHECKING:
    from imprint.measurement.trials import Evaluation


def runs(
    folder: Annotated[Path, typer.Argument(help="A folder of runs, at any depth up to four, or a run's own.")] = Path(
        "runs"
    ),
    as_json: Json = False,
) -> None:
    """List the runs in a folder: how far each is, and its success with and without skills.

    Example: `imprint runs runs/compare`
    """
    from imprint.report.listing import list_runs

    if not folder.is_dir():
        raise CheckpointError("is no folder", where=folder, hint="give the folder that your runs are in")
    found = list_runs(folder)
    for one in found:
        if one.problem:
            say(f"note: {one.problem}", stderr=True)
    if as_json:
        emit(document("runs", {"folder": str(folder), "runs": [one.to_record() for one in found]}))
        return
    if not found:
        say(f"no run is in {folder}")
        return
    rows = []
    for one in found:
        run = one.summary
        facts = ["–"] * 4 if run is None else [run.method, run.world, run.last_step, f"{run.share_done:.0%}"]
        when = f"{one.updated.astimezone():%Y-%m-%d %H:%M}"
        name = "." if one.path == folder else str(one.path.relative_to(folder))
        rows.append([name, *facts[:2], one.state, *facts[2:], *(_success(one.end(role)) for role in COLUMNS), when])
    header = ["run", "method", "world", "status", "step", "done", "without skills", "with skills", "last change"]
    caption = "Success at the last evaluation of each: its split and 95% interval (Wilson)."
    console().print(grid(f"{len(found)} run{'s' * (len(found) > 1)} in {folder}", header, rows, caption, words=4))


def _success(e: Evaluation | None) -> str:
    if e is None:
        return "–"
    return f"{e.success:.1%} [{100 * e.interval.low:.0f}, {100 * e.interval.high:.0f}] {e.split}"
