"""Tune recipes: random search over a declared space, decided on validation tasks; no test game is played.

    <out>/                           of several recipes: <out>/<recipe's name>/
      runs/<name>-trial-000-s1000/   one run each, with <name>-trial-000-s1000.log beside it
      trials.json                    the space, and every trial: its settings, success and costs
      best.yaml                      the recipe with the settings of the best trial

A space is a YAML file of recipe keys, each with its values or its range; or a folder of such files, one for a recipe:

    learner.lr: {low: 1.0e-4, high: 3.0e-3, log: true}      # two whole numbers give whole numbers
    imitation.epochs: [2, 4, 8]

What a trial draws follows from the space, its number and the search's seed alone: a stopped search resumes with the
same command, and one with more trials begins with the same ones.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from imprint.errors import CheckpointError, RecipeError
from imprint.jobs.compare import name_taken, training_job
from imprint.jobs.processes import Job, is_finished
from imprint.jobs.train import folder_name, run_name
from imprint.measurement.conditions import WITHOUT
from imprint.methods.base import check_method
from imprint.recipe import load_recipe, validated
from imprint.report.compare_table import ALL, Grid
from imprint.report.records import run_costs, run_evaluations
from imprint.runs.run import Run
from imprint.support.files import atomic_write
from imprint.support.seeds import derive_seed
from imprint.support.yaml import read_yaml_mapping

__all__ = ["Range", "Search", "Trial", "drawn", "plan_trials", "read_searches", "read_space", "write_trials"]

Space = Mapping[str, "Range | list[Any]"]
DIGITS = 3  # that a drawn number keeps


class Range(BaseModel):
    """Numbers from `low` to `high`: uniform, or with `log` uniform in their logarithm."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: int | float
    high: int | float
    log: bool = False

    def draw(self, rng: random.Random) -> int | float:
        """A number of the range, with three digits; a whole one where both ends are."""
        if isinstance(self.low, int) and isinstance(self.high, int) and not self.log:
            return rng.randint(self.low, self.high)
        if self.log:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = rng.uniform(self.low, self.high)
        value = min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)
        return round(value) if isinstance(self.low, int) and isinstance(self.high, int) else value


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of the space, and a job for each seed that it is trained with."""

    number: int
    settings: dict[str, Any]
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched: a recipe with overrides, a space, the seed of the draws."""

    recipe: Path
    space: Space
    overrides: tuple[str, ...] = ()
    seed: int = 0

    @property
    def name(self) -> str:
        """The recipe's."""
        return load_recipe(self.recipe, self.overrides).name

    @property
    def folder(self) -> str:
        """What its folder is called beside those of other recipes."""
        return folder_name(self.name)


def read_searches(recipes: Sequence[Path], space: Path, overrides: Sequence[str] = (), seed: int = 0) -> list[Search]:
    """A search for each recipe, over the space in the file `space`, or in NAME.yaml of the folder `space`.

    Of several recipes, those that train nothing are left out.

    Raises:
        RecipeError: two recipes have one name, the folder has no space for a recipe, or a file cannot be read.
    """
    searches: dict[str, Search] = {}
    for path in recipes:
        recipe = load_recipe(path, overrides)
        if not recipe.steps and len(recipes) > 1:
            continue
        folder = folder_name(recipe.name)
        if folder in searches:
            raise name_taken(recipe.name, path, searches[folder].recipe)
        file = space / f"{folder}.yaml" if space.is_dir() else space
        if space.is_dir() and not file.is_file():
            told = f"the folder has no space for the recipe {recipe.name!r}"
            raise RecipeError(told, where=space, key="--space", hint=f"add {file.name}")
        searches[folder] = Search(path, read_space(file), tuple(overrides), seed)
    return list(searches.values())


def read_space(path: Path) -> Space:
    """The keys of a space's file, each with its values or its range.

    Raises:
        RecipeError: it cannot be read, is empty, or a key has neither (the key is named).
    """
    space: dict[str, Range | list[Any]] = {}
    for key, value in read_yaml_mapping(path).items():
        if isinstance(value, Mapping):
            found = space[key] = validated(Range, value, path, section=key)
            if not (0 if found.log else -math.inf) < found.low < found.high:
                raise RecipeError(
                    f"from {found.low} to {found.high} is no range",
                    where=path,
                    key=key,
                    hint="give the lower end first; of a log range it is above 0",
                )
        elif isinstance(value, list) and value:
            space[key] = value
        else:
            hint = "give a list of values, or {low: ..., high: ..., log: true}"
            raise RecipeError(f"{value!r} is nothing to choose from", where=path, key=key, hint=hint)
    if not space:
        raise RecipeError("there is no key to tune", where=path, hint="add one, e.g. `learner.epochs: [1, 2]`")
    return space


