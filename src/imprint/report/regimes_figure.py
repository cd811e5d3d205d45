"""The map of regimes: what each method reaches, by what the untrained base does with the skills and without."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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


@dataclass(frozen=True)
class RegimeMap:
    """What is known of each regime.

    Args:
        rows: of compare.json, each with a `regime`; the methods in their order.
        untrained: the methods that show the base as it is; the first of them says where a regime lies.
    """

    rows: Sequence[Row]
    untrained: Collection[str]

    @cached_property
    def regimes(self) -> dict[str, Figures]:
        names = dict.fromkeys(row["regime"] for row in self.rows)
        return {name: Figures([row for row in self.rows if row["regime"] == name]) for name in names}

    @cached_property
    def base(self) -> str:
        """The method that shows the base; "" where it is not finished in any regime."""
        return next((name for name in self._methods if name in self.untrained), "")

    @cached_property
    def trained(self) -> list[str]:
        return [name for name in self._methods if name not in self.untrained]

    @property
    def _methods(self) -> list[str]:
        return Figures(self.rows).methods


def regimes_table(rows: Sequence[Row], untrained: Collection[str]) -> Grid:
    """A line a regime: the untrained base, each method without skills, and the first method against the others.

    The arguments are those of `RegimeMap`.
    """
    found = RegimeMap(rows, untrained)
    trained = found.trained
    gaps = [(trained[0], other) for other in trained[1:]]
    body = []
    for name, figures in found.regimes.items():
        cells = [figures.success(found.base, arm.name) for arm in (WITHOUT, WITH)]
        cells += [figures.success(method, WITHOUT.name) for method in trained]
        for first, second in gaps:
            gap = figures.difference((first, WITHOUT.name), (second, WITHOUT.name))
            cells.append("–" if gap is None else gap[0])
        body.append((name, *cells))
    header = ("regime", "base without", "base with", *trained, *(f"{first} − {second}" for first, second in gaps))
    note = (
        "Success in %, of the untrained base without and with skills, then without skills after training: mean over "
        "seeds and its 95% interval (Student's t; with one seed Wilson's). Differences in points, paired by seed."
    )
    return Grid("Regimes", header, tuple(body), note)


def regimes_plot(rows: Sequence[Row], untrained: Collection[str], path: Path) -> tuple[Path, Path]:
    """Draw `path`.png and .svg: a panel a method; a point a regime, where its base lies, with what is reached.

    The arguments are those of `RegimeMap`.
    """
    found = RegimeMap(rows, untrained)
    methods = found.trained or [found.base]
    with charts.standing_alone():
        width = 3.4 * len(methods) + 0.9
        figure = Figure(figsize=(width, 3.9), facecolor=charts.LIGHT["panel"])
        panels: Sequence[Axes] = figure.subplots(1, len(methods), squeeze=False)[0]
        for axes, method in zip(panels, methods, strict=True):
            for figures in found.regimes.values():
                without, with_skills = (figures.rate(found.base, arm.name) for arm in (WITHOUT, WITH))
                reached = figures.rate(method, WITHOUT.name)
                if without is not None and with_skills is not None and reached is not None:
                    _draw(axes, without, with_skills, reached)
            _finish(axes, method)
        panels[0].set_ylabel("base with skills", fontsize=10)
        figure.subplots_adjust(left=0.9 / width, right=0.98, top=0.86, bottom=0.15, wspace=0.25)
        return charts.save(figure, path)


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
