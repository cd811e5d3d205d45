"""Small charts of the training metrics, one or several runs in each: lines over the steps, or shares stacked.

A panel's lines are an SVG that stretches to any width; its words and figures are HTML around it, so that they keep
their size on a phone. Every metric that a run has logged is in a panel: those named here with an explanation, others
under their own name.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from imprint.report.summary import Summary
from imprint.types import StopReason

__all__ = ["Line", "Panel", "stacked_panels", "training_panels"]

WIDTH, HEIGHT = 300.0, 90.0  # of the SVG's box; it is stretched
NUMBER, SHARE, COUNT = "{:.3g}", "{:.0%}", "{:,.0f}"
COLOURS = ("without", "with", "good", "bad", "muted")  # of stacked shares


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is called, what it says, and how its values are written."""

    name: str
    title: str
    note: str = ""
    form: str = NUMBER


METRICS = (
    Metric("train/success", "success in training", "Of the training episodes, with what the method shows them.", SHARE),
    Metric("train/turns", "turns per episode", "Mean over the training episodes."),
    Metric("train/invalid", "invalid actions", "Turns whose action was not understood or not possible.", SHARE),
    Metric("train/flat_groups", "flat groups", "Groups whose episodes all have the same outcome.", SHARE),
    Metric(
        "train/zero_advantage_groups",
        "groups without advantage",
        "Groups whose advantages are all zero: nothing is learned from them.",
        SHARE,
    ),
    Metric(
        "train/shared_states",
        "shared states",
        "Turns whose state another turn of their group acted in too: the others have no step advantage.",
        SHARE,
    ),
    Metric("feedback/nll", "feedback loss", "Negative log-likelihood of the skills' pages, in nats a token."),
    Metric("curriculum/active", "skills in the context", "Those in force in training.", COUNT),
    Metric(
        "loss/policy",
        "policy loss",
        "The clipped surrogate: −advantage × ratio, averaged over the trained tokens. It does not measure progress: "
        "advantages average to zero within a group, so that it stays near zero (or near what a method adds) while the "
        "policy improves. Look at success, KL and the clip fraction.",
    ),
    Metric("loss/nll", "imitation loss", "Negative log-likelihood of the imitated tokens, in nats."),
    Metric("loss/approx_kl", "KL to the sampler", "From the policy that sampled the step, in nats per token."),
    Metric("loss/kl", "KL to the start", "From the policy that training started from, in nats per token."),
    Metric(
        "loss/clip_fraction", "clip fraction", "Trained tokens whose ratio left the clip range: no gradient.", SHARE
    ),
    Metric("grad_norm", "gradient norm", "Before clipping to learner.max_grad_norm."),
    Metric("loss/entropy", "entropy", "Of the policy, in nats per token."),
    Metric("lr", "learning rate", "Of the step's last update."),
    Metric("loss/samples", "samples learned", "Those that have a gradient.", COUNT),
    Metric("learner/optimizer_steps", "optimizer steps", "In a step: those of all its batches and passes.", COUNT),
    Metric("learner/tokens", "tokens learned", "Trained tokens in a step, once in every pass.", COUNT),
    Metric("env_steps", "environment steps", "Turns played in training so far.", COUNT),
)
ELSEWHERE = ("validation/", "stop/", "train/context_tokens")  # shown by other charts


