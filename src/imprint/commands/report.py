"""`imprint report`: a run's page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imprint.commands.console import say


def report(
    run: Annotated[Path, typer.Argument(help="A run's folder, as `imprint train` made it.")],
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a run's report: one HTML file with its curves, its skills and episodes to read.

    The run may still be going on. Example: `imprint report runs/demo --open`
    """
    from imprint.report.page import write_report

    path = write_report(run)
    say(path)
    if show:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
