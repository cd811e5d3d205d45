"""`imprint eval --adaptive`: what skills in the context add: never, always, where needed, and once learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.table import Table

from imprint.commands.console import ALL, grid, say
from imprint.commands.playing import play_conditions, playing
from imprint.commands.subject import Output, Subject
from imprint.errors import RecipeError

if TYPE_CHECKING:
    from imprint.engine.base import Engine
    from imprint.methods.in_context.adaptmi import SecondAttempt
    from imprint.types import Episode, Task

Row = Mapping[str, Any]  # an `Evaluation` record whose arm is a way to use the skills, with its seed
NEVER, ALWAYS, LEARNED = "never", "always", "withdrawn"


def check_adaptive(adaptive: bool, trained_run: Path | None, **others: bool) -> None:
    """Whether the options go together; `others` are those that do not go with --adaptive, and whether they are given.

    Raises:
        RecipeError: they do not.
    """
    if trained_run is not None and not adaptive:
        raise RecipeError(
            "is a row of the table of --adaptive", key="--trained-run", hint="add --adaptive, or leave it out"
        )
    for name, given in others.items():
        if adaptive and given:
            raise RecipeError(f"does not go with --{name}", key="--adaptive", hint="leave one of them out")


def evaluate_adaptive(
    engine: Engine,
    subject: Subject,
    tasks: Sequence[Task],
    seeds: Sequence[int],
    *,
    split: str,
    trained_run: Path | None,
    output: Output,
    quiet: bool,
) -> None:
    """Play every way with every seed on the same tasks, and publish the figures."""
    from imprint.measurement.conditions import WITHOUT
    from imprint.measurement.trials import evaluations, trials_of

    deciders = make_deciders(engine)
    learned = None if trained_run is None else without_skills(subject, trained_run)
    rows: list[Row] = []
    chances: dict[str, list[float]] = {name: [] for name in deciders}
    for seed in seeds:
        ways = play_ways(engine, deciders, tasks, seed, f"{subject.title}, seed {seed}", quiet)
        for name in deciders:
            chances[name].append(by_chance(ways, name))
        if learned is not None:
            learned.evaluator.seed = seed
            ways[LEARNED] = learned.evaluator.conditions(tasks, (WITHOUT,))[WITHOUT.name]
            learned.evaluator.forget()
        rows += [
            {
                "seed": seed,
                **row.to_record(),
                "tried_again": tried_again(ways[NEVER], ways[row.arm], row.family) if row.arm in deciders else None,
            }
            for row in evaluations(trials_of(ways, split=split, step=subject.step, env_steps=subject.env_steps))
        ]
    lines = [
        f"{name}: as many second attempts at tasks drawn at random would give {100 * fmean(values):.1f}%"
        for name, values in chances.items()
    ]
    table = adaptive_table(rows, f"{subject.title} on {split}")
    output.publish(subject, split, rows, table=table, lines=lines, meter=engine.meter, seeds=seeds)


def make_deciders(engine: Engine) -> dict[str, SecondAttempt]:
    """The recipe's rule, as AdaptMI and (where the world shows solutions) as AdaptMI+, and the oracle's."""
    from imprint.methods.in_context.adaptmi import AdaptSettings, SecondAttempt

    settings, tasks = engine.recipe.section("adaptmi", AdaptSettings), engine.world.tasks("train")

    def decider(**changes: str) -> SecondAttempt:
        changed = settings.model_copy(update=changes)
        return SecondAttempt(changed, engine.world, engine.library, tasks, engine.recipe.seed)

    made = {f"gated by {settings.scorer}": decider(show="all")}
    try:
        made[f"gated+ by {settings.scorer}"] = decider(show="missing")
    except RecipeError as error:
        say(f"note: no gated+: {error.problem}", stderr=True)
    made["oracle gate"] = decider(show="all", scorer="oracle")
    return made


def without_skills(subject: Subject, run: Path) -> Engine:
    """The last policy of a run that has withdrawn its skills, in the subject's world."""
    from imprint.engine import make_engine

    policy = Subject(str(run), None, [])
    return make_engine(subject.recipe.model_copy(update={"endpoint": None}), model=policy.model)


def play_ways(
    engine: Engine, deciders: Mapping[str, SecondAttempt], tasks: Sequence[Task], seed: int, title: str, quiet: bool
) -> dict[str, list[Episode]]:
    """The episodes of each way but the last, in the order of `tasks`; what several ways need is played once."""
    from imprint.measurement.conditions import WITH, WITHOUT

    engine.evaluator.forget()
    engine.evaluator.seed = seed
    played = play_conditions(engine, tasks, (WITH, WITHOUT), title, quiet)
    ways = {NEVER: played[WITHOUT.name], ALWAYS: played[WITH.name]}
    with playing(engine, f"{title}, second attempts", len(tasks), quiet) as advance:
        return ways | {name: one.attempt(engine.evaluator, ways[NEVER], advance) for name, one in deciders.items()}


def tried_again(first: Sequence[Episode], gated: Sequence[Episode], family: str = ALL) -> tuple[float, float]:
    """The share of first attempts that were made again: of those that had failed, and of those that had succeeded."""
    pairs = [(a, b) for a, b in zip(first, gated, strict=True) if family in (ALL, a.task.category)]
    failed = [a is not b for a, b in pairs if not a.success]
    solved = [a is not b for a, b in pairs if a.success]
    return sum(failed) / max(1, len(failed)), sum(solved) / max(1, len(solved))


def by_chance(ways: Mapping[str, Sequence[Episode]], name: str) -> float:
    """The success to expect of as many second attempts as `name` makes, with all skills, at tasks drawn at random."""
    never, always = (fmean(episode.success for episode in ways[way]) for way in (NEVER, ALWAYS))
    share = fmean(a is not b for a, b in zip(ways[NEVER], ways[name], strict=True))
    return never + share * (always - never)


def adaptive_table(rows: Sequence[Row], title: str) -> Table:
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
