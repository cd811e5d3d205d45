"""`imprint envs doctor`: what a world needs, what of it is here, and how to get the rest."""

from __future__ import annotations

import os
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands import doctor_search
from imprint.commands.console import ALL, console, grid, say
from imprint.errors import ImprintError, RecipeError

if TYPE_CHECKING:
    from imprint.envs.household.stored import StoredGames

PACKAGES = {
    "alfworld": "downloads the games",
    "textworld": "ALFWorld's own engine, to compare ours with (`imprint envs verify`)",
}
HOW = "pip install 'imprint[alfworld]' && alfworld-download --data-dir {root}"


def doctor(
    world: Annotated[str, typer.Argument(help="`alfworld` or `search`.")] = "alfworld",
    folder: Annotated[
        Path | None, typer.Argument(help="Where the data is; for `search` it must be named.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The same, as an option.  [default for alfworld: $ALFWORLD_DATA, or ~/.cache/alfworld]",
            show_default=False,
        ),
    ] = None,
    retriever: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|URL",
            help="`search`: whether this search engine answers, an index or a server; with or without the data.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show what is installed, which games or questions are found where, how many of each kind, and what is missing.

    The status is 0 if all that is published is there, else 1. ALFWorld's packages are not needed to play.

    Example: `imprint envs doctor alfworld`, `imprint envs doctor search data/ --retriever http://localhost:8000`
    """
    if folder is not None and data is not None:
        raise RecipeError("the data's folder is named twice", key="--data", hint="name it once")
    data = folder if data is None else data
    if retriever is not None and world != "search":
        raise RecipeError("only `search` has a search engine", key="--retriever", hint="leave it out")
    if world == "search":
        doctor_search.doctor(data, retriever)
    elif world == "alfworld":
        _alfworld(data)
    else:
        raise RecipeError(f"nothing is known about {world!r}", key="WORLD", hint="choose alfworld or search")


def _alfworld(data: Path | None) -> None:
    from imprint.envs.household.stored import ALFWORLD, OFFICIAL, VARIABLE, StoredGames, data_root

    root = data_root() if data is None else data
    _show_packages()
    where = "given" if data is not None else f"${VARIABLE}" if os.environ.get(VARIABLE) else f"${VARIABLE} is not set"
    say(f"\ngames: {root} ({where})")
    missing = list(OFFICIAL)
    if root.exists():
        missing = _show_games(StoredGames(ALFWORLD if data is None else str(data)))
    else:
        say("no such folder", stderr=True)
    if missing:
        say(f"\nincomplete: {', '.join(missing)}\n  hint: {HOW.format(root=root)}", stderr=True)
        raise typer.Exit(1)
    say("\nall published games are here: `env: {name: household, games: alfworld}`")


def _show_packages() -> None:
    rows: list[list[object]] = []
    for name, use in PACKAGES.items():
        try:
            rows.append([name, version(name), use])
        except PackageNotFoundError:
            rows.append([name, "not installed", use])
    console().print(grid("packages (not needed to play)", ["package", "version", "use"], rows, words=3))


def _show_games(games: StoredGames) -> list[str]:
    """Print the table of splits and families; gives the published splits that are not complete."""
    from imprint.envs.household.game import FAMILIES
    from imprint.envs.household.stored import OFFICIAL

    found: dict[str, Counter[str]] = {}
    for split in dict.fromkeys([*OFFICIAL, *games.splits()]):
        try:
            found[split] = Counter(entry.family for entry in games.entries(split))
        except ImprintError as error:
            found[split] = Counter()
            if split in games.splits():  # there, and damaged
                say(error.describe(), stderr=True)
    rows = [[family, *(_count(found[split], split, family) for split in found)] for family in FAMILIES]
    rows.append([ALL, *(_count(found[split], split, ALL) for split in found)])
    console().print(grid("games (of the published number)", ["family", *found], rows))
    for split, place in games.splits().items():
        say(f"{split}: {place}")
    return [split for split, official in OFFICIAL.items() if found[split] != Counter(official)]


def _count(found: Counter[str], split: str, family: str) -> str:
    from imprint.envs.household.stored import OFFICIAL

    official = OFFICIAL.get(split)
    number = found.total() if family == ALL else found[family]
    if official is None:
        return f"{number:,}"
    wanted = sum(official.values()) if family == ALL else official[family]
    return f"{number:,} of {wanted:,}"
