"""The figure of `imprint compare`: methods with and without skills, one point per seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imprint.errors import ImprintError
from imprint.measurement.naming import spelled
from imprint.report import charts
from imprint.support.stats import mean_interval, wilson

__all__ = ["compare_plot", "interval_over_seeds"]

Row = Mapping[str, Any]


def interval_over_seeds(successes_S: Sequence[int], episodes_S: Sequence[int]) -> tuple[float, float, float]:
    """Mean success over seeds (suffix S) and its 95% interval (mean, low, high).

    Two or more seeds: Student's t over the seeds' rates, cut to [0, 1], and never narrower than Wilson's interval of
    all their episodes (a few seeds can agree by chance). One seed: Wilson's, which says nothing about other seeds.
    """
    pooled = wilson(sum(successes_S), sum(episodes_S))
    if len(successes_S) == 1:
        return pooled.estimate, pooled.low, pooled.high
    found = mean_interval([s / n for s, n in zip(successes_S, episodes_S, strict=True)])
    return found.estimate, max(0.0, min(found.low, pooled.low)), min(1.0, max(found.high, pooled.high))


def compare_plot(rows: Sequence[Row], path: str | Path, split: str = "test") -> tuple[Path, Path]:
    """Draw success and context tokens by method as `path` with the endings .png and .svg.

    Args:
        rows: of compare.json, each with method, seed, split, family, arm, episodes, successes and, if known,
            context_tokens. Only the family "all" of `split` is drawn; methods keep the order of the rows.
        path: with or without an ending; its folder is made if needed.

    Raises:
        ImprintError: no row is of `split` with the family "all", or a row lacks a key.
    """
    try:
        groups = _group(rows, split)
    except (KeyError, TypeError) as error:
        raise ImprintError(f"a row to compare lacks {error}", hint="see compare.json of `imprint compare`") from error
    if not groups:
        raise ImprintError(f"no row of the split {split!r} to draw", hint="evaluate on it, or name another split")
    methods = list(dict.fromkeys(method for method, _ in groups))
    with charts.standing_alone():
        figure = Figure(figsize=(11, 1.5 + 0.85 * len(methods)), facecolor=charts.LIGHT["panel"])
        success, tokens = figure.subplots(1, 2, width_ratios=(2.6, 1), sharey=True)
        for y, method in enumerate(reversed(methods)):
            for arm, offset in (("with", 0.17), ("without", -0.17)):
                if (method, arm) in groups:
                    _draw_arm(success, tokens, groups[method, arm], arm, y + offset)
        _finish(success, tokens, methods, split, _seed_text(groups))
        height = figure.get_figheight()
        figure.subplots_adjust(left=0.16, right=0.98, top=1 - 0.5 / height, bottom=0.75 / height, wspace=0.06)
        return charts.save(figure, Path(path))


def _group(rows: Sequence[Row], split: str) -> dict[tuple[str, str], list[Row]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["split"] == split and row["family"] == "all" and row["episodes"] > 0:
            groups.setdefault((str(row["method"]), str(row["arm"])), []).append(row)
    return groups


def _draw_arm(success: Axes, tokens: Axes, rows: Sequence[Row], arm: str, y: float) -> None:
    colour = charts.LIGHT[arm]
    successes_S, episodes_S = [row["successes"] for row in rows], [row["episodes"] for row in rows]
    mean, low, high = interval_over_seeds(successes_S, episodes_S)
    success.plot([low, high], [y, y], color=colour, alpha=0.28, linewidth=7, solid_capstyle="butt")
    rates_S = [s / n for s, n in zip(successes_S, episodes_S, strict=True)]
    success.plot(rates_S, [y] * len(rates_S), "o", color=colour, markersize=4.5, alpha=0.75)
    success.plot([mean], [y], "|", color=colour, markersize=17, markeredgewidth=3)
    success.annotate(
        f"{mean:.0%}",
        (max(high, *rates_S), y),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        fontweight="bold",
        fontsize=11,
    )
    counts_S = [row["context_tokens"] for row in rows if row.get("context_tokens") is not None]
    if counts_S:
        tokens.barh(y, fmean(counts_S), height=0.26, color=colour, alpha=0.85)
        tokens.annotate(
            f"{fmean(counts_S):,.0f}",
            (fmean(counts_S), y),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=11,
        )


def _finish(success: Axes, tokens: Axes, methods: Sequence[str], split: str, seeds: str) -> None:
    success.set_yticks(
        range(len(methods)),
        [charts.label(m, 22) for m in reversed(methods)],
        color=charts.LIGHT["ink"],
        fontsize=12,
    )
    success.set_ylim(-0.6, len(methods) - 0.4)
    success.set_xlim(-0.02, 1.09)
    success.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"])
    for axes in (success, tokens):
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
    tokens.set_xlim(0, max(tokens.get_xlim()[1], 1) * 1.2)
    tokens.set_title("context tokens per turn")
    success.set_title(f"success on {split} ({seeds})")
    for arm, x in (("with", 0.0), ("without", 0.2)):
        success.annotate(
            f"● {spelled(arm)}",
            (x, 0),
            xycoords="axes fraction",
            xytext=(0, -34),
            textcoords="offset points",
            color=charts.LIGHT[arm],
            fontsize=11,
        )


def _seed_text(groups: Mapping[tuple[str, str], Sequence[Row]]) -> str:
    counts = {len(rows) for rows in groups.values()}
    if counts == {1}:
        return "one seed; bars: 95% of its tasks"
    most, least = max(counts), min(counts)
    return f"{most if most == least else f'{least} to {most}'} seeds; bars: 95% over seeds"
