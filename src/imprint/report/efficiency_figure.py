"""Success without skills against environment steps: the figure and the table of `imprint compare --env-steps`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from imprint.measurement.conditions import WITHOUT
from imprint.report import charts
from imprint.report.compare_figure import interval_over_seeds
from imprint.report.compare_table import ALL, Grid

__all__ = ["Point", "efficiency_plot", "efficiency_points", "efficiency_table"]

MARKERS = "os^Dv"  # methods of the same colour differ in it


@dataclass(frozen=True, slots=True)
class Point:
    """Success without skills of one method at one budget: mean over seeds and its 95% interval.

    Attributes:
        budget: the environment steps asked for; None: the recipe's own.
        env_steps: those played, the mean over seeds; 0 where nothing is trained.
    """

    budget: int | None
    env_steps: float
    seeds: int
    success: float
    low: float
    high: float


def efficiency_points(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """The points of each method, by environment steps; methods keep the order of the rows.

    Args:
        rows: of efficiency.json (with the key `budget`) and of compare.json (without).
    """
    groups: dict[str, dict[int | None, list[Mapping[str, Any]]]] = {}
    for row in rows:
        if row["arm"] == WITHOUT.name and row["family"] == ALL and row["episodes"]:
            groups.setdefault(row["method"], {}).setdefault(row.get("budget"), []).append(row)
    return {
        method: sorted((_point(budget, found) for budget, found in by_budget.items()), key=lambda one: one.env_steps)
        for method, by_budget in groups.items()
    }


def _point(budget: int | None, rows: Sequence[Mapping[str, Any]]) -> Point:
    interval = interval_over_seeds([row["successes"] for row in rows], [row["episodes"] for row in rows])
    return Point(budget, fmean(row["env_steps"] or 0 for row in rows), len(rows), *interval)


def efficiency_table(points: Mapping[str, Sequence[Point]]) -> Grid:
    """Success by method and budget."""
    budgets = sorted({one.budget for found in points.values() for one in found if one.budget is not None})
    columns = [*budgets, None]
    cells = {(name, one.budget): one for name, found in points.items() for one in found}
    body = [(name, *(_cell(cells.get((name, budget))) for budget in columns)) for name in points]
    header = ("method", *(f"{budget:,}" for budget in budgets), "as in its recipe")
    note = (
        "Success without skills, %, by the environment steps of training: mean over seeds and its 95% interval "
        "(Student's t; with one seed Wilson's)."
    )
    return Grid("Sample efficiency", header, tuple(body), note)


def _cell(point: Point | None) -> str:
    return "–" if point is None else f"{100 * point.success:.1f} [{100 * point.low:.1f}, {100 * point.high:.1f}]"


def efficiency_plot(points: Mapping[str, Sequence[Point]], path: Path) -> tuple[Path, Path]:
    """Draw the points as `path` with the endings .png and .svg: a line a method, dotted where nothing is trained."""
    with charts.standing_alone():
        figure = Figure(figsize=(11, 5.6), facecolor=charts.LIGHT["panel"])
        axes = figure.subplots()
        styles = zip(cycle(charts.RUN_COLOURS), (mark for mark in MARKERS for _ in charts.RUN_COLOURS), strict=False)
        colours = {}
        for (method, found), (colour, marker) in zip(points.items(), styles, strict=False):
            colours[method] = colour
            _draw(axes, found, colour, marker)
        _finish(axes, points)
        _name_lines(axes, {method: found[-1].success for method, found in points.items()}, colours)
        figure.subplots_adjust(left=0.07, right=0.76, top=0.92, bottom=0.12)
        return charts.save(figure, path)


def _draw(axes: Axes, points: Sequence[Point], colour: str, marker: str) -> None:
    trained = [one for one in points if one.env_steps > 0]
    if not trained:
        axes.axhline(points[-1].success, color=colour, linestyle=":", linewidth=1.6)
        return
    steps, success = [one.env_steps for one in trained], [one.success for one in trained]
    below, above = [abs(one.success - one.low) for one in trained], [abs(one.success - one.high) for one in trained]
    axes.errorbar(
        steps, success, yerr=(below, above), color=colour, marker=marker, markersize=5.5, capsize=3, elinewidth=1.4
    )


def _finish(axes: Axes, points: Mapping[str, Sequence[Point]]) -> None:
    played = sorted(one.env_steps for found in points.values() for one in found if one.env_steps > 0)
    budgets = sorted({one.budget for found in points.values() for one in found if one.budget is not None})
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if played:
        unit = 10 ** max(0, len(str(int(played[-1]))) - 2)
        own = [played[-1] // unit * unit] if played[-1] > 1.5 * max(budgets, default=0) else []
        axes.set_xticks([*budgets, *own])
        axes.set_xlim(played[0] / 1.15, played[-1] * 1.15)
    axes.set_ylim(-0.02, 1.04)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"])
    axes.set_xlabel("environment steps of training", loc="right", fontsize=11)
    seeds = {one.seeds for found in points.values() for one in found}
    text = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    bars = "95% of its tasks" if seeds == {1} else "95% over seeds"
    axes.set_title(f"success without skills on test ({text} seed{'s' * (seeds != {1})}; bars: {bars})")


def _name_lines(axes: Axes, ends: Mapping[str, float], colours: Mapping[str, str]) -> None:
    """The name and last value of each line at its right end."""
    ordered = sorted(ends.items(), key=lambda item: item[1])
    for (method, value), at in zip(ordered, charts.apart([value for _, value in ordered], 0.052), strict=True):
        charts.end_label(axes, f"{value:.0%} {charts.label(method, 22)}", at, colours[method])
