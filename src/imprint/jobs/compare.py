"""Compare methods: train every recipe with every seed, and tabulate their tests with intervals.

    <out>/
      runs/<method>-s<seed>/      one run each, with <method>-s<seed>.log beside it
      compare.json                one row per (method, seed, split, family, condition), after every finished run; the
                                split is `test`, or `real` for what was played on real games
      table.md, compare.png, compare.svg

A method is called by its recipe's `name`. A stopped comparison resumes: finished runs are kept, an
interrupted one resumes from its checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imprint.envs.base import make_ready_world
from imprint.errors import CheckpointError, RecipeError, TrustError
from imprint.jobs.processes import REAL, Failure, Job, is_finished
from imprint.jobs.resume import resumption
from imprint.jobs.train import folder_name, run_name
from imprint.measurement.naming import ordered
from imprint.methods.base import check_method
from imprint.recipe import EnvConfig, Recipe, load_recipe
from imprint.report.compare_figure import compare_plot
from imprint.report.compare_table import Grid, Row, comparison_tables
from imprint.report.records import run_costs, run_evaluations
from imprint.runs.folder import is_run
from imprint.runs.run import Run, recipe_differences
from imprint.runs.trust import overridden
from imprint.security.vetting import Override, vet
from imprint.skills.library import load_library
from imprint.support.files import atomic_write

KEYS = ("split", "family", "arm", "episodes", "successes", "context_tokens", "turns", "env_steps")
OPTIONAL = ("text_tokens",)  # what older runs do not have; nor have they the costs of training (`run_costs`)
TEST, ALL = "test", "all"  # the split, and the family that is all of them


def plan(
    recipes: Sequence[Path],
    seeds: Sequence[int],
    out: Path,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> list[Job]:
    """One job per recipe and seed; all methods with the first seed come first.

    Raises:
        TrustError: a skill of a recipe is refused and not named in `trust`, or a name there is no recipe's skill.
        RecipeError: a recipe does not load or has no test, two have the same name, or a seed is given twice.
        CheckpointError: a run in `out` was made by another recipe (the keys are named), or `out` is a file.
        ImprintError: a world that is still to be played in cannot be had, or what it rests on is not there.
    """
    if out.exists() and not out.is_dir():
        raise CheckpointError("is a file, not a folder", where=out, hint="choose another --out")
    if not recipes or not seeds or len(set(seeds)) < len(seeds) or len(set(recipes)) < len(recipes):
        raise RecipeError(
            f"{len(recipes)} recipes with the seeds {list(seeds)}", hint="give one or more, each recipe and seed once"
        )
    owners: dict[str, Path] = {}
    worlds: dict[str, EnvConfig] = {}  # those that are still to be played in
    jobs = []
    for seed in seeds:
        for path in recipes:
            recipe = load_recipe(path, [*overrides, f"seed={seed}"])
            check_method(recipe)
            owner = owners.setdefault(folder_name(recipe.name), path)
            if owner != path:
                raise name_taken(recipe.name, path, owner)
            if not recipe.evaluation.test_tasks:
                raise RecipeError(
                    "there is no test to compare",
                    where=path,
                    key="evaluation.test_tasks",
                    hint="set it above 0",
                )
            folder = out / "runs" / run_name(recipe.name, seed)
            jobs.append(training_job(path, recipe, folder, overrides, trust))
            if not is_finished(jobs[-1]):
                worlds[recipe.env.model_dump_json()] = recipe.env
    for name in trust:
        if not any(name in job.trust for job in jobs):
            raise TrustError(f"no skill of any recipe is called {name!r}", key="--trust", hint="check the name")
    for env in worlds.values():
        make_ready_world(env.name, **env.options)
    return jobs


def name_taken(name: str, path: Path, owner: Path) -> RecipeError:
    """That the recipe in `path` has the name, or the folder, of that in `owner`."""
    told = f"the name {name!r} is that of {owner} too"
    return RecipeError(told, where=path, key="name", hint="give every recipe a name of its own")


def unlike_tests(jobs: Sequence[Job]) -> list[str]:
    """The differences between the recipes in what decides the test: their figures are not of the same tasks."""
    sections = (
        "env",
        "skills",
        "lenient",
        "context",
        "evaluation",
        "rollout",
        "model",
        "dtype",
        "max_context",
        "endpoint",
    )
    recipes: dict[str, dict[str, Any]] = {}
    for job in jobs:
        values = load_recipe(job.recipe, job.overrides).model_dump(mode="json")
        values["evaluation"] = {key: values["evaluation"][key] for key in ("test_tasks", "temperature")}
        values["rollout"] = {"max_new_tokens": values["rollout"]["max_new_tokens"]}
        values["endpoint"] = {key: (values["endpoint"] or {}).get(key) for key in ("base_url", "extra")}
        recipes[job.method] = {key: values[key] for key in sections}
    (first, values), *others = recipes.items()
    return [
        line.replace(" here, ", f" in {first}, ").replace(" given", f" in {name}")
        for name, other in others
        for line in recipe_differences(values, other)
    ]


def training_job(
    path: Path, recipe: Recipe, folder: Path, overrides: Sequence[str], trust: Sequence[str], name: str | None = None
) -> Job:
    """The job that trains `recipe`, the file `path` with `overrides` and a seed, in `folder`; `name` is its method's.

    Raises:
        ImprintError: `folder` holds another run, a folder that the recipe names is missing, or a skill is refused.
    """
    resumption(folder, recipe, length=False)
    if not is_run(folder):
        recipe.refuse_missing()
    trusted = _vetted(recipe, folder, trust)
    method = name or recipe.name
    return Job(path, method, recipe.seed, folder, recipe.steps, recipe.env_steps, tuple(overrides), trusted)


def _vetted(recipe: Recipe, folder: Path, trust: Sequence[str]) -> tuple[str, ...]:
    """The names of `trust` that are skills of this recipe, once none of its skills is refused."""
    library = load_library(recipe.skills, lenient=recipe.lenient)
    mine = tuple(name for name in trust if name in library)
    vet(library, recipe.trust, Override(mine, overridden(folder)))
    return mine


def collect(jobs: Sequence[Job], split: str = TEST) -> list[Row]:
    """The rows of `split` of every finished run, in the order of methods, seeds, families and conditions.

    Raises:
        CheckpointError: a finished run has no rows of its test.
    """
    methods = list(dict.fromkeys(job.method for job in jobs))
    in_order = sorted(jobs, key=lambda job: (methods.index(job.method), job.seed))
    return [row for job in in_order if is_finished(job) for row in _rows_of(job, split)]


def _rows_of(job: Job, split: str) -> list[Row]:
    run = Run.open(job.folder)
    # A test that was played again counts once.
    last = {(row.family, row.arm): row.to_record() for row in run_evaluations(run) if row.split == split}
    if split == TEST and not any(family == ALL for family, _ in last):
        raise CheckpointError(
            f"the run is finished but lacks its {split} figures",
            where=run.record_path("evaluations"),
            hint="remove the run's folder and compare again",
        )
    rank = {name: place for place, name in enumerate(ordered(arm for _, arm in last))}
    order = sorted(last, key=lambda key: (key[0] != ALL, key[0], rank[key[1]]))
    costs = run_costs(run)
    return [
        {
            "method": job.method,
            "seed": job.seed,
            **{key: last[place][key] for key in KEYS},
            **{key: last[place][key] for key in OPTIONAL if last[place][key] is not None},
            **costs,
        }
        for place in order
    ]


def earlier_rows(path: Path, jobs: Sequence[Job]) -> list[Row]:
    """The rows of an earlier comparison's compare.json, of other runs (method and seed) than those of `jobs`.

    Raises:
        CheckpointError: it cannot be read, or is no comparison.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise TypeError("not a list of rows")
        mine = {(job.method, job.seed) for job in jobs}
        return [row for row in rows if (row["method"], row["seed"]) not in mine and all(key in row for key in KEYS)]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"is no comparison: {error!r}", where=path, key="--beside", hint="give the compare.json of another one"
        ) from error


