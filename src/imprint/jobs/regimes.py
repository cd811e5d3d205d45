"""The same recipes in several regimes: how the difference between methods depends on what the base knows and reads.

A regime is a set of changes to every recipe, in a YAML file (its paths are relative to the file):

    blank:        {model: bases/known-0}
    half-known:   {model: bases/known-50}
    other-words:  {model: bases/known-0, skills: skills/other-words}

    <out>/
      <regime>/runs/<method>-s<seed>/    one run each
      regimes.json                       rows as in compare.json, each with its `regime`
      regimes.md, regimes.png, regimes.svg

Where a regime lies is measured, not declared: by the untrained base, of a recipe without steps among those compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imprint.errors import RecipeError
from imprint.jobs.compare import collect, plan
from imprint.jobs.processes import Job, is_finished
from imprint.recipe import load_recipe
from imprint.report.compare_table import Grid
from imprint.report.regimes_figure import regimes_plot, regimes_table
from imprint.support.files import atomic_write
from imprint.support.yaml import read_yaml_mapping

__all__ = ["plan_regimes", "read_regimes", "write_regimes"]

NAME = "regimes"
PLAIN = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def read_regimes(path: Path) -> dict[str, list[str]]:
    """The changes of each regime, as `--set` takes them.

    Raises:
        RecipeError: the file cannot be read, a name cannot name a folder, or a regime is no mapping.
    """
    regimes = {}
    for name, values in read_yaml_mapping(path).items():
        if not isinstance(name, str) or not PLAIN.fullmatch(name):
            raise RecipeError(
                f"{name!r} cannot name a regime", where=path, hint="use small letters, digits, `-`, `_` and `.`"
            )
        if not isinstance(values, dict):
            raise RecipeError("is no mapping of recipe keys", where=path, key=name, hint="write NAME: {model: FOLDER}")
        regimes[name] = [f"{key}={_text(value, path.parent)}" for key, value in values.items()]
    if not regimes:
        raise RecipeError("names no regime", where=path, hint="write NAME: {model: FOLDER}")
    return regimes


def _text(value: Any, folder: Path) -> str:
    """A value as `--set` reads it; a path beside the file as it is from here."""
    if isinstance(value, str) and (folder / value).exists():
        value = str(folder / value)
    return json.dumps(value)


def plan_regimes(
    recipes: Sequence[Path],
    seeds: Sequence[int],
    out: Path,
    regimes: Mapping[str, Sequence[str]],
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> dict[str, list[Job]]:
    """The jobs of each regime.

    Raises:
        ImprintError: as `plan` does, for any regime.
        RecipeError: no recipe shows the untrained base.
    """
    if all(load_recipe(path, overrides).steps for path in recipes):
        raise RecipeError(
            "no recipe shows the untrained base", key="steps", hint="add one without steps (method: zero_shot)"
        )
    return {name: plan(recipes, seeds, out / name, [*changes, *overrides], trust) for name, changes in regimes.items()}


def write_regimes(out: Path, planned: Mapping[str, Sequence[Job]]) -> list[Grid]:
    """Write regimes.json, its table and figure from what is finished; gives the table."""
    rows = [{**row, "regime": name} for name, jobs in planned.items() for row in collect(jobs)]
    atomic_write(out / f"{NAME}.json", json.dumps(rows, indent=1) + "\n")
    untrained = {job.method for jobs in planned.values() for job in jobs if not job.steps}
    tables = [regimes_table(rows, untrained)] if rows else []
    missing = [f"{name}/{job.name}" for name, jobs in planned.items() for job in jobs if not is_finished(job)]
    lines = [f"Not finished: {', '.join(missing)}."] if missing else []
    text = "\n\n".join(["# Regimes", *lines, *(table.markdown() for table in tables)])
    atomic_write(out / f"{NAME}.md", text.rstrip() + "\n")
    if rows:
        regimes_plot(rows, untrained, out / NAME)
    return tables
