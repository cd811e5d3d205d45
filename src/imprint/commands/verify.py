"""`imprint envs verify`: the household engine against ALFWorld's own, on the same games and commands."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.console import console, grid, say
from imprint.commands.worlds import Size
from imprint.errors import RecipeError

if TYPE_CHECKING:
    from imprint.envs.household.verify import Stored, Walk


def verify(
    data: Annotated[
        Path | None,
        typer.Option(help="ALFWorld's games: the folder of the splits (or $ALFWORLD_DATA), or a .jsonl.gz of rows."),
    ] = None,
    split: Annotated[str, typer.Option(help="Which games of it.")] = "valid_seen",
    games: Annotated[int | None, typer.Option(min=1, help="How many, drawn by the seed.  [default: all]")] = None,
    seed: Annotated[int, typer.Option(help="Other seeds walk other ways.")] = 0,
    made: Annotated[int, typer.Option(min=0, help="Verify this many made games instead, or as well.")] = 0,
    size: Annotated[Size, typer.Option(help="Of the made games' rooms.")] = Size.ALFRED,
    template: Annotated[
        Path | None, typer.Option(help="For rows: a game.tw-pddl of the same release.", show_default=False)
    ] = None,
    turns: Annotated[int, typer.Option(min=0, help="Commands to explore with, before a walk goes for the win.")] = 20,
    plain: Annotated[
        bool, typer.Option("--plain", help="Leave TextWorld as it is, several times slower; see `reference.py`.")
    ] = False,
) -> None:
    """Play games on our engine and on TextWorld, and compare every answer. Stops at the first difference (status 1).

    Each walk mixes the expert's commands, errands (heat, then cool, then slice), possible commands drawn at random,
    and impossible ones. Compared are observation, possible commands and their order, reward, and how it ends.

    Needs `pip install 'imprint[alfworld]'`. TextWorld takes about a second for a game.

    Example: `imprint envs verify --data $ALFWORLD_DATA --split valid_seen --games 10`

    Made games: `imprint envs verify --made 50 --size small`
    """
    from imprint.envs.household.maker import MakerConfig
    from imprint.envs.household.reference import require_reference
    from imprint.envs.household.verify import choose, games_in, made_games

    require_reference()
    if data is None and not made:
        raise RecipeError("there is nothing to verify", key="--data", hint="give a folder of games, or --made NUMBER")
    chosen = choose(games_in(data, split, template), games, seed) if data is not None else []
    chosen += made_games(made, MakerConfig(seed=seed, size=size.value))
    walks = _walk_all(chosen, seed, turns, plain)
    console().print(_summary(walks))
    found = [walk.difference for walk in walks if walk.difference is not None]
    say(f"{len(walks)} games, {sum(len(walk.commands) for walk in walks)} turns, {len(found)} differences")
    if found:
        say(f"\n{found[0].describe()}")
        raise typer.Exit(1)


def _walk_all(games: list[Stored], seed: int, turns: int, plain: bool) -> list[Walk]:
    """Every game's walk; ends early with the first that shows a difference."""
    from imprint.envs.household.reference import ReferenceEngine
    from imprint.envs.household.verify import MAX_TURNS, walk
    from imprint.support.progress import Progress

    reference = ReferenceEngine(MAX_TURNS, remember=not plain)
    walks: list[Walk] = []
    with Progress("verifying") as progress:
        progress.begin(len(games))
        for game in games:
            walks.append(walk(game.name, game.read(), reference, f"{seed}/{game.name}", turns))
            played = sum(len(walk.commands) for walk in walks)
            progress.advance(f"{played} turns, {sum(walk.difference is not None for walk in walks)} differences")
            if walks[-1].difference is not None:
                break
    return walks


def _summary(walks: list[Walk]) -> object:
    turns = [
        ((command.split() or [""])[0], valid)
        for walk in walks
        for command, valid in zip(walk.commands, walk.valid, strict=True)
    ]
    known = sorted({verb for verb, valid in turns if valid})
    counts = Counter((verb if verb in known else "other", valid) for verb, valid in turns)
    rows = [[verb, counts[verb, True], counts[verb, False]] for verb in (*known, "other")]
    won = sum(walk.success for walk in walks)
    return grid(f"turns compared; {won} of {len(walks)} games won", ["command", "possible", "refused"], rows)
