"""`imprint skills helpfulness`: which skills help a model, on which tasks, at what token price."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from imprint.commands.console import ALL, EndpointUrl, Sets, Trusted, console, grid, say
from imprint.commands.playing import REAL_SPLIT, on_games, parse_seeds, playing, spread
from imprint.commands.subject import Subject

if TYPE_CHECKING:
    from imprint.engine.base import Engine
    from imprint.measurement.evaluate import Pair
    from imprint.measurement.helpfulness import Kind
    from imprint.measurement.skill_value import SkillValue
    from imprint.types import Task


NOTE = """\
points: success with - without, paired; each interval is by itself, with no correction for their number.
tokens/turn: what the skill text adds to every prompt; /episode: what an episode reads more in all (or less, where the
skill makes it shorter)."""


class Compared(StrEnum):
    """What a skill is compared with."""

    LEAVE_ONE_OUT = "leave_one_out"
    SKILL_VS_NONE = "skill_vs_none"
    ALL_VS_NONE = "all_vs_none"


def helpfulness(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_RUN",
            help="A run's folder, a model's folder, `imprint-tiny`, a hub name, or a served model's name.",
        ),
    ],
    skills: Annotated[
        str | None, typer.Option(help="A folder of SKILL.md folders.  [default: the recipe's]", show_default=False)
    ] = None,
    endpoint: EndpointUrl = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="World, skills and settings.  [default: the run's]", show_default=False),
    ] = None,
    kind: Annotated[
        Compared,
        typer.Option(
            help="leave_one_out: all skills, against all but this one; skill_vs_none: this one alone, against none; "
            "all_vs_none: all, against none, on this one's tasks."
        ),
    ] = Compared.LEAVE_ONE_OUT,
    split: Annotated[
        str | None,
        typer.Option(help=f"Which tasks.  [default: validation; with --games {REAL_SPLIT}]", show_default=False),
    ] = None,
    tasks: Annotated[
        int | None,
        typer.Option(min=1, help="How many.  [default: the recipe's evaluation.tasks]", show_default=False),
    ] = None,
    games: Annotated[
        Path | None,
        typer.Option(
            help="Stored games: `alfworld`, a folder in its layout (real or made), or a table.", show_default=False
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="Each task is played once per seed, e.g. 0-2.  [default: the recipe's]", show_default=False),
    ] = None,
    changes: Sets = None,
    trust: Trusted = None,
    output: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the figures to this file too.", show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure what each skill does for a model: success with it and without, and the tokens it costs.

    Both conditions play the same tasks with the same seeds; an episode that several share is played once.

    Example: `imprint skills helpfulness imprint-tiny --recipe demo --kind skill_vs_none`

    A served model: `imprint skills helpfulness qwen3-8b --skills my-skills --endpoint http://localhost:8000/v1`
    """
    overrides = [*(changes or []), *([] if skills is None else [f"skills={json.dumps(skills)}"])]
    subject = Subject(model, recipe, on_games(games, overrides), endpoint, trust)
    chosen_seeds = [subject.recipe.seed] if seeds is None else parse_seeds(seeds)
    from imprint.engine import make_engine

    engine = make_engine(subject.recipe, subject.model, subject.trust)
    chosen_split = split or ("validation" if games is None else REAL_SPLIT)
    chosen = spread(engine, chosen_split, tasks or subject.recipe.evaluation.tasks)
    found = measure(engine, chosen, chosen_seeds, kind.value, subject.title, quiet)
    counts = f"{len(chosen)} tasks, {len(chosen_seeds)} seed{'s' if len(chosen_seeds) > 1 else ''}"
    for table in value_tables(found, f"{subject.title} on {chosen_split}: {kind.value} ({counts})"):
        console().print(table)
    say(NOTE)
    if output is not None:
        content = {
            "model": subject.model,
            "split": chosen_split,
            "kind": kind.value,
            "seeds": chosen_seeds,
            "tasks": [task.id for task in chosen],
            "recipe": subject.recipe.model_dump(mode="json"),
            "skills": [value.to_record() for value in found],
            "usage": None if engine.meter is None else engine.meter.to_record(),
        }
        _write(output, content)


def measure(
    engine: Engine, tasks: Sequence[Task], seeds: Sequence[int], kind: Kind, title: str, quiet: bool
) -> list[SkillValue]:
    """The value of each skill in all, and by family where it serves several; skills in the library's order."""
    from imprint.measurement.evaluate import Evaluator
    from imprint.measurement.skill_value import skill_values

    names = engine.library.names
    pairs: dict[str, list[Pair]] = {name: [] for name in names}
    evaluators = [Evaluator(engine.rollout, engine.library, engine.evaluator.sampling, seed) for seed in seeds]
    wanted = engine.evaluator.wanted_pairs(tasks, names, names, kind)
    distinct = {(task.id, shown.key) for group in wanted.values() for task, *both in group for shown in both}
    with playing(engine, title, len(distinct) * len(seeds), quiet) as advance:
        for evaluator in evaluators:
            for name, found in evaluator.pairs(tasks, names, names, kind, advance).items():
                pairs[name] += found
    return skill_values(pairs, kind, engine.recipe.endpoint)


def value_tables(found: Sequence[SkillValue], title: str) -> list[Table]:
    """One line per skill; then one per family, for the skills that serve several."""
    priced = any(value.episode_cost is not None for value in found)
    header = ["pairs", "with / without", "points [95%]", "verdict", "tokens/turn", "/episode"]
    header += ["cost/episode"] if priced else []
    skills = [[value.skill, *_figures(value, priced)] for value in found if value.family == ALL]
    families = [
        [value.skill, value.family.replace("_", " "), *_figures(value, priced)]
        for value in found
        if value.family != ALL
    ]
    tables = [grid(title, ["skill", *header], skills)]
    return tables + ([grid("By family", ["skill", "tasks", *header], families, words=2)] if families else [])


def _figures(value: SkillValue, priced: bool) -> list[object]:
    evidence, n = value.evidence, max(1, value.evidence.n)
    rates = " / ".join(f"{count / n:.0%}" for count in (evidence.with_successes, evidence.without_successes))
    tokens = [_signed(value.page_tokens, ",.0f"), _signed(value.episode_tokens, ",.0f")]
    cost = [_signed(value.episode_cost, ".2g")] if priced else []
    return [evidence.n, rates, _points(value), value.verdict, *tokens, *cost]


def _points(value: SkillValue) -> str:
    if not value.evidence.n:
        return "–"
    low, high = value.evidence.interval
    return f"{100 * value.evidence.helpfulness:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]"


def _signed(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:+{form}}"


def _write(path: Path, content: dict[str, Any]) -> None:
    from imprint.support.files import atomic_write

    atomic_write(path, json.dumps(content, indent=1) + "\n")
    say(f"figures: {path}")
