"""`imprint recipes`: the recipes that come with the package."""

from __future__ import annotations

from typing import Annotated

import typer

from imprint.commands.console import console, grid, say

NEEDS = "# Needs: "  # the comment line of a recipe that says what it needs beside the package


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one, e.g. as the start of your own.")] = None,
) -> None:
    """List the packaged recipes, which commands take by name where they take a file; or print one.

    Example: `imprint recipes demo > my-recipe.yaml`
    """
    from imprint.support.packaged import recipe_file, recipe_names, recipes_folder

    if name is not None:
        say(recipe_file(name).read_text(encoding="utf-8").rstrip())
        return
    folder = recipes_folder()
    rows = [[found, *about((folder / f"{found}.yaml").read_text(encoding="utf-8"))] for found in recipe_names()]
    console().print(grid("packaged recipes", ["recipe", "what it is", "needs"], rows, str(folder), words=3))


def about(text: str) -> tuple[str, str]:
    """The first sentence of a recipe's opening comment, and what it says that the recipe needs."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line)
    needs = " ".join(line.removeprefix(NEEDS) for line in lines if line.startswith(NEEDS))
    words = " ".join(line.removeprefix("#").strip() for line in lines if not line.startswith(NEEDS))
    return words.partition(". ")[0].rstrip("."), needs
