"""`imprint skills import` and `export`: SkillRL's JSON banks as skills, and skills as a bank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from imprint.commands.console import Folder, console, grid, say
from imprint.errors import BankError

BankWorld = Annotated[
    str,
    typer.Option(
        "--env", metavar="WORLD", help="The world of the bank; it knows which tasks the categories of its banks serve."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def import_bank(
    bank: Annotated[Path, typer.Argument(metavar="BANK.json", help="A skill bank, as SkillRL writes them.")],
    folder: Annotated[Path, typer.Argument(help="Where the skills go: one folder for each list of the bank.")],
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--tasks",
            metavar="CATEGORY=TASK[,TASK]",
            help="Which tasks a category serves. The world's own are known; others serve the tasks of their own name.",
        ),
    ] = None,
    prefix: Annotated[str, typer.Option(help="Put before the skills' names, e.g. alfworld.")] = "",
    env: BankWorld = "household",
    force: Force = False,
) -> None:
    """Turn a skill bank into SKILL.md folders, with the bank beside them for the way back.

    Example: `imprint skills import claude_style_skills.json my-skills`
    """
    from imprint.skills.banks import bank as banks

    mapping, known = _parse_tasks(tasks or []), _bank_tasks(env)
    library = banks.import_bank(
        banks.read_bank(bank), folder, tasks=mapping, world_tasks=known, prefix=prefix, force=force
    )
    rows = [[skill.name, ", ".join(skill.tasks), skill.words] for skill in library.skills]
    console().print(grid(f"{len(rows)} skills in {folder}", ["skill", "tasks", "words"], rows, words=2))


def export_bank(
    folder: Folder,
    bank: Annotated[Path, typer.Argument(metavar="BANK.json", help="The file to write.")],
    env: BankWorld = "household",
    force: Force = False,
) -> None:
    """Turn SKILL.md folders into a skill bank; what was edited in imported pages is so in the bank.

    Example: `imprint skills export my-skills bank.json`
    """
    from imprint.skills.banks import bank as banks

    made, notes = banks.export_bank(banks.imported_library(folder), world_tasks=_bank_tasks(env))
    banks.write_bank(made, bank, force=force)
    for note in notes:
        say(f"note: {note}", stderr=True)
    lists = [part for part in banks.parts_of(made) if part.items]
    say(f"{sum(len(part.items) for part in lists)} entries in {len(lists)} lists: {bank}")


def _bank_tasks(env: str) -> Mapping[str, Sequence[str]]:
    """Which tasks the categories of a world's published banks serve; empty for most worlds."""
    from imprint.envs.base import GROUP
    from imprint.support import plugins

    found: Mapping[str, Sequence[str]] = getattr(plugins.load(GROUP, "world", env, "--env"), "bank_tasks", {})
    return found


def _parse_tasks(changes: list[str]) -> dict[str, list[str]]:
    mapping = {}
    for change in changes:
        category, equals, names = change.partition("=")
        tasks = [name.strip() for name in names.split(",") if name.strip()]
        if not equals or not tasks:
            raise BankError(f"cannot read {change!r}", key="--tasks", hint="write CATEGORY=TASK or CATEGORY=TASK,TASK")
        mapping[category] = tasks
    return mapping