def test_rows(rows: Sequence[Row]) -> list[Row]:
    """Those of the test."""
    return [row for row in rows if row["split"] == TEST]


def _by_run(rows: Sequence[Row]) -> list[Row]:
    """Methods as they come first, each with its seeds in order."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    return sorted(rows, key=lambda row: (methods.index(row["method"]), row["seed"]))


def write_results(
    out: Path,
    jobs: Sequence[Job],
    failures: Sequence[Failure] = (),
    notes: Sequence[str] = (),
    beside: Sequence[Row] = (),
) -> list[Grid]:
    """Write compare.json, table.md and the figure from what is finished; gives the tables.

    Rows of real games, where they were played, follow those of the test; methods of an earlier comparison (`beside`)
    come first in each.
    """
    rows, real = (
        _by_run([*(row for row in beside if row["split"] == split), *collect(jobs, split)]) for split in (TEST, REAL)
    )
    atomic_write(out / "compare.json", json.dumps([*rows, *real], indent=1) + "\n")
    missing = [job.name for job in jobs if not is_finished(job)]
    lines = [f"Not finished: {', '.join(missing)}." if missing else "", *notes]
    lines += [f"Failed: {failure.job.name} (status {failure.status})." for failure in failures]
    tables = [*comparison_tables(rows), *comparison_tables(real, "real games")]
    text = "\n\n".join(["# Comparison", *filter(None, lines), *(table.markdown() for table in tables)])
    atomic_write(out / "table.md", text.rstrip() + "\n")
    if rows:
        compare_plot(rows, out / "compare")
    return tables
