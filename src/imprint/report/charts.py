"""The figures of a run. Drawn in the light palette; inside a page each colour becomes a CSS variable.

Text in a figure may come from skills and games: it is never parsed as mathematics; the SVG writer escapes it.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imprint.report.summary import EvaluationRow, Summary, families_of, pretty

__all__ = [
    "DARK",
    "LIGHT",
    "context_chart",
    "family_chart",
    "gap_chart",
    "label",
    "styled",
    "to_svg",
    "training_chart",
]

# Each light colour is unlike the others, so that it can be replaced by its CSS variable.
LIGHT = {
    "page": "#f6f6f3",
    "panel": "#ffffff",
    "ink": "#1c1f26",
    "muted": "#686d78",
    "line": "#e3e3de",
    "with": "#c8741c",
    "without": "#3355d1",
    "good": "#1f8a5b",
    "bad": "#c23b4a",
}
DARK = {
    "page": "#12141a",
    "panel": "#1a1d25",
    "ink": "#e9eaee",
    "muted": "#989eac",
    "line": "#2e323d",
    "with": "#f2a84c",
    "without": "#8ea6ff",
    "good": "#4cc38a",
    "bad": "#f2707d",
}
NAMES = {"with": "with skills", "without": "without skills"}
WIDTH = 15.0  # inches; at 72 units an inch a figure is as wide as the page's column

Hotspot = tuple[float, float, str]  # x and y in the SVG's units, and the text to show there


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib settings under which figures look alike and the same figure gives the same SVG."""
    settings: dict[Any, Any] = {
        "svg.hashsalt": "imprint",
        "svg.fonttype": "none",
        "text.parse_math": False,
        "font.family": "DejaVu Sans",
        "font.size": 12,
        "axes.edgecolor": LIGHT["line"],
        "axes.labelcolor": LIGHT["muted"],
        "axes.titlesize": 12,
        "axes.titlecolor": LIGHT["muted"],
        "axes.titlelocation": "left",
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": LIGHT["line"],
        "grid.linewidth": 1.0,
        "text.color": LIGHT["ink"],
        "xtick.color": LIGHT["muted"],
        "ytick.color": LIGHT["muted"],
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.major.pad": 7,
        "ytick.major.pad": 7,
        "figure.facecolor": "none",
        "lines.linewidth": 2.4,
        "lines.solid_capstyle": "round",
        "path.simplify": False,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")  # the browser's font has it, if any has
        yield


def to_svg(figure: Figure, title: str, hotspots: Sequence[Hotspot] = ()) -> str:
    """The figure as an inline `<svg>`: colours as CSS variables, no ids of groups, no size, hover targets."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    for name, colour in LIGHT.items():
        text = text.replace(colour, f"var(--{name})")
    opening = text[: text.index(">") + 1]
    view = re.search(r'viewBox="([^"]*)"', opening)
    box = view[1] if view else "0 0 100 100"
    spots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" class="spot" data-tip="{html.escape(tip)}"/>'
        for x, y, tip in hotspots
    )
    body = text[len(opening) : text.rindex("</svg>")]
    return f'<svg viewBox="{box}" role="img" aria-label="{html.escape(title)}">{body}{spots}</svg>'


def label(text: str, most: int = 36) -> str:
    """Text that can be drawn: printable characters only (fonts refuse half a pair), cut to `most`."""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= most else printable[: most - 1] + "…"


def gap_chart(summary: Summary) -> str | None:
    """Success with and without skills over the steps, with 95% Wilson bands, stages and withdrawals."""
    split = summary.curve_split
    if split is None:
        return None
    with styled():
        figure = Figure(figsize=(WIDTH, 5.6))
        axes = figure.subplots()
        hotspots: list[Hotspot] = []
        curves = {arm: summary.curve(split, arm) for arm in NAMES}
        for arm, curve in curves.items():
            _band(axes, curve, arm)
        _success_axis(axes, summary)
        _end_labels(axes, {arm: c[-1].rate.value for arm, c in curves.items() if c}, figure.get_figheight())
        _mark_stages(axes, summary)
        withdrawals = _mark_withdrawals(axes, summary)
        figure.subplots_adjust(left=0.04, right=0.865, top=0.93, bottom=0.1)
        for curve in curves.values():
            hotspots += [(*_place(figure, axes, e.step, e.rate.value), _tip(e)) for e in curve]
        hotspots += [(*_place(figure, axes, step, -0.045), tip) for step, tip in withdrawals]
        return to_svg(figure, "Success with and without skills over training steps", hotspots)


def context_chart(summary: Summary) -> str | None:
    """Context tokens per turn over the steps, in both arms and in training."""
    split = summary.curve_split
    curves = {arm: [e for e in summary.curve(split or "", arm) if e.context_tokens is not None] for arm in NAMES}
    steps, tokens = summary.series("train/context_tokens")
    if not any(curves.values()) and not tokens:
        return None
    with styled():
        figure = Figure(figsize=(WIDTH, 3.6))
        axes = figure.subplots()
        hotspots: list[Hotspot] = []
        axes.plot(steps, tokens, color=LIGHT["muted"], linewidth=1.4)
        ends = {"training": tokens[-1]} if tokens else {}
        for arm, curve in curves.items():
            axes.plot(
                [e.step for e in curve],
                [_tokens(e) for e in curve],
                color=LIGHT[arm],
                marker="o",
                markersize=5,
            )
            if curve:
                ends[arm] = _tokens(curve[-1])
        axes.set_ylim(0, max([*tokens, *(_tokens(e) for c in curves.values() for e in c)], default=1) * 1.12)
        axes.set_xlim(*_step_limits(summary))
        _end_labels(axes, ends, figure.get_figheight(), form="{:,.0f}")
        _mark_stages(axes, summary)
        figure.subplots_adjust(left=0.04, right=0.865, top=0.9, bottom=0.1)
        for curve in curves.values():
            hotspots += [(*_place(figure, axes, e.step, _tokens(e)), _tip(e)) for e in curve]
        return to_svg(figure, "Context tokens per turn over training steps", hotspots)


def family_chart(summary: Summary) -> str | None:
    """Success by task family: start to end, without and with skills."""
    ends = {arm: headline.end for arm in NAMES if (headline := summary.headline(arm))}
    split = next((end.split for end in ends.values()), None)
    families = families_of(e for e in summary.evaluations if e.split == split)
    if split is None or not families:
        return None
    with styled():
        figure = Figure(figsize=(WIDTH, 0.6 + 0.62 * len(families)))
        axes = figure.subplots()
        hotspots: list[Hotspot] = []
        points: list[tuple[float, float, EvaluationRow]] = []
        for row, family in enumerate(reversed(families)):
            for arm, offset in (("with", 0.16), ("without", -0.16)):
                points += _dumbbell(axes, summary, family, arm, row + offset)
        axes.set_yticks(
            range(len(families)),
            [label(pretty(family)) for family in reversed(families)],
            color=LIGHT["ink"],
        )
        axes.set_ylim(-0.6, len(families) - 0.4)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"])
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        figure.subplots_adjust(left=0.225, right=0.975, top=0.99, bottom=0.4 / figure.get_figheight())
        hotspots += [(*_place(figure, axes, x, y), _tip(e)) for x, y, e in points]
        return to_svg(figure, "Success by task family, at the start and at the end", hotspots)


def training_chart(summary: Summary) -> str | None:
    """Small panels of what training itself recorded; only those that exist."""
    wanted = (
        ("train/success", "success in training"),
        ("train/return", "return"),
        ("train/turns", "turns per episode"),
        ("loss/policy", "policy loss"),
        ("loss/kl", "KL to the reference"),
        ("loss/entropy", "entropy"),
        ("curriculum/active", "skills in the context"),
    )
    panels = [(title, name, *summary.series(name)) for name, title in wanted]
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        return None
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    with styled(), mpl.rc_context({"font.size": 11, "lines.linewidth": 2.0}):
        figure = Figure(figsize=(WIDTH, 2.5 * lines))
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes, (title, name, steps, values) in zip(grid.flat, panels, strict=False):
            stepwise = name == "curriculum/active"
            smooth = values if stepwise else _smooth(values)
            if not stepwise:
                axes.plot(steps, values, color=LIGHT["without"], linewidth=1.0, alpha=0.3)
            axes.plot(steps, smooth, color=LIGHT["without"], drawstyle="steps-post" if stepwise else "default")
            axes.set_title(f"{title} · {_short(smooth[-1])}", fontsize=11)
            axes.set_xlim(*_step_limits(summary))
            axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
            if name == "train/success":
                axes.set_ylim(-0.02, 1.02)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        figure.subplots_adjust(
            left=0.05,
            right=0.985,
            top=1 - 0.35 / (2.5 * lines),
            bottom=0.35 / (2.5 * lines),
            hspace=0.42,
            wspace=0.2,
        )
        return to_svg(figure, "Training curves")


def _band(axes: Axes, curve: Sequence[EvaluationRow], arm: str) -> None:
    steps = [e.step for e in curve]
    lows, highs = [e.rate.low for e in curve], [e.rate.high for e in curve]
    colour = LIGHT[arm]
    if len(curve) == 1:
        axes.plot([steps[0]] * 2, [lows[0], highs[0]], color=colour, alpha=0.35, linewidth=5)
    axes.fill_between(steps, lows, highs, color=colour, alpha=0.14, linewidth=0)
    axes.plot(steps, [e.rate.value for e in curve], color=colour, marker="o", markersize=5.5)


def _success_axis(axes: Axes, summary: Summary) -> None:
    axes.set_ylim(-0.07, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"])
    axes.set_xlim(*_step_limits(summary))
    axes.set_xlabel("training step", loc="right", fontsize=11)
    axes.spines["bottom"].set_visible(False)


def _step_limits(summary: Summary) -> tuple[float, float]:
    last = max(summary.last_step, 1)
    return -0.012 * last, 1.012 * last


def _end_labels(axes: Axes, ends: dict[str, float], height: float, form: str = "{:.0%}") -> None:
    """The name and last value of each line at its right end; `height` is that of the figure in inches."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.3 / height
    ordered = sorted(ends.items(), key=lambda item: item[1])
    for (name, value), at in zip(ordered, _apart([value for _, value in ordered], gap), strict=True):
        axes.annotate(
            f"{form.format(value)} {NAMES.get(name, name)}",
            (1, at),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            color=LIGHT[name] if name in NAMES else LIGHT["muted"],
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """`values` (rising) moved so that neighbours are `gap` apart, each cluster around its own mean."""
    clusters: list[list[float]] = []
    for value in values:
        clusters.append([value])
        while len(clusters) > 1 and _middle(clusters[-1]) - _middle(clusters[-2]) < gap * (
            (len(clusters[-1]) + len(clusters[-2])) / 2
        ):
            clusters[-2:] = [clusters[-2] + clusters[-1]]
    return [_middle(c) + gap * (i - (len(c) - 1) / 2) for c in clusters for i in range(len(c))]


def _middle(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mark_stages(axes: Axes, summary: Summary) -> None:
    for step, stage, budget in summary.stages:
        axes.axvline(step, color=LIGHT["muted"], linewidth=1, linestyle=(0, (2, 4)), alpha=0.8, zorder=0.5)
        text = f"stage {stage}" + ("" if budget is None else f" · at most {budget}")
        axes.annotate(
            text,
            (step, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, 1),
            textcoords="offset points",
            color=LIGHT["muted"],
            fontsize=10,
        )


def _mark_withdrawals(axes: Axes, summary: Summary) -> list[tuple[int, str]]:
    """A mark under the axis for each step at which skills left or came back; gives (step, text to show)."""
    tips: dict[int, list[str]] = {}
    for decision in summary.decisions:
        if decision.action in ("withdraw", "admit", "readmit"):
            tips.setdefault(decision.step, []).append(f"{decision.skill}: {decision.action}: {decision.reason}")
    for step in tips:
        axes.plot([step], [-0.045], marker="v", markersize=8, color=LIGHT["ink"], clip_on=False, linestyle="none")
    return [(step, f"step {step}\n" + "\n".join(lines)) for step, lines in sorted(tips.items())]


def _dumbbell(
    axes: Axes, summary: Summary, family: str, arm: str, y: float
) -> list[tuple[float, float, EvaluationRow]]:
    headline = summary.headline(arm)
    if headline is None:
        return []
    end = [e for e in summary.curve(headline.end.split, arm, family) if e.step == headline.end.step]
    start_split = headline.start.split if headline.start else ""
    start = summary.curve(start_split, arm, family)[:1] if headline.start else []
    colour = LIGHT[arm]
    if start and end:
        axes.plot([start[0].rate.value, end[0].rate.value], [y, y], color=colour, alpha=0.3, linewidth=4)
    for e in start:
        axes.plot([e.rate.value], [y], "o", markersize=8, color=LIGHT["panel"], markeredgecolor=colour, mew=2)
    for e in end:
        axes.plot([e.rate.value], [y], "o", markersize=9.5, color=colour)
    return [(e.rate.value, y, e) for e in (*start, *end)]


def _place(figure: Figure, axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Where a data point is in the SVG (72 units an inch, y downwards)."""
    across, up = axes.transData.transform((x, y))
    scale = 72 / figure.dpi
    return across * scale, (figure.get_figheight() * 72) - up * scale


def _tip(e: EvaluationRow) -> str:
    rate = e.rate
    lines = [
        f"step {e.step} · {NAMES.get(e.arm, e.arm)}" + ("" if e.family == "all" else f" · {pretty(e.family)}"),
        f"{rate.value:.1%} ({rate.successes} of {rate.episodes} {e.split} tasks)",
        f"95% interval {rate.low:.0%} to {rate.high:.0%}",
    ]
    return "\n".join(lines + ([] if e.context_tokens is None else [f"{e.context_tokens:,.0f} tokens per turn"]))


def _tokens(e: EvaluationRow) -> float:
    return e.context_tokens or 0.0


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _smooth(values: Sequence[float], window: int = 9) -> list[float]:
    """A centred moving mean, with shorter windows at both ends."""
    half = min(window, max(1, len(values) // 5)) // 2
    parts = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in parts]
