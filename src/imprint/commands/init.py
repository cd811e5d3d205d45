"""`imprint init`: a small complete starting point for a world and skills of one's own."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from imprint.commands.console import say
from imprint.errors import ImprintError

STARTER = Path(__file__).parent / "starter"
COMMANDS = (
    ("imprint skills validate skills --env world.py:DrinksWorld", "each task has a skill, each skill a task"),
    ("imprint pretrain pretrain.yaml --out base", "a small policy that follows skills"),
    ("imprint train recipe.yaml", "moves the skills into its weights, and writes a report"),
)


def init(
    folder: Annotated[Path, typer.Argument(help="A new folder, or one with nothing but hidden files (.git).")],
) -> None:
    """Write a world, its skills, a pre-training recipe and a recipe, which train as they are; change them to your own.

    Example: `imprint init drinks`
    """
    try:
        if os.path.lexists(folder) and not (folder.is_dir() and _is_empty(folder)):
            raise ImprintError(
                "is there already, and nothing in it is replaced", where=folder, hint="name a new folder"
            )
        shutil.copytree(STARTER, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    except OSError as error:
        raise ImprintError(f"cannot be written: {error}", where=folder, hint="check the path") from error
    say(f"{folder}: a world, three skills and two recipes; README.md says what is what. They train as they are:\n")
    say(f"  cd {shlex.quote(str(folder))}")
    for command, what in COMMANDS:
        say(f"  {command:<59}# {what}")


def _is_empty(folder: Path) -> bool:
    """Whether there is nothing in it beside hidden files: `.git` and `.venv` are often there first."""
    return all(entry.name.startswith(".") for entry in folder.iterdir())
