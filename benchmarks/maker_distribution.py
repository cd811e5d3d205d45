"""How alike the made games of size `alfred` and ALFWorld's own are, statistic by statistic.

    python benchmarks/maker_distribution.py --games path/to/json_2.1.1/valid_seen --train path/to/train.jsonl.gz

Distances are total variation: 0 is the same histogram, 1 nothing in common. `floor` is what real games reach
themselves: the same distance for as many games drawn from the real train split. Every sample has valid_seen's number
of games of each family; a statistic that depends on the task is compared family by family. The last two columns are
the sharper comparison: with all of one random half of the train split, for as many made games as the other half has,
and for the other half itself. The made games take their counts from the train split; valid_seen is not counted.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from support.common import parser, report, table
from support.distribution import (
    STATISTICS,
    Tally,
    distance,
    draw,
    family_shares,
    family_weights,
    spread_of,
)

from imprint.envs.household.game import Game
from imprint.envs.household.maker import MakerConfig, make_game
from imprint.envs.household.pddl import load_game, load_rows

SEED = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print the table, draw the figure."""
    options = _options(arguments)
    if options.games is None:
        print("skipped: no --games, the folder of ALFWorld's valid_seen split")
        return 0
    sets = load(options)
    tallies = {name: Tally(count, sets) for name, count in STATISTICS.items()}
    figures = {name: measure(tally, sets, options.draws) for name, tally in tallies.items()}
    print(", ".join(f"{len(games)} {name}" for name, games in sets.items()))
    table(rows_of(figures, with_train="train" in sets))
    if options.figure is not None:
        from support.distribution_figure import save

        save(options.figure, tallies, {name: _weights(sets, name) for name in sets}, figures)
    report("maker_distribution", figures, options)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__.splitlines()[0])
    made.add_argument("--games", type=Path, help="the real games to compare with: a folder of */*/game.tw-pddl")
    made.add_argument("--train", type=Path, help="real games of the train split, a .jsonl.gz of rows: for the floor")
    made.add_argument("--count", type=int, default=3600, help="made games, in equal parts of every family")
    made.add_argument("--split", default="train", help="of the made games")
    made.add_argument("--seed", type=int, default=0, help="of the made games")
    made.add_argument("--draws", type=int, default=200, help="random samples behind a mean and its 95%% interval")
    made.add_argument("--figure", type=Path, metavar="FILE.png", help="also draw the histograms")
    options = made.parse_args(arguments)
    if options.quick:
        options.count, options.draws = 360, 10
    return options


def load(options: argparse.Namespace) -> dict[str, list[Game]]:
    """The sets of games by name, `train` only if there is one."""
    files = sorted(options.games.glob("*/*/game.tw-pddl"))
    if not files:
        sys.exit(f"{options.games}: holds no */*/game.tw-pddl; give one split of ALFWorld's games")
    config = MakerConfig(size="alfred", seed=options.seed)
    sets = {
        "valid_seen": [load_game(file) for file in files],
        "made": [make_game(options.split, index, config) for index in range(options.count)],
    }
    if options.train is not None:
        sets["train"] = list(load_rows(options.train, limit=300 if options.quick else None))
    return sets


def measure(tally: Tally, sets: Mapping[str, Sequence[Game]], draws: int) -> dict[str, tuple[float, float, float]]:
    """Distances of one statistic: mean and interval by what was compared."""
    dice = random.Random(SEED)
    sizes = Counter(game.family for game in sets["valid_seen"])
    target = tally.shares("valid_seen", np.ones(len(sets["valid_seen"])))
    found: dict[str, list[float]] = {"made": [], "floor": [], "made, train": [], "floor, train": []}
    for _ in range(draws):
        found["made"].append(distance(target, tally.shares("made", draw(dice, sets["made"], sizes))))
        if "train" in sets:
            found["floor"].append(distance(target, tally.shares("train", draw(dice, sets["train"], sizes))))
    for _ in range(draws // 10 if "train" in sets else 0):
        for name, value in _halves(tally, sets, dice).items():
            found[f"{name}, train"].append(value)
    return {name: spread_of(values) for name, values in found.items() if values}


def _halves(tally: Tally, sets: Mapping[str, Sequence[Game]], dice: random.Random) -> dict[str, float]:
    """How far one half of the train split lies from the other, and as many made games from that."""
    shares = family_shares(sets["valid_seen"])
    weights = family_weights(sets["train"], shares)
    sizes = {family: n // 2 for family, n in Counter(game.family for game in sets["train"]).items()}
    half = draw(dice, sets["train"], sizes)
    most = Counter(game.family for game in sets["made"])
    ours = draw(dice, sets["made"], {family: min(n, most[family]) for family, n in sizes.items()})
    rest = tally.shares("train", weights * (1 - half))
    return {
        "made": distance(rest, tally.shares("made", ours * family_weights_of(ours, sets["made"], shares))),
        "floor": distance(rest, tally.shares("train", weights * half)),
    }


def family_weights_of(chosen: np.ndarray, games: Sequence[Game], shares: Mapping[str, float]) -> np.ndarray:
    """Weights that give the families of the chosen games these shares."""
    sizes = Counter(game.family for game, take in zip(games, chosen, strict=True) if take)
    return np.array([shares[game.family] / sizes[game.family] for game in games])


def _weights(sets: Mapping[str, Sequence[Game]], name: str) -> np.ndarray:
    return family_weights(sets[name], family_shares(sets["valid_seen"]))


def rows_of(figures: Mapping[str, Mapping[str, Any]], *, with_train: bool) -> list[Sequence[object]]:
    """The printed table."""
    if not with_train:
        return [("statistic", "made"), *((name, _text(found["made"])) for name, found in figures.items())]
    rows: list[Sequence[object]] = [("statistic", "made", "floor", "made/floor", "made, train", "floor, train")]
    for name, found in figures.items():
        ratio = f"{found['made'][0] / found['floor'][0]:.2f}" if found["floor"][0] else "-"
        sharper = (f"{found[key][0]:.3f}" for key in ("made, train", "floor, train"))
        rows.append((name, _text(found["made"]), _text(found["floor"]), ratio, *sharper))
    return rows


def _text(figure: tuple[float, float, float]) -> str:
    mean, low, high = figure
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