@dataclass(frozen=True, slots=True)
class Line:
    """The values of one run, or of one share, over its steps; `colour` is a CSS variable."""

    name: str
    colour: str
    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Panel:
    """A small chart. Stacked lines are shares of a whole, each drawn on top of those before it."""

    title: str
    lines: tuple[Line, ...]
    note: str = ""
    form: str = NUMBER
    stacked: bool = False
    points: bool = False  # mark every value: they are few
    top: float | None = None  # of the axis; the greatest value if None
    metric: str = ""  # what it was logged as

    @property
    def last(self) -> str:
        """The last value of a panel with one line."""
        if len(self.lines) > 1:
            return ""
        values = self.lines[0].values
        return self.form.format((values if self.form == COUNT else _smooth(values))[-1])

    @property
    def last_step(self) -> int:
        return max(line.steps[-1] for line in self.lines)

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of the value axis: shares and counts start at zero."""
        values = [value for line in self._drawn() for value in line.values]
        low, high = min(values), max(values) if self.top is None else self.top
        if self.stacked or low == high or (low >= 0 and (self.form != NUMBER or low < high / 2)):
            low, high = min(low, 0.0), max(high, 0.0)
        return low, high if high > low else 1.0

    @property
    def ends(self) -> tuple[str, str]:
        """The value axis' ends as text, the greater one first."""
        low, high = self.bounds
        return self.form.format(high), self.form.format(low)

    def svg(self) -> str:
        """The lines; each is smoothed a little, with its values as they are behind it."""
        parts, below = [], None
        for line in self._drawn():
            if self.stacked:
                parts.append(self._area(line, below))
            elif self.points or len(line.steps) == 1:
                parts += [self._path(line, line.values), self._dots(line)]
            elif self.form == COUNT:
                parts.append(self._path(line, line.values))
            else:
                parts += [self._path(line, line.values, "raw"), self._path(line, _smooth(line.values))]
            below = line
        shape = f'viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" preserveAspectRatio="none"'
        return f'<svg {shape} role="img" aria-label="{html.escape(self.title)}">{"".join(parts)}</svg>'

    def _drawn(self) -> list[Line]:
        """The lines as they are drawn: stacked ones as sums with those before them."""
        if not self.stacked:
            return list(self.lines)
        sums, drawn = [0.0] * len(self.lines[0].steps), []
        for line in self.lines:
            sums = [below + value for below, value in zip(sums, line.values, strict=True)]
            drawn.append(Line(line.name, line.colour, line.steps, sums))
        return drawn

    def _place(self, step: float, value: float) -> str:
        low, high = self.bounds
        across = WIDTH * step / max(1, self.last_step)
        return f"{across:.1f} {HEIGHT * (1 - (value - low) / (high - low)):.1f}"

    def _path(self, line: Line, values: Sequence[float], kind: str = "") -> str:
        places = " L".join(self._place(*pair) for pair in zip(line.steps, values, strict=True))
        return f'<path class="{kind}" d="M{places}" style="stroke:var(--{line.colour})"/>'

    def _dots(self, line: Line) -> str:
        dots = "".join(f"M{self._place(*pair)}h0" for pair in zip(line.steps, line.values, strict=True))
        return f'<path class="dots" d="{dots}" style="stroke:var(--{line.colour})"/>'

    def _area(self, line: Line, below: Line | None) -> str:
        upper = [self._place(*pair) for pair in zip(line.steps, line.values, strict=True)]
        lower = [
            self._place(step, 0.0 if below is None else below.values[place]) for place, step in enumerate(line.steps)
        ]
        return f'<path class="area" d="M{" L".join([*upper, *reversed(lower)])}Z" style="fill:var(--{line.colour})"/>'


def training_panels(runs: Mapping[str, Summary], colours: Sequence[str]) -> list[Panel]:
    """A panel for every metric that all `runs` have logged, each run a line of its own colour."""
    shared = [one for one in _metrics(runs.values()) if all(run.series(one.name)[0] for run in runs.values())]
    return [
        Panel(
            one.title,
            tuple(
                Line(name, colour, *run.series(one.name))
                for (name, run), colour in zip(runs.items(), colours, strict=False)
            ),
            one.note,
            one.form,
            top=1.0 if one.form == SHARE and one.name.startswith("train/") else None,
            metric=one.name,
        )
        for one in shared
    ]


def stacked_panels(run: Summary) -> list[Panel]:
    """Why training episodes ended, and where the time of a step went; those that were recorded."""
    steps = run.series(f"stop/{StopReason.SUCCESS}")[0]
    reasons = {reason.replace("_", " "): run.series(f"stop/{reason}")[1] for reason in StopReason}
    why = _stack("why episodes ended", "Of the training episodes of a step.", steps, reasons, SHARE, 1.0)
    timed = [row for row in run.timings if "seconds" in row and ("rollout" in row or "update" in row)]
    parts = {name: [float(row.get(name, 0.0)) for row in timed] for name in ("rollout", "update")}
    rest = [max(0.0, row["seconds"] - sum(values)) for row, *values in zip(timed, *parts.values(), strict=True)]
    parts["evaluation and the rest"] = rest
    where = "Seconds of a step; writing its checkpoint is not among them."
    when = _stack("time", where, [row["step"] for row in timed], parts, "{:,.1f} s")
    return [panel for panel in (why, when) if panel is not None]


def _stack(
    title: str,
    note: str,
    steps: Sequence[int],
    parts: Mapping[str, Sequence[float]],
    form: str,
    top: float | None = None,
) -> Panel | None:
    found = {name: values for name, values in parts.items() if any(values) and len(values) == len(steps)}
    lines = tuple(
        Line(name, colour, steps, values) for (name, values), colour in zip(found.items(), COLOURS, strict=False)
    )
    return Panel(title, lines, note, form, stacked=True, top=top) if lines else None


def _metrics(runs: Iterable[Summary]) -> list[Metric]:
    """What `runs` have logged and no other chart shows: the known metrics in their order, then others by name."""
    known = {one.name for one in METRICS}
    names = {name for run in runs for row in run.metrics for name in row if name != "step"}
    others = sorted(name for name in names - known if not name.startswith(ELSEWHERE))
    return [*(one for one in METRICS if one.name in names), *(Metric(name, name) for name in others)]


def _smooth(values: Sequence[float], window: int = 9) -> list[float]:
    """A centred moving mean, with shorter windows at both ends."""
    half = min(window, max(1, len(values) // 5)) // 2
    parts = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in parts]
