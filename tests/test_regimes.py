"""The map of regimes: what is planned, its rows, its table and figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imprint.cli import app
from imprint.errors import RecipeError
from imprint.jobs.processes import run_all
from imprint.jobs.regimes import plan_regimes, read_regimes, write_regimes
from imprint.report.regimes_figure import regimes_plot, regimes_table
from test_compare import FakeTraining, recipe_file, row


def regime_file(folder: Path, text: str) -> Path:
    path = folder / "regimes.yaml"
    path.write_text(text)
    return path


def test_paths_in_a_regime_are_beside_its_file_and_names_stay_names(tmp_path: Path) -> None:
    (tmp_path / "bases" / "half").mkdir(parents=True)
    found = read_regimes(regime_file(tmp_path, "half: {model: bases/half, skills: household}\nplain: {env.seed: 3}\n"))
    assert found == {
        "half": [f'model="{tmp_path}/bases/half"', 'skills="household"'],
        "plain": ["env.seed=3"],
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "names no regime"),
        ("../up: {model: a}", "cannot name a regime"),
        ("a/b: {model: a}", "cannot name a regime"),
        ("1: {model: a}", "cannot name a regime"),
        ("half: bases/half", "no mapping"),
        ("half: {model: a\n", "broken YAML"),
        ("- half", "not a mapping"),
    ],
)
def test_a_file_that_names_no_regimes_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = regime_file(tmp_path, text)
    with pytest.raises(RecipeError, match=problem) as raised:
        read_regimes(path)
    assert str(path) in str(raised.value)


def test_each_regime_is_a_comparison_of_its_own(tmp_path: Path) -> None:
    recipes = [recipe_file(tmp_path, "a"), recipe_file(tmp_path, "base", steps=0)]
    planned = plan_regimes(recipes, [0, 1], tmp_path / "out", {"one": ["env.size=small"], "two": []}, ["threads=1"])
    assert [(name, [job.name for job in jobs]) for name, jobs in planned.items()] == [
        ("one", ["a-s0", "base-s0", "a-s1", "base-s1"]),
        ("two", ["a-s0", "base-s0", "a-s1", "base-s1"]),
    ]
    assert planned["one"][0].overrides == ("env.size=small", "threads=1")
    assert planned["one"][0].folder == tmp_path / "out" / "one" / "runs" / "a-s0"
    with pytest.raises(RecipeError, match="untrained base"):
        plan_regimes(recipes[:1], [0], tmp_path / "out", {"one": []})


def test_what_is_finished_is_in_rows_table_and_figure_and_what_is_not_is_named(tmp_path: Path) -> None:
    recipes = [recipe_file(tmp_path, "a"), recipe_file(tmp_path, "base", steps=0)]
    planned = plan_regimes(recipes, [0], tmp_path, {"one": [], "two": ["threads=1"]})
    assert write_regimes(tmp_path, planned) == []
    assert json.loads((tmp_path / "regimes.json").read_text()) == []
    jobs = [job for found in planned.values() for job in found]
    assert run_all(jobs[:3], lambda job: FakeTraining(job, successes=4), pause=0) == []
    (table,) = write_regimes(tmp_path, planned)
    rows = json.loads((tmp_path / "regimes.json").read_text())
    assert {(one["regime"], one["method"]) for one in rows} == {("one", "a"), ("one", "base"), ("two", "a")}
    assert table.rows[0][:2] == ("one", "40.0 [16.8, 68.7]") and table.rows[1][1] == "–"
    assert "Not finished: two/base-s0." in (tmp_path / "regimes.md").read_text()
    for ending in (".png", ".svg"):
        assert (tmp_path / "regimes").with_suffix(ending).stat().st_size > 1000


def regime_rows(regime: str, method: str, without: int, with_skills: int, seeds: int = 2) -> list[dict[str, Any]]:
    return [
        {**row(method, seed, arm, successes), "regime": regime}
        for seed in range(seeds)
        for arm, successes in (("without", without + (seed if method != "base" else 0)), ("with", with_skills))
    ]


ROWS = [
    *(one for method, without in (("a", 4), ("b", 2), ("base", 1)) for one in regime_rows("blank", method, without, 8)),
    *(one for method, without in (("a", 5), ("b", 7), ("base", 4)) for one in regime_rows("half", method, without, 9)),
]


def test_the_first_method_is_set_against_the_others_in_each_regime() -> None:
    table = regimes_table(ROWS, {"base"})
    assert table.header == ("regime", "base without", "base with", "a", "b", "a − b")
    blank, half = table.rows
    assert blank[0] == "blank" and blank[1].startswith("10.0 [") and blank[2].startswith("80.0 [")
    assert blank[3].startswith("45.0 [") and blank[5].startswith("+20.0 [")
    assert half[5].startswith("-20.0 [")


def test_the_figure_is_the_same_every_time_and_says_what_is_reached(tmp_path: Path) -> None:
    first, second = (regimes_plot(ROWS, {"base"}, tmp_path / name) for name in ("one", "two"))
    assert first[1].read_bytes() == second[1].read_bytes()
    text = first[1].read_text(encoding="utf-8")
    assert all(f"<!-- {what} -->" in text for what in ("45", "25", "55", "75", "a, without skills, %"))


def test_the_command_refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["regimes", str(tmp_path / "none.yaml"), "household/zero_shot"])
    assert result.exit_code == 2 and "none.yaml" in result.output
