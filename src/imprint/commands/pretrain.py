"""`imprint pretrain`: make a base policy such as `imprint-tiny`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imprint.commands.console import Trusted, say


def pretrain(
    recipe: Annotated[Path, typer.Argument(help="A pre-training recipe, see recipes/pretrain/.")],
    out: Annotated[Path, typer.Option(help="Where the model goes (Hugging Face layout); replaced if there.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.SUB=VALUE", help="Change a key, e.g. `--set steps=100`. May be repeated."),
    ] = None,
    trust: Trusted = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Pre-train a base policy by imitation, in games with random rules.

    It learns to act and to follow skill text, not the tasks.

    Example: `imprint pretrain recipes/pretrain/imprint-tiny.yaml --out models/my-tiny`
    """
    from imprint.pretrain.recipe import load_recipe
    from imprint.pretrain.train import train_base
    from imprint.security.vetting import Override, vet
    from imprint.skills.library import load_library
    from imprint.support.progress import Progress

    config, notes = load_recipe(recipe, changes or [])
    library = load_library(config.skills or config.env.name)
    vet(library, override=Override(trust or ()))
    with Progress(config.name, quiet=quiet) as progress:
        for note in notes:
            progress.note(note)
        policy = train_base(config, library, out, progress)
    say(f"{out}: {policy.parameters:,} weights; try it: imprint eval {out}")
