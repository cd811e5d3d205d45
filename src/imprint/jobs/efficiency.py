"""The recipes of a comparison at several numbers of environment steps: how success grows with what is played.

    <out>/
      efficiency/<N>/runs/<method>-s<seed>/    one run each, trained with `env_steps: <N>`
      efficiency.json                          rows as in compare.json, each with `budget`: the steps asked for
      efficiency.md, efficiency.png, efficiency.svg       with the rows of the comparison itself

`steps` stays what it is in the recipe: the number of parts in which schedules and intervals are measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from imprint.errors import RecipeError
from imprint.jobs.compare import collect, plan
from imprint.jobs.processes import Job
from imprint.recipe import load_recipe
from imprint.report.compare_table import Grid, Row
from imprint.report.efficiency_figure import efficiency_plot, efficiency_points, efficiency_table
from imprint.support.files import atomic_write

__all__ = ["plan_budgets", "read_budgets", "write_efficiency"]

NAME = "efficiency"


def read_budgets(text: str) -> list[int]:
    """`2500,5000` as numbers of environment steps, the smallest first.

    Raises:
        RecipeError: it reads otherwise.
    """
    try:
        budgets = sorted({int(part) for part in text.split(",")})
    except ValueError:
        budgets = []
    if not budgets or budgets[0] < 1:
        raise RecipeError(f"cannot read {text!r}", key="--env-steps", hint="write 2500,5000,10000")
    return budgets


def plan_budgets(
    recipes: Sequence[Path],
    seeds: Sequence[int],
    out: Path,
    budgets: Sequence[int],
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> dict[int, list[Job]]:
    """The jobs of each budget; recipes that train nothing have none.

    Raises:
        ImprintError: as `plan` does.
    """
    if not budgets:
        return {}
    training = [path for path in recipes if load_recipe(path, overrides).steps]
    if not training:
        raise RecipeError("none of the recipes trains", key="--env-steps", hint="leave it out")
    return {
        budget: plan(training, seeds, out / NAME / str(budget), [*overrides, f"env_steps={budget}"], trust)
        for budget in budgets
    }


def write_efficiency(out: Path, planned: Mapping[int, Sequence[Job]], compared: Sequence[Row] = ()) -> list[Grid]:
    """Write efficiency.json, its table and figure from what is finished; gives the table.

    Args:
        compared: the rows of the comparison itself, which table and figure show too.
    """
    rows = [{**row, "budget": budget} for budget, jobs in planned.items() for row in collect(jobs)]
    atomic_write(out / f"{NAME}.json", json.dumps(rows, indent=1) + "\n")
    if not rows:
        return []
    points = efficiency_points([*compared, *rows])
    table = efficiency_table(points)
    atomic_write(out / f"{NAME}.md", table.markdown())
    efficiency_plot(points, out / NAME)
    return [table]
