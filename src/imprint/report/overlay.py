"""Several runs in one page: curves in the same charts, evaluations side by side, and how the recipes differ.

Only what all of them have is compared: metrics that each has logged, and success on the tasks that each has played in
the same world. Tasks are known by their ids, and another world (other games, another seed of made ones) gives the same
ids to other tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.errors import RecipeError
from imprint.measurement.naming import COLUMNS
from imprint.measurement.trials import ALL, Evaluation, evaluations
from imprint.report.charts import RUN_COLOURS
from imprint.report.html import render
from imprint.report.panels import COUNT, SHARE, Line, Panel, training_panels
from imprint.report.records import run_trials
from imprint.report.summary import SPLITS, Summary, pretty
from imprint.runs.run import Run, flat_recipe
from imprint.support import files
from imprint.support.stats import paired_difference
from imprint.types import Trial

__all__ = ["render_overlay", "write_overlay"]

COLOURS = tuple(f"run{place}" for place in range(len(RUN_COLOURS)))


def write_overlay(paths: Sequence[Path], out: Path, refresh: int | None = None) -> Path:
    """Write the page of several runs to `out`; they may still be going on.

    Args:
        refresh: the page is to load itself anew every so many seconds.

    Raises:
        CheckpointError: no run is there, or a record is damaged.
        RecipeError: a run is named twice, or there are more runs than colours.
    """
    page = render_overlay([Run.open(path) for path in paths], refresh)
    files.atomic_write(out, page.encode("utf-8", "replace"))
    return out


def render_overlay(runs: Sequence[Run], refresh: int | None = None) -> str:
    """The page of several runs as HTML; the same records give the same page.

    Raises:
        CheckpointError, RecipeError: as `write_overlay`.
    """
    named = _named(runs)
    summaries = {name: Summary.of(run) for name, run in named.items()}
    training = training_panels(summaries, COLOURS)
    differences = _differences(named)
    trials = {name: run_trials(run) for name, run in named.items()}
    worlds = [key for key, _ in differences if key.partition(".")[0] == "env" and key != "env.max_turns"]
    splits = () if worlds else SPLITS
    return render(
        "overlay.html.j2",
        refresh=refresh,
        title=f"{len(named)} runs",
        runs=[(name, run, colour) for (name, run), colour in zip(summaries.items(), COLOURS, strict=False)],
        curves=_curves(summaries, splits),
        training=training,
        unshared=_unshared(summaries, {panel.metric for panel in training}),
        tables=[table for split in splits if (table := _compared(split, trials, summaries))],
        worlds=worlds,
        differences=differences,
        episodes="[]",
    )


def _named(runs: Sequence[Run]) -> dict[str, Run]:
    """Each run by its folder's name, or by as much of its path as tells it from the others.

    Raises:
        RecipeError: one is there twice, or there are more than colours.
    """
    paths = [run.path.resolve() for run in runs]
    if len(set(paths)) < len(paths) or len(paths) > len(COLOURS):
        raise RecipeError(
            f"{len(paths)} runs, of which {len(set(paths))} are different",
            key="RUN",
            hint=f"name each run once, and at most {len(COLOURS)} of them",
        )
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return {"/".join(path.parts[-depth:]): run for path, run in zip(paths, runs, strict=True)}


def _curves(runs: Mapping[str, Summary], splits: Sequence[str]) -> list[Panel]:
    """Success and tokens over the steps, of each split and condition that all runs were evaluated on alike."""
    panels = []
    for split in splits:
        for role in COLUMNS:
            curves = {name: run.curve(split, role) for name, run in runs.items()}
            counts = {e.episodes for curve in curves.values() for e in curve}  # equally many are the same tasks
            if not all(curves.values()) or len(counts) > 1 or max(map(len, curves.values())) < 2:
                continue
            title = f"{role} skills, {split} tasks"
            values = {name: [e.success for e in curve] for name, curve in curves.items()}
            panels.append(_panel(f"success {title}", curves, values, SHARE, 1.0))
            tokens = {name: [e.context_tokens or 0.0 for e in curve] for name, curve in curves.items()}
            panels.append(_panel(f"tokens per turn {title}", curves, tokens, COUNT))
    return panels


def _panel(
    title: str,
    curves: Mapping[str, Sequence[Evaluation]],
    values: Mapping[str, Sequence[float]],
    form: str,
    top: float | None = None,
) -> Panel:
    lines = tuple(
        Line(name, colour, [e.step for e in curve], values[name])
        for (name, curve), colour in zip(curves.items(), COLOURS, strict=False)
    )
    return Panel(title, lines, form=form, points=True, top=top)


@dataclass(frozen=True, slots=True)
class Compared:
    """The last evaluations of all runs on one split, on the tasks that all have played.

    Attributes:
        note: what they are counted on.
        rows: (run, {role: evaluation}, {role: difference to the first run in points, with its interval}).
        families: (family, evaluations of the runs in order, each by role).
    """

    split: str
    note: str
    rows: tuple[tuple[str, dict[str, Evaluation], dict[str, str]], ...]
    families: tuple[tuple[str, tuple[dict[str, Evaluation], ...]], ...]


def _compared(split: str, measured: Mapping[str, Sequence[Trial]], summaries: Mapping[str, Summary]) -> Compared | None:
    """None where no condition was played on `split` by all runs, or on no task in common."""
    ends = {role: [_end(run, split, role) for run in summaries.values()] for role in COLUMNS}
    roles = [role for role in COLUMNS if all(ends[role])]
    trials = {name: _last_trials(found, split, summaries[name], roles) for name, found in measured.items()}
    tasks = (
        set.intersection(*(set(by_task) for found in trials.values() for by_task in found.values())) if roles else set()
    )
    if not tasks:
        return None
    kept = {
        name: {role: [by_task[task] for task in sorted(tasks)] for role, by_task in found.items()}
        for name, found in trials.items()
    }
    counted = {
        name: {role: {row.family: row for row in evaluations(found)} for role, found in by_role.items()}
        for name, by_role in kept.items()
    }
    first = next(iter(kept.values()))
    left = sorted({len(by_task) for found in trials.values() for by_task in found.values()} - {len(tasks)})
    note = f"{len(tasks)} tasks that all runs have played" + (f" (of {', '.join(map(str, left))})" if left else "")
    return Compared(
        split,
        note,
        tuple(
            (
                name,
                {role: rows[ALL] for role, rows in counted[name].items()},
                {role: _difference(found[role], first[role]) for role in roles} if found is not first else {},
            )
            for name, found in kept.items()
        ),
        tuple(
            (pretty(family), tuple({role: rows[family] for role, rows in counted[name].items()} for name in measured))
            for family in sorted({trial.family for trial in first[roles[0]]})
            if all(family in rows for by_role in counted.values() for rows in by_role.values())
        ),
    )


def _end(run: Summary, split: str, role: str) -> Evaluation | None:
    curve = run.curve(split, role)
    return curve[-1] if curve else None


def _last_trials(
    measured: Sequence[Trial], split: str, summary: Summary, roles: Sequence[str]
) -> dict[str, dict[str, Trial]]:
    """The trials of the last evaluation of each role, by task; none in runs of older versions, which kept none."""
    trials = [trial for trial in measured if trial.split == split]
    found = {}
    for role in roles:
        end, name = _end(summary, split, role), summary.condition(role)
        found[role] = {t.task: t for t in trials if end and (t.step, t.condition) == (end.step, name)}
    return found


def _difference(mine: Sequence[Trial], first: Sequence[Trial]) -> str:
    found = paired_difference([trial.success for trial in mine], [trial.success for trial in first])
    return f"{100 * found.estimate:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]".replace("-", "−")


def _differences(runs: Mapping[str, Run]) -> list[tuple[str, list[str]]]:
    """The recipe keys in which the runs differ, with the value of each; their names aside."""
    recipes = [flat_recipe(run.recipe) for run in runs.values()]
    keys = sorted({key for recipe in recipes for key in recipe} - {"name"})
    values = {key: [recipe.get(key) for recipe in recipes] for key in keys}
    return [
        (key, ["–" if value is None else str(value) for value in found])
        for key, found in values.items()
        if any(value != found[0] for value in found)
    ]


def _unshared(runs: Mapping[str, Summary], shown: set[str]) -> list[str]:
    """The metrics that some runs have logged and others have not."""
    logged: dict[str, Any] = {name: {key for row in run.metrics for key in row} for name, run in runs.items()}
    some = set.union(*logged.values()) - set.intersection(*logged.values())
    return sorted(some - shown)
