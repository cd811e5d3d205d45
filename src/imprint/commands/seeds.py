"""`imprint eval --seeds`: the same tasks with several seeds of the sampling, and their mean with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from imprint.commands.console import ALL, grid
from imprint.commands.playing import parse_seeds, play_conditions
from imprint.commands.subject import Output, Subject
from imprint.errors import RecipeError
from imprint.measurement.naming import COLUMNS, ordered, spelled

if TYPE_CHECKING:
    from imprint.engine.base import Engine
    from imprint.measurement.conditions import Condition
    from imprint.types import Task

Row = Mapping[str, Any]  # an `Evaluation` record with its seed


def check_seeds(seeds: str | None, seed: int | None, record: bool) -> list[int] | None:
    """The seeds of `--seeds`; None without.

    Raises:
        RecipeError: they cannot be read, one is given twice, or they do not go with the other options.
    """

    if seeds is None:
        return None
    found = parse_seeds(seeds)
    if len(set(found)) < len(found):
        raise RecipeError(f"{seeds!r} names a seed twice", key="--seeds", hint="give each seed once")
    for name, given in (("--seed", seed is not None), ("--record", record)):
        if given:
            raise RecipeError(f"does not go with {name}", key="--seeds", hint="leave one of them out")
    return found


def evaluate_seeds(
    engine: Engine,
    subject: Subject,
    tasks: Sequence[Task],
    seeds: Sequence[int],
    *,
    split: str,
    conditions: Sequence[Condition],
    output: Output,
    quiet: bool,
) -> None:
    """Play every condition with every seed, and publish the figures."""

    from imprint.measurement.trials import evaluations, trials_of

    rows: list[Row] = []
    for seed in seeds:
        engine.evaluator.forget()
        engine.evaluator.seed = seed
        episodes = play_conditions(engine, tasks, conditions, f"{subject.title}, seed {seed}", quiet)
        trials = trials_of(episodes, split=split, step=subject.step, env_steps=subject.env_steps)
        rows += [{"seed": seed, **row.to_record()} for row in evaluations(trials)]
    difference = seeds_difference(rows, [one.name for one in conditions])
    output.publish(
        subject,
        split,
        rows,
        table=seeds_table(rows, f"{subject.title} on {split}"),
        difference=difference,
        meter=engine.meter,
        seeds=seeds,
    )


def seeds_table(rows: Sequence[Row], title: str) -> Table:
    """Success by family: the mean over seeds with its 95% interval; `all` is over tasks, not over families."""
    families = sorted({row["family"] for row in rows}, key=lambda family: (family == ALL, family))
    names = ordered((row["arm"] for row in rows), first=COLUMNS)
    body = [
        [
            family.replace("_", " "),
            max(row["episodes"] for row in rows if row["family"] == family),
            *(_success([row for row in rows if (row["family"], row["arm"]) == (family, name)]) for name in names),
        ]
        for family in families
    ]
    count = len({row["seed"] for row in rows})
    caption = f"mean over {count} seeds [95%, Student's t, not narrower than Wilson's]; all: every task counts once"
    return grid(title, ["tasks", "games", *(f"success {spelled(name)}" for name in names)], body, caption)


def seeds_difference(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any] | None:
    """The first condition minus the second over all tasks, a difference for each seed; None but of two conditions."""
    from imprint.support.stats import mean_interval

    if len(names) != 2:
        return None
    first, second = names
    rates: dict[str, dict[int, float]] = {first: {}, second: {}}
    for row in rows:
        if row["family"] == ALL:
            rates[row["arm"]][row["seed"]] = row["successes"] / row["episodes"]
    gaps = [rates[first][seed] - rate for seed, rate in rates[second].items() if seed in rates[first]]
    if not gaps:
        return None
    found = mean_interval(gaps)
    interval = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}] (95%, {len(gaps)} seeds)" if len(gaps) > 1 else ""
    return {**found.to_record(), "text": f"{first} - {second}: {100 * found.estimate:+.1f} points {interval}".rstrip()}


def _success(rows: Sequence[Row]) -> str:
    from imprint.report.compare_figure import interval_over_seeds

    if not rows:
        return "–"
    mean, low, high = interval_over_seeds([row["successes"] for row in rows], [row["episodes"] for row in rows])
    return f"{mean:.1%} [{100 * low:.0f}, {100 * high:.0f}]"
