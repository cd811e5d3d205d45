"""The map of regimes: what each method reaches, by what the untrained base does with the skills and without."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imprint.measurement.conditions import WITH, WITHOUT
from imprint.report import charts
from imprint.report.compare_table import Figures, Grid

__all__ = ["regimes_plot", "regimes_table"]

Row = Mapping[str, Any]


def _by_regime(rows: Sequence[Row]) -> dict[str, Figures]:
    names = dict.fromkeys(row["regime"] for row in rows)
    return {name: Figures([row for row in rows if row["regime"] == name]) for name in names}


def regimes_table(rows: Sequence[Row], untrained: Collection[str]) -> Grid:
    """A line a regime: the untrained base, each method without skills, and the first method against the others.

    Args:
        rows: of compare.json, each with a `regime`; the methods in their order.
        untrained: the methods that show the base as it is; the first of them says where a regime lies.
    """
    regimes = _by_regime(rows)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    base = next((name for name in methods if name in untrained), "")
    trained = [name for name in methods if name not in untrained]
    gaps = [(trained[0], other) for other in trained[1:]]
    body = []
    for name, figures in regimes.items():
        cells = [figures.success(base, arm.name) for arm in (WITHOUT, WITH)]
        cells += [figures.success(method, WITHOUT.name) for method in trained]
        for first, second in gaps:
            found = figures.difference((first, WITHOUT.name), (second, WITHOUT.name))
            cells.append("–" if found is None else found[0])
        body.append((name, *cells))
    header = ("regime", "base without", "base with", *trained, *(f"{first} − {second}" for first, second in gaps))
    note = (
        "Success in %, of the untrained base without and with skills, then without skills after training: mean over "
        "seeds and its 95% interval (Student's t; with one seed Wilson's). Differences in points, paired by seed."
    )
    return Grid("Regimes", header, tuple(body), note)


def regimes_plot(rows: Sequence[Row], untrained: Collection[str], path: Path) -> tuple[Path, Path]:
    """Draw `path`.png and .svg: a panel a method; a point a regime, where its base lies, with what is reached."""
    paths = path.with_suffix(".png"), path.with_suffix(".svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    regimes = _by_regime(rows)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    base = next((name for name in methods if name in untrained), "")
    trained = [name for name in methods if name not in untrained] or [base]
    with charts.styled(), mpl.rc_context({"svg.fonttype": "path"}):
        width = 3.4 * len(trained) + 0.9
        figure = Figure(figsize=(width, 3.9), facecolor=charts.LIGHT["panel"])
        panels: Sequence[Axes] = figure.subplots(1, len(trained), squeeze=False)[0]
        for axes, method in zip(panels, trained, strict=True):
            for figures in regimes.values():
                places = [figures.rate(base, arm.name) for arm in (WITHOUT, WITH)]
                reached = figures.rate(method, WITHOUT.name)
                if None not in places and reached is not None:
                    _draw(axes, float(places[0] or 0), float(places[1] or 0), reached)
            _finish(axes, method)
        panels[0].set_ylabel("base with skills", fontsize=10)
        figure.subplots_adjust(left=0.9 / width, right=0.98, top=0.86, bottom=0.15, wspace=0.25)
        figure.savefig(paths[0], dpi=160, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
    return paths


def _draw(axes: Axes, without: float, with_skills: float, reached: float) -> None:
    colour = mpl.colormaps["viridis"](reached)
    axes.scatter([without], [with_skills], s=520, color=[colour], edgecolors="white", linewidths=1.0)
    ink = "black" if reached > 0.6 else "white"
    axes.annotate(f"{100 * reached:.0f}", (without, with_skills), ha="center", va="center", fontsize=9, color=ink)


def _finish(axes: Axes, method: str) -> None:
    axes.set_xlim(-0.08, 1.08)
    axes.set_ylim(-0.08, 1.08)
    for ticks in (axes.set_xticks, axes.set_yticks):
        ticks([0, 0.5, 1.0], ["0%", "50%", "100%"])
    axes.set_xlabel("base without skills", fontsize=10)
    axes.set_title(f"{method}, without skills, %", fontsize=10)
