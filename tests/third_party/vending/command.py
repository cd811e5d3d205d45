"""A command of another package: `imprint vend DRINK`."""

from __future__ import annotations

from typing import Annotated

import typer

from imprint.errors import RecipeError


def vend(drink: Annotated[str, typer.Argument(help="What to buy.")]) -> None:
    """Say what a drink costs."""
    if drink != "tea":
        raise RecipeError(f"there is no {drink!r}", key="DRINK", hint="take tea")
    typer.echo("tea: one coin")
