"""Success against environment steps: what is trained for it, its rows, its table and figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imprint.errors import RecipeError
from imprint.jobs.compare import collect, plan
from imprint.jobs.efficiency import plan_budgets, read_budgets, write_efficiency
from imprint.jobs.processes import run_all
from imprint.report.compare_figure import interval_over_seeds
from imprint.report.efficiency_figure import efficiency_plot, efficiency_points, efficiency_table
from test_compare import FakeTraining, recipe_file, row


def point_row(method: str, seed: int, successes: int, steps: int, budget: int | None = None) -> dict[str, Any]:
    found = {**row(method, seed, "without", successes), "env_steps": steps}
    return found if budget is None else {**found, "budget": budget}


ROWS = [
    *(point_row("rl", seed, 6 + seed, 40_100 + 100 * seed) for seed in range(3)),
    *(point_row("rl", seed, 3 + seed, 5_050, 5_000) for seed in range(3)),
    *(point_row("rl", 0, 1, 2_520, 2_500) for _ in range(1)),
    *(point_row("base", seed, 2, 0) for seed in range(3)),
    {**row("rl", 0, "with", 9), "budget": 2_500, "env_steps": 2_520},
    {**row("rl", 0, "without", 9, family="heat"), "budget": 2_500, "env_steps": 2_520},
]


def test_each_budget_is_a_comparison_of_its_own_of_the_recipes_that_train(tmp_path: Path) -> None:
    recipes = [recipe_file(tmp_path, "a"), recipe_file(tmp_path, "b"), recipe_file(tmp_path, "base", steps=0)]
    planned = plan_budgets(recipes, [0, 1], tmp_path / "out", read_budgets("5000, 2500"), ["device=cpu"])
    assert list(planned) == [2500, 5000]
    jobs = planned[2500]
    assert [job.name for job in jobs] == ["a-s0", "b-s0", "a-s1", "b-s1"]
    assert {(job.env_steps, job.steps, job.overrides) for job in jobs} == {(2500, 4, ("device=cpu", "env_steps=2500"))}
    assert jobs[0].folder == tmp_path / "out" / "efficiency" / "2500" / "runs" / "a-s0"
    assert plan_budgets(recipes, [0], tmp_path / "out", []) == {}
    with pytest.raises(RecipeError, match="none of the recipes trains"):
        plan_budgets(recipes[2:], [0], tmp_path / "out", [2500])


@pytest.mark.parametrize("text", ["", "many", "0,5", "-3", "1.5"])
def test_budgets_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="--env-steps"):
        read_budgets(text)


def test_its_rows_have_the_keys_of_the_comparison_and_their_budget(tmp_path: Path) -> None:
    recipes = [recipe_file(tmp_path, "a"), recipe_file(tmp_path, "b")]
    compared = plan(recipes, [0], tmp_path)
    planned = plan_budgets(recipes, [0], tmp_path, [2500, 5000])
    assert write_efficiency(tmp_path, planned) == [] and json.loads((tmp_path / "efficiency.json").read_text()) == []
    started: list[str] = []

    def start(job: Any) -> FakeTraining:
        started.append(str(job.folder))
        return FakeTraining(job, successes=4)

    for jobs in (compared, *planned.values(), *planned.values()):  # the second time there is nothing left to do
        assert run_all(jobs, start, pause=0) == []
    assert len(started) == len(set(started)) == 6
    (table,) = write_efficiency(tmp_path, planned, collect(compared))
    rows = json.loads((tmp_path / "efficiency.json").read_text())
    assert {tuple(one) for one in rows} == {(*collect(compared)[0], "budget")}
    assert [(one["method"], one["budget"]) for one in rows if one["arm"] == "without"] == [
        ("a", 2500),
        ("b", 2500),
        ("a", 5000),
        ("b", 5000),
    ]
    assert table.header == ("method", "2,500", "5,000", "as in its recipe") and table.rows[0][1].startswith("40.0 [")
    assert "Sample efficiency" in (tmp_path / "efficiency.md").read_text()
    for ending in (".png", ".svg"):
        assert (tmp_path / "efficiency").with_suffix(ending).stat().st_size > 1000


def test_points_are_means_over_seeds_without_skills() -> None:
    points = efficiency_points(ROWS)
    assert [(one.budget, one.env_steps, one.seeds) for one in points["rl"]] == [
        (2500, 2520, 1),
        (5000, 5050, 3),
        (None, 40200, 3),
    ]
    assert [one.success for one in points["rl"]] == pytest.approx([0.1, 0.4, 0.7])
    middle = points["rl"][1]
    assert (middle.success, middle.low, middle.high) == interval_over_seeds([3, 4, 5], [10, 10, 10])
    table = efficiency_table(points)
    assert [cells[0] for cells in table.rows] == ["rl", "base"]
    assert table.rows[1][1:3] == ("–", "–") and table.rows[1][3].startswith("20.0 [")


def test_the_figure_is_the_same_every_time_and_names_every_method(tmp_path: Path) -> None:
    many = [{**one, "method": f"{one['method']}{copy}"} for copy in range(10) for one in ROWS]
    points = efficiency_points(many)
    first, second = (efficiency_plot(points, tmp_path / name) for name in ("one", "two"))
    assert first[1].read_bytes() == second[1].read_bytes()
    text = first[1].read_text(encoding="utf-8")
    assert all(f"<!-- 70% rl{copy} -->" in text and f"<!-- 20% base{copy} -->" in text for copy in range(10))
