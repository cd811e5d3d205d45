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
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from imprint.measurement.naming import ROLES, spelled
from imprint.measurement.trials import Evaluation
from imprint.report.summary import Summary, pretty

__all__ = [
    "DARK",
    "LIGHT",
    "apart",
    "context_chart",
    "end_label",
    "gap_chart",
    "label",
    "save",
    "standing_alone",
    "styled",
    "tip",
    "to_svg",
]

RUN_COLOURS = ("#3d5bd8", "#c6701b", "#218c5d", "#a43bb0", "#b83a4b", "#127f94", "#7a6a1c", "#5c6270")
DARK_RUN_COLOURS = ("#90a8ff", "#f2a94f", "#4fc48d", "#d987e2", "#f2727f", "#5cc4d8", "#cdbb62", "#a2a8b5")
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
    **{f"run{place}": colour for place, colour in enumerate(RUN_COLOURS)},
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
    **{f"run{place}": colour for place, colour in enumerate(DARK_RUN_COLOURS)},
}
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


@contextmanager
def standing_alone() -> Iterator[None]:
    """The style of a figure that is a file, without a page's font."""
    with styled(), mpl.rc_context({"svg.fonttype": "path"}):
        yield


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write a figure as `path` with the endings .png and .svg, the same bytes every time."""
    paths = path.with_suffix(".png"), path.with_suffix(".svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(paths[0], dpi=160, metadata={"Software": None})
    figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
    return paths


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
        curves = {arm: summary.curve(split, arm) for arm in ROLES}
        for arm, curve in curves.items():
            _band(axes, curve, arm)
        _success_axis(axes, summary)
        ends = {arm: c[-1].success for arm, c in curves.items() if c}
        _end_labels(axes, summary, ends, figure.get_figheight())
        _mark_stages(axes, summary)
        withdrawals = _mark_withdrawals(axes, summary)
        figure.subplots_adjust(left=0.04, right=0.865, top=0.93, bottom=0.1)
        for curve in curves.values():
            hotspots += [(*_place(figure, axes, e.step, e.success), tip(e)) for e in curve]
        hotspots += [(*_place(figure, axes, step, -0.045), tip) for step, tip in withdrawals]
        return to_svg(figure, "Success with and without skills over training steps", hotspots)


def context_chart(summary: Summary) -> str | None:
    """Context tokens per turn over the steps, in both arms and in training."""
    split = summary.curve_split
    curves = {arm: [e for e in summary.curve(split or "", arm) if e.context_tokens is not None] for arm in ROLES}
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
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylim(0, max([*tokens, *(_tokens(e) for c in curves.values() for e in c)], default=1) * 1.12)
        _step_axis(axes, summary)
        _end_labels(axes, summary, ends, figure.get_figheight(), form="{:,.0f}")
        _mark_stages(axes, summary)
        figure.subplots_adjust(left=0.04, right=0.865, top=0.9, bottom=0.1)
        for curve in curves.values():
            hotspots += [(*_place(figure, axes, e.step, _tokens(e)), tip(e)) for e in curve]
        return to_svg(figure, "Context tokens per turn over training steps", hotspots)


def _band(axes: Axes, curve: Sequence[Evaluation], arm: str) -> None:
    steps = [e.step for e in curve]
    lows, highs = [e.interval.low for e in curve], [e.interval.high for e in curve]
    colour = LIGHT[arm]
    if len(curve) == 1:
        axes.plot([steps[0]] * 2, [lows[0], highs[0]], color=colour, alpha=0.35, linewidth=5)
    axes.fill_between(steps, lows, highs, color=colour, alpha=0.14, linewidth=0)
    axes.plot(steps, [e.success for e in curve], color=colour, marker="o", markersize=5.5)


def _success_axis(axes: Axes, summary: Summary) -> None:
    axes.set_ylim(-0.07, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"])
    _step_axis(axes, summary)
    axes.set_xlabel("training step", loc="right", fontsize=11)
    axes.spines["bottom"].set_visible(False)


def _step_axis(axes: Axes, summary: Summary) -> None:
    last = max(summary.last_step, 1)
    axes.set_xlim(-0.012 * last, 1.012 * last)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _end_labels(axes: Axes, summary: Summary, ends: dict[str, float], height: float, form: str = "{:.0%}") -> None:
    """The name and last value of each line at its right end; `height` is that of the figure in inches."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.3 / height
    ordered = sorted(ends.items(), key=lambda item: item[1])
    for (name, value), at in zip(ordered, apart([value for _, value in ordered], gap), strict=True):
        text = f"{form.format(value)} {summary.label(name) if name in ROLES else name}"
        end_label(axes, text, at, LIGHT[name] if name in ROLES else LIGHT["muted"])


def end_label(axes: Axes, text: str, at: float, colour: str) -> None:
    """Write `text` beside the right end of the axes, at the height `at` of their data."""
    axes.annotate(
        text,
        (1, at),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        color=colour,
        fontweight="bold",
        va="center",
        annotation_clip=False,
    )


def apart(values: Sequence[float], gap: float) -> list[float]:
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


def _place(figure: Figure, axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Where a data point is in the SVG (72 units an inch, y downwards)."""
    across, up = axes.transData.transform((x, y))
    scale = 72 / figure.dpi
    return across * scale, (figure.get_figheight() * 72) - up * scale


def tip(e: Evaluation) -> str:
    """What is shown of an evaluation where the pointer is."""
    lines = [
        f"step {e.step} · {spelled(e.arm)}" + ("" if e.family == "all" else f" · {pretty(e.family)}"),
        f"{e.success:.1%} ({e.successes} of {e.episodes} {e.split} tasks)",
        f"95% interval {e.interval.low:.0%} to {e.interval.high:.0%}",
    ]
    return "\n".join(lines + ([] if e.context_tokens is None else [f"{e.context_tokens:,.0f} tokens per turn"]))


def _tokens(e: Evaluation) -> float:
    return e.context_tokens or 0.0
