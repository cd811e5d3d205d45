"""`imprint skills groups`: which skills belong together, by their metadata or as clustering proposes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from imprint.commands.console import Folder, Lenient, console, grid, say

if TYPE_CHECKING:
    from imprint.skills.groups import Group


def groups(
    folder: Folder = "household",
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many groups to propose.  [default: the number that separates them best]",
            show_default=False,
        ),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the proposal without asking.")] = False,
    lenient: Lenient = False,
) -> None:
    """Show the groups of a library, and propose some for skills that name none.

    A group is the category of the tasks that practise its skills. Proposed ones are written only if you confirm, to
    `groups.json` beside the skills; edit it as you like. Needs `pip install 'imprint[find]'`.

    Example: `imprint skills groups my-skills --count 6`
    """
    from imprint.skills.group_file import read_groups, write_groups
    from imprint.skills.groups import given_groups, propose_groups
    from imprint.skills.library import load_library

    library = load_library(folder, lenient=lenient)
    given, silent = given_groups(library.skills)
    if given:
        console().print(_table(f"Groups that {folder} gives", given))
    if not silent:
        return
    proposed = propose_groups(silent, count, taken=[group.name for group in given])
    console().print(_table(f"Proposed for the {len(silent)} skills that name no group", proposed))
    asks = sys.stdin.isatty() and not write
    if not (write or (asks and typer.confirm("write these to groups.json?"))):
        say("nothing is written; --write writes them to groups.json beside the skills, for you to edit")
        return
    root = Path(library.where or folder)
    path = write_groups(root, {**read_groups(root), **{group.name: group.skills for group in proposed}})
    load_library(folder, lenient=lenient)  # what was written is what a recipe will read
    say(f"groups: {path}")


def _table(title: str, found: list[Group]) -> Table:
    rows = [[group.name, len(group.skills), ", ".join(group.terms), ", ".join(group.skills)] for group in found]
    header = ["group", "skills", "words", "which"]
    if not any(group.terms for group in found):
        rows, header = [[row[0], row[1], row[3]] for row in rows], ["group", "skills", "which"]
    return grid(title, header, rows, words=len(header))
