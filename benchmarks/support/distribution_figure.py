"""Draws the histograms of made and real games side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from support.distribution import Tally

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

LOOKS = {
    "train": {"color": "0.6", "label": "real, train"},
    "valid_seen": {"color": "black", "label": "real, valid_seen"},
    "made": {"color": "tab:orange", "label": "made"},
}
FOURS = 4
Figures = Mapping[str, Mapping[str, tuple[float, float, float]]]


def save(path: Path, tallies: Mapping[str, Tally], weights: Mapping[str, np.ndarray], figures: Figures) -> None:
    """One page: histograms, shares of types against each other, and the distances of every statistic."""
    figure, grid = plt.subplots(4, 3, figsize=(15, 17), layout="constrained")

    def counted(name: str, value: Callable[[Hashable], Any]) -> dict[str, dict[Any, float]]:
        return {other: _sums(tallies[name], other, weights[other], value) for other in LOOKS if other in weights}

    panels = iter(grid.flat[:9])
    _bars(next(panels), counted("receptacles", lambda key: key * FOURS), "receptacles in a room (in fours)")
    _bars(next(panels), counted("things", lambda key: key * FOURS), "things in reach (in fours)")
    _bars(next(panels), counted("walkthrough length", lambda key: key), "commands of the walkthrough")
    _bars(next(panels), counted("room kind", lambda key: key), "kind of room")
    _bars(next(panels), counted("goal copies", lambda key: key), "things of the goal's type")
    _bars(next(panels), counted("things in a receptacle", lambda key: key[1]), "things in a receptacle")
    _scatter(next(panels), _means(counted("receptacles of a type", lambda key: key)), "receptacles of a type, mean")
    _scatter(next(panels), _means(counted("copies of a thing", _copies)), "things of a type, mean")
    _scatter(next(panels), counted("goal object", lambda key: key), "share of goals that ask for a type")
    for axes in grid.flat[9:]:
        axes.remove()
    _distances(figure.add_subplot(grid[0, 0].get_gridspec()[3, :]), figures)
    grid.flat[0].legend(frameon=False)
    figure.savefig(path, dpi=70)
    plt.close(figure)


def _copies(key: Any) -> tuple[str, int]:
    return key[0], int(key[1].rstrip("+"))


def _sums(tally: Tally, name: str, weights: np.ndarray, value: Callable[[Hashable], Any]) -> dict[Any, float]:
    """value of a key -> its share, over all families."""
    sums: defaultdict[Any, float] = defaultdict(float)
    for (_, key), share in zip(tally.keys, tally.shares(name, weights), strict=True):
        sums[value(key)] += float(share)
    return dict(sums)


def _means(counted: Mapping[str, Mapping[tuple[str, int], float]]) -> dict[str, dict[str, float]]:
    """type -> how many there are on average, from the shares of (type, number)."""
    means: dict[str, dict[str, float]] = {}
    for name, shares in counted.items():
        totals: defaultdict[str, float] = defaultdict(float)
        sums: defaultdict[str, float] = defaultdict(float)
        for (kind, number), share in shares.items():
            totals[kind] += share
            sums[kind] += share * number
        means[name] = {kind: sums[kind] / total for kind, total in totals.items()}
    return means


def _bars(axes: Axes, counted: Mapping[str, Mapping[Any, float]], title: str) -> None:
    keys = sorted({key for shares in counted.values() for key, share in shares.items() if share > 0})
    width = 0.8 / len(counted)
    for place, (name, shares) in enumerate(counted.items()):
        left = np.arange(len(keys)) + (place - (len(counted) - 1) / 2) * width
        axes.bar(left, [shares.get(key, 0.0) for key in keys], width, **LOOKS[name])
    axes.set_xticks(range(len(keys)), [str(key) for key in keys], fontsize=8)
    axes.set(title=title, ylabel="share")


def _scatter(axes: Axes, counted: Mapping[str, Mapping[str, float]], title: str) -> None:
    keys = sorted({key for shares in counted.values() for key in shares})
    real = counted["valid_seen"]
    for name in ("train", "made"):
        if name in counted:
            values = [counted[name].get(key, 0.0) for key in keys]
            axes.scatter([real.get(key, 0.0) for key in keys], values, s=16, **LOOKS[name])
    most = max(max(shares.values()) for shares in counted.values())
    axes.plot([0, most], [0, most], color="black", linewidth=0.8)
    _name_outliers(axes, keys, real, counted["made"])
    axes.set(title=title, xlabel="real, valid_seen", ylabel="made, or real train")


def _name_outliers(axes: Axes, keys: Sequence[str], real: Mapping[str, float], made: Mapping[str, float]) -> None:
    far = sorted(keys, key=lambda key: -abs(real.get(key, 0.0) - made.get(key, 0.0)))
    for key in far[:4]:
        axes.annotate(key, (real.get(key, 0.0), made.get(key, 0.0)), fontsize=8)


def _distances(axes: Axes, figures: Figures) -> None:
    names = list(figures)
    for shift, kind, name in ((-0.15, "floor", "valid_seen"), (0.15, "made", "made")):
        if kind not in figures[names[0]]:
            continue
        means, lows, highs = np.array([figures[statistic][kind] for statistic in names]).T
        axes.errorbar(
            np.arange(len(names)) + shift,
            means,
            yerr=[means - lows, highs - means],
            fmt="o",
            markersize=5,
            color=LOOKS[name]["color"],
            label="made against valid_seen" if kind == "made" else "floor: real train against valid_seen",
        )
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8)
    axes.set(title="distance (total variation) of 140 games, mean and 95% of samples", ylim=(0, None))
    axes.legend(frameon=False)
