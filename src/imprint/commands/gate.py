"""`imprint eval --gate`: what skills in the context are worth, used never, always, where needed, and once learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.table import Table

from imprint.commands.shared import ALL, Subject, console, grid, say, write_figures
from imprint.errors import RecipeError

if TYPE_CHECKING:
    from imprint.engine.base import Engine
    from imprint.methods.in_context.adaptmi import Gate
    from imprint.types import Episode, Task

Row = Mapping[str, Any]  # an `Outcome` record whose arm is a way to use the skills, with its seed
NEVER, ALWAYS, WITHDRAWN = "never", "always", "withdrawn"


def check_gate(gate: bool, withdrawn: Path | None, **others: bool) -> None:
    """Whether the options go together; `others` are those that do not go with --gate, and whether they are given.

    Raises:
        RecipeError: they do not.
    """
    if withdrawn is not None and not gate:
        raise RecipeError("is a row of the table of --gate", key="--withdrawn", hint="add --gate, or leave it out")
    for name, given in others.items():
        if gate and given:
            raise RecipeError(f"does not go with --{name}", key="--gate", hint="leave one of them out")


def evaluate_gate(
    engine: Engine,
    subject: Subject,
    tasks: Sequence[Task],
    seeds: Sequence[int],
    *,
    split: str,
    withdrawn: Path | None,
    output: Path | None,
    quiet: bool,
) -> None:
    """Play every way with every seed on the same tasks; print the table, and write the figures if asked for."""
    from imprint.commands.evaluate import outcome_rows

    gates = make_gates(engine)
    learned = None if withdrawn is None else without_skills(subject, withdrawn)
    rows: list[Row] = []
    chances: dict[str, list[float]] = {name: [] for name in gates}
    for seed in seeds:
        ways = play_ways(engine, gates, tasks, seed, f"{subject.title}, seed {seed}", quiet)
        for name in gates:
            chances[name].append(by_chance(ways, name))
        if learned is not None:
            learned.evaluator.seed = seed
            played = learned.evaluator.play([(task, ()) for task in tasks])
            ways[WITHDRAWN] = [played[task.id, ()] for task in tasks]
            learned.evaluator.forget()
        for row in outcome_rows(ways, step=subject.step, split=split, env_steps=subject.env_steps):
            again = None if row["arm"] not in gates else tried_again(ways[NEVER], ways[row["arm"]], row["family"])
            rows.append({"seed": seed, **row, "tried_again": again})
    console().print(gate_table(rows, f"{subject.title} on {split}"))
    for name, values in chances.items():
        say(f"{name}: as many second attempts at tasks drawn by lot would give {100 * fmean(values):.1f}%")
    if output is not None:
        write_figures(output, subject, split, rows, None, engine.meter, seeds=seeds)


def make_gates(engine: Engine) -> dict[str, Gate]:
    """The recipe's gate, as AdaptMI and (where the world shows solutions) as AdaptMI+, and the oracle's."""
    from imprint.methods.in_context.adaptmi import Gate
    from imprint.methods.in_context.scorers import GateConfig

    config, tasks = engine.recipe.gate or GateConfig(), engine.world.tasks("train")
    gates = {f"gated by {config.scorer}": Gate(engine, config.model_copy(update={"show": "all"}), tasks)}
    try:
        gates[f"gated+ by {config.scorer}"] = Gate(engine, config.model_copy(update={"show": "missing"}), tasks)
    except RecipeError as error:
        say(f"note: no gated+: {error.problem}", stderr=True)
    gates["oracle gate"] = Gate(engine, config.model_copy(update={"show": "all", "scorer": "oracle"}), tasks)
    return gates


def without_skills(subject: Subject, run: Path) -> Engine:
    """The last policy of a run that has withdrawn its skills, in the subject's world."""
    from imprint.engine import make_engine

    policy = Subject(str(run), None, [])
    return make_engine(subject.recipe.model_copy(update={"endpoint": None}), model=policy.model)


def play_ways(
    engine: Engine, gates: Mapping[str, Gate], tasks: Sequence[Task], seed: int, title: str, quiet: bool
) -> dict[str, list[Episode]]:
    """The episodes of each way but the last, in the order of `tasks`; what several ways need is played once."""
    from imprint.commands.evaluate import Arm, play_arms, playing

    engine.evaluator.forget()
    engine.evaluator.seed = seed
    arms = play_arms(engine, tasks, Arm.BOTH, title, quiet)
    ways = {NEVER: arms["without"], ALWAYS: arms["with"]}
    with playing(engine, f"{title}, second attempts", len(tasks), quiet) as advance:
        return ways | {name: gate.attempt(engine.evaluator, ways[NEVER], advance) for name, gate in gates.items()}


def tried_again(first: Sequence[Episode], gated: Sequence[Episode], family: str = ALL) -> tuple[float, float]:
    """The share of first attempts that were made again: of those that had failed, and of those that had succeeded."""
    pairs = [(a, b) for a, b in zip(first, gated, strict=True) if family in (ALL, a.task.category)]
    failed = [a is not b for a, b in pairs if not a.success]
    solved = [a is not b for a, b in pairs if a.success]
    return sum(failed) / max(1, len(failed)), sum(solved) / max(1, len(solved))


def by_chance(ways: Mapping[str, Sequence[Episode]], name: str) -> float:
    """The success to expect of as many second attempts as `name` makes, with all skills, at tasks drawn by lot."""
    never, always = (fmean(episode.success for episode in ways[way]) for way in (NEVER, ALWAYS))
    share = fmean(a is not b for a, b in zip(ways[NEVER], ways[name], strict=True))
    return never + share * (always - never)


def gate_table(rows: Sequence[Row], title: str) -> Table:
    """Each way's success over all tasks, and what is read for it."""
    from imprint.report.compare_figure import interval_over_seeds

    body = []
    for way in dict.fromkeys(row["arm"] for row in rows):
        found = [row for row in rows if row["arm"] == way and row["family"] == ALL]
        mean, low, high = interval_over_seeds([r["successes"] for r in found], [r["episodes"] for r in found])
        again = [r["tried_again"] for r in found if r["tried_again"] is not None]
        body.append(
            [
                way,
                f"{mean:.1%} [{100 * low:.1f}, {100 * high:.1f}]",
                f"{fmean(r['context_tokens'] for r in found):,.0f}",
                f"{fmean(r['context_tokens'] * r['turns'] for r in found):,.0f}",
                " / ".join(f"{100 * fmean(shares):.0f}" for shares in zip(*again, strict=True)) or "–",
            ]
        )
    count = len({row["seed"] for row in rows})
    caption = (
        f"{max(row['episodes'] for row in rows)} tasks, {count} seed{'s' * (count > 1)} of the sampling [95%]. Both "
        "attempts' tokens count. Tried again: of first attempts that failed / that succeeded."
    )
    header = ["skills shown", "success", "tokens/turn", "tokens/task", "tried again, %"]
    return grid(title, header, body, caption)
