"""`imprint pretrain`: make a base policy such as `imprint-tiny`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imprint.commands.console import Trusted, say
from imprint.errors import RecipeError
from imprint.support.yaml import read_yaml_mapping

if TYPE_CHECKING:
    from imprint.pretrain.recipe import PretrainRecipe


def pretrain(
    recipe: Annotated[Path, typer.Argument(help="A pre-training recipe: a file, or one of `imprint recipes`.")],
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

    Example: `imprint pretrain pretrain/household --out models/my-base`
    """
    from imprint.pretrain.recipe import load_recipe
    from imprint.pretrain.train import train_base
    from imprint.security.vetting import Override, vet
    from imprint.skills.library import load_library
    from imprint.support.packaged import recipe_file
    from imprint.support.progress import Progress

    config, notes = load_recipe(recipe, changes or [])
    config.refuse_missing()
    library = load_library(config.skills or config.env.name)
    vet(library, override=Override(trust or ()))
    with Progress(config.name, quiet=quiet) as progress, _told_what_is_left(out):
        for note in notes:
            progress.note(note)
        policy, kept = train_base(config, library, out, progress)
    at = "" if kept is None else f", of step {kept.step} of {config.steps} ({kept.success:.0%} success with skills)"
    say(f"{out}: {policy.parameters:,} weights{at}")
    say(f"try it: {evaluation_command(config, out)}")
    commands = [shlex.join(["imprint", "train", str(file)]) for file in recipes_of(out, recipe_file(recipe).parent)]
    say(f"train it: {' or '.join(commands) or f'`model: {out}` in a recipe with this world'}")


@contextmanager
def _told_what_is_left(out: Path) -> Iterator[None]:
    """An interruption says whether a policy was saved before it."""
    saved = _saved(out)
    try:
        yield
    except KeyboardInterrupt as error:
        left = "nothing was saved" if _saved(out) == saved else f"the policy saved so far is in {out}"
        raise KeyboardInterrupt(f"stopped; {left}; the same command starts from step 0") from error


def _saved(out: Path) -> int:
    """When the policy in `out` was saved, in nanoseconds; 0 if there is none."""
    config = out / "config.json"
    return config.stat().st_mtime_ns if config.exists() else 0


def evaluation_command(config: PretrainRecipe, out: Path) -> str:
    """The command that plays the recipe's world with its skills and the policy in `out`."""
    values: dict[str, Any] = {"env": config.env.model_dump(mode="json"), "skills": config.skills or config.env.name}
    if config.context.draws:
        values["context"] = config.context.model_dump(mode="json", exclude_defaults=True)
    changes = [("--set", f"{key}={json.dumps(value)}") for key, value in values.items()]
    return shlex.join(["imprint", "eval", str(out), *(part for change in changes for part in change)])


def recipes_of(out: Path, folder: Path) -> list[Path]:
    """The recipes in `folder` whose model is the policy in `out`."""
    found = []
    for file in sorted(folder.glob("*.yaml")):
        with suppress(RecipeError):
            model = read_yaml_mapping(file).get("model")
            if isinstance(model, str) and out.resolve() in ((folder / model).resolve(), Path(model).resolve()):
                found.append(file)
    return found
