"""`imprint envs`: look at the worlds that skills are practised in, and write games."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from imprint.commands import doctor
from imprint.commands.console import Json, console, document, emit, grid, say
from imprint.errors import ImprintError, RecipeError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List worlds, look into them, and write games.\n\nExample: `imprint envs list`",
)


app.command("doctor")(doctor.doctor)


class Size(StrEnum):
    """Of a made room."""

    SMALL = "small"
    MEDIUM = "medium"
    ALFRED = "alfred"


@app.command("list")
def list_worlds(as_json: Json = False) -> None:
    """The worlds that are installed, with their splits and numbers of tasks.

    Example: `imprint envs list`
    """
    from imprint.envs.base import SPLITS, make_world, world_names

    found: list[dict[str, Any]] = []
    for name in world_names():
        try:
            world = make_world(name)
            tasks = {split: len(world.tasks(split)) for split in SPLITS}
            facts = {"tasks": tasks, "families": list(world.categories), "max_turns": world.max_turns}
            found.append({"name": name, **facts, "problem": None})
        except (ImprintError, ImportError, TypeError) as error:  # one that needs options or a package still is a row
            found.append({"name": name, "problem": str(error).splitlines()[0]})
    if as_json:
        emit(document("envs", {"envs": found}))
        return
    rows = [
        [f"{one['name']} ({one['problem']})", *["–"] * (len(SPLITS) + 2)]
        if one["problem"]
        else [one["name"], *one["tasks"].values(), len(one["families"]), one["max_turns"]]
        for one in found
    ]
    console().print(grid("worlds, as they are by default", ["world", *SPLITS, "families", "turns at most"], rows))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A world's name, see `imprint envs list`.")] = "household",
    split: Annotated[str, typer.Option(help="Which tasks.")] = "test",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="An option of the world, e.g. `--set size=medium`."),
    ] = None,
) -> None:
    """A world's families of tasks in a split, and how the first task begins.

    Example: `imprint envs show household --set size=medium`
    """
    from imprint.envs.base import make_world
    from imprint.recipe import override

    options: dict[str, object] = {}
    for change in changes or []:
        override(options, change.removeprefix("env."))
    world = make_world(name, **options)
    tasks = world.tasks(split)
    if not tasks:
        raise RecipeError(f"the split {split!r} is empty", key="--split", hint="choose another split")
    counts = Counter(task.category for task in tasks)
    rows = [
        [family, counts[family], next((t.id for t in tasks if t.category == family), "–")]
        for family in world.categories
    ]
    console().print(grid(f"{name}: {len(tasks)} tasks in {split}", ["family", "tasks", "the first"], rows))
    from imprint.envs.checked import CheckedEnvironment
    from imprint.envs.stepping import settled

    say(f"\n{tasks[0].id} begins:\n\n{settled(CheckedEnvironment(world).reset(tasks[0], 0)).observation}")


@app.command()
def make(
    world: Annotated[str, typer.Argument(help="Only `household` games can be written.")],
    folder: Annotated[Path, typer.Argument(help="Where the games go, as SPLIT/TASK/TRIAL/game.tw-pddl.")],
    split: Annotated[str, typer.Option(help="train, validation or test: they share no goal and no room.")] = "train",
    games: Annotated[int, typer.Option(min=1, help="How many.")] = 60,
    size: Annotated[Size, typer.Option(help="Of the rooms; alfred: as large as ALFWorld's.")] = Size.SMALL,
    seed: Annotated[int, typer.Option(help="Other seeds give other games.")] = 0,
) -> None:
    """Write household games as files that ALFWorld and `--games` read.

    Example: `imprint envs make household games --split test --games 120`
    """
    if world != "household":
        raise RecipeError(f"games of {world!r} cannot be written", key="WORLD", hint="choose household")
    from imprint.envs.household.maker import MakerConfig, write_games

    paths = write_games(folder, split, games, MakerConfig(seed=seed, size=size.value))
    say(f"{len(paths)} games in {folder / split}")