def drawn(space: Space, seed: int, number: int) -> dict[str, Any]:
    """The settings of a trial, key by key."""
    settings = {}
    for key, choice in space.items():
        rng = random.Random(derive_seed(seed, "trial", number, key))
        settings[key] = choice.draw(rng) if isinstance(choice, Range) else rng.choice(choice)
    return settings


def _changes(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings as `--set` takes them."""
    dumped = {key: yaml.safe_dump(value, default_flow_style=True, width=10**6) for key, value in settings.items()}
    return tuple(f"{key}={text.removesuffix('...' + chr(10)).strip()}" for key, text in dumped.items())


def plan_trials(search: Search, trials: int, seeds: Sequence[int], out: Path, trust: Sequence[str] = ()) -> list[Trial]:
    """The trials and their jobs; each run validates and plays no test.

    Raises:
        RecipeError: a trial's recipe does not load (the key is named), or it trains nothing.
        CheckpointError: a run in `out` was made by another recipe or space.
        TrustError: a skill of the recipe is refused and not named in `trust`.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise RecipeError(f"the seeds are {list(seeds)}", key="--seeds", hint="give one or more, each once")
    found = []
    name = search.name
    for number in range(trials):
        settings = drawn(search.space, search.seed, number)
        changes = (*search.overrides, *_changes(settings), "evaluation.test_tasks=0")
        jobs = []
        for seed in seeds:
            recipe = load_recipe(search.recipe, [*changes, f"seed={seed}"])
            check_method(recipe)
            if not recipe.steps:
                raise RecipeError("it trains nothing", where=search.recipe, key="steps", hint="set it above 0")
            folder = out / "runs" / run_name(f"{name}-trial-{number:03d}", seed)
            jobs.append(training_job(search.recipe, recipe, folder, changes, trust, name=f"{name} {number}"))
        found.append(Trial(number, settings, tuple(jobs)))
    return found


def _result(job: Job) -> dict[str, Any]:
    """Validation success without skills of a finished run's last policy, and what its training took."""
    run = Run.open(job.folder)
    rows = [
        row for row in run_evaluations(run) if (row.split, row.arm, row.family) == ("validation", WITHOUT.name, ALL)
    ]
    if not rows:
        raise CheckpointError(
            "the run is finished and was not validated without skills",
            where=run.record_path("evaluations"),
            hint="tune a method that validates the condition `without`",
        )
    last = max(rows, key=lambda row: row.step)
    numbers = {"episodes": last.episodes, "successes": last.successes, "env_steps": last.env_steps}
    return {"seed": job.seed, "success": last.success, **numbers, **run_costs(run)}


def write_trials(search: Search, trials: Sequence[Trial], out: Path) -> Grid:
    """Write trials.json, and best.yaml once a trial is finished; gives the trials as a table, the best first.

    A trial is finished when it is with every seed; of equal ones the first is the best.
    """
    name, rows = search.name, list[dict[str, Any]]()
    for trial in trials:
        if all(is_finished(job) for job in trial.jobs):
            results = [_result(job) for job in trial.jobs]
            success = fmean(result["success"] for result in results)
            rows.append({"trial": trial.number, "settings": trial.settings, "success": success, "runs": results})
    ranked = sorted(rows, key=lambda row: -row["success"])
    best = ranked[0] if ranked else None
    record = {
        "recipe": name,
        "space": {key: one.model_dump() if isinstance(one, Range) else one for key, one in search.space.items()},
        "seed": search.seed,
        "seeds": [job.seed for job in trials[0].jobs],
        "planned": len(trials),
        "best": None if best is None else best["trial"],
        "trials": rows,
    }
    atomic_write(out / "trials.json", json.dumps(record, indent=1) + "\n")
    if best is not None:
        recipe = load_recipe(search.recipe, [*search.overrides, *_changes(best["settings"])])
        head = (
            f"# Trial {best['trial']}, the best of {len(rows)}: {best['success']:.1%} without skills in validation.\n"
        )
        atomic_write(out / "best.yaml", head + recipe.to_yaml())
    body = [
        (str(row["trial"]), f"{100 * row['success']:.1f}", *(str(row["settings"][key]) for key in search.space))
        for row in ranked
    ]
    tasks = " or ".join(sorted({str(result["episodes"]) for row in rows for result in row["runs"]})) or "no"
    note = (
        f"Success without skills on {tasks} validation tasks at the end of training: mean over seeds "
        f"({', '.join(str(job.seed) for job in trials[0].jobs)}). The best of several is likely to be lower elsewhere."
    )
    return Grid(f"Trials of {name}", ("trial", "without skills, %", *search.space), tuple(body), note)
