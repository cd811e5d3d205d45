"""Tuning: what a space may be, what is drawn from it, and how the best trial is found on validation tasks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from imprint.errors import CheckpointError, RecipeError
from imprint.jobs.processes import Job, run_all
from imprint.jobs.tune import Range, Search, drawn, plan_trials, read_searches, read_space, write_trials
from imprint.recipe import load_recipe
from imprint.runs.run import Run
from test_cli import call, model, values
from test_compare import FakeTraining, evaluation, recipe_file

__all__ = ["model"]  # a fixture

SPACE = {"learner.lr": {"low": 1.0e-4, "high": 1.0e-2, "log": True}, "learner.epochs": [1, 2, 3]}


def space_file(folder: Path, **more: Any) -> Path:
    (folder / "space.yaml").write_text(yaml.safe_dump({**SPACE, **more}))
    return folder / "space.yaml"


def search(folder: Path, **more: Any) -> Search:
    path = recipe_file(folder, "a", method="grpo", **more)
    return Search(path, read_space(space_file(folder)), ("device=cpu",))


class FakeTrial(FakeTraining):
    """A training that validates; success without skills is as many tenths as its learning rate has hundredths."""

    def poll(self) -> int | None:
        recipe = load_recipe(self.job.recipe, [*self.job.overrides, f"seed={self.job.seed}"])
        assert not recipe.evaluation.test_tasks
        won = min(9, round(1000 * recipe.learner.lr))
        with Run.create(self.job.folder, recipe.to_yaml(), resume=True) as run:
            early = {**evaluation("validation", "without", "all", 10), "step": 1}
            run.append("evaluations", [early, evaluation("validation", "with", "all", 10)])
            run.append("evaluations", [evaluation("validation", "without", "all", won)])
            run.append("metrics", [{"step": 4, "learner/optimizer_steps": 8, "learner/tokens": 100}])
            run.set_status("finished", 4)
        return 0


# --- the space ---


@given(seed=st.integers(0, 2**32), number=st.integers(0, 500))
def test_what_is_drawn_is_in_the_space_and_the_same_every_time(seed: int, number: int) -> None:
    space = {
        "a": Range(low=1e-5, high=0.3, log=True),
        "b": Range(low=2, high=7),
        "c": ["x", None],
        "d": Range(low=-1, high=0.5),
    }
    settings = drawn(space, seed, number)
    assert settings == drawn(space, seed, number) and list(settings) == list(space)
    assert 1e-5 <= settings["a"] <= 0.3 and settings["a"] == float(f"{settings['a']:.3g}")
    assert settings["b"] in range(2, 8) and isinstance(settings["b"], int)
    assert settings["c"] in ("x", None) and -1 <= settings["d"] <= 0.5


def test_a_log_range_gives_each_factor_of_ten_its_share() -> None:
    values = [drawn({"a": Range(low=1e-4, high=1e-1, log=True)}, 0, number)["a"] for number in range(3000)]
    shares = [sum(10.0**-power / 10 <= value < 10.0**-power for value in values) / 3000 for power in (3, 2, 1)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.04)
    whole = [drawn({"a": Range(low=1, high=100, log=True)}, 0, number)["a"] for number in range(1000)]
    assert all(isinstance(value, int) for value in whole) and 0.4 < sum(value <= 10 for value in whole) / 1000 < 0.62


def test_a_key_that_is_added_changes_no_draw_of_the_others() -> None:
    assert drawn({"a": [1, 2, 3]}, 0, 4)["a"] == drawn({"b": Range(low=0, high=1), "a": [1, 2, 3]}, 0, 4)["a"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "no key to tune"),
        ({"learner.lr": 0.1}, "learner.lr: 0.1 is nothing to choose from"),
        ({"learner.lr": []}, "nothing to choose from"),
        ({"learner.lr": {"low": 2, "high": 1}}, "is no range"),
        ({"learner.lr": {"low": 0, "high": 1, "log": True}}, "is no range"),
        ({"learner.lr": {"low": 0, "hi": 1}}, r"learner\.lr\.hi"),
    ],
)
def test_a_space_that_cannot_be_is_refused_by_key(content: dict[str, Any], told: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match=told):
        read_space(tmp_path / "space.yaml")


# --- the search ---


def test_each_trial_is_trained_with_every_seed_and_no_test(tmp_path: Path) -> None:
    trials = plan_trials(search(tmp_path), 3, [1000, 1001], tmp_path / "out")
    names = [job.name for trial in trials for job in trial.jobs]
    assert names[:3] == ["a-trial-000-s1000", "a-trial-000-s1001", "a-trial-001-s1000"] and len(names) == 6
    for trial in trials:
        recipe = load_recipe(tmp_path / "a.yaml", trial.jobs[0].overrides)
        assert trial.settings == {"learner.lr": recipe.learner.lr, "learner.epochs": recipe.learner.epochs}
        assert recipe.evaluation.test_tasks == 0 and recipe.device == "cpu"
    longer = plan_trials(search(tmp_path), 5, [1000, 1001], tmp_path / "out")
    assert [trial.settings for trial in longer[:3]] == [trial.settings for trial in trials]
    with pytest.raises(RecipeError, match="each once"):
        plan_trials(search(tmp_path), 3, [1, 1], tmp_path / "out")
    with pytest.raises(RecipeError, match="trains nothing"):
        plan_trials(search(tmp_path, steps=0), 3, [1], tmp_path / "out")
    wrong = Search(tmp_path / "a.yaml", {"learner.lrr": [1, 2]})
    with pytest.raises(RecipeError, match=r"learner\.lrr: unknown key"):
        plan_trials(wrong, 1, [1], tmp_path / "out")


def test_the_best_trial_is_that_with_the_most_success_without_skills_at_the_end(tmp_path: Path) -> None:
    searched, out = search(tmp_path), tmp_path / "out"
    trials = plan_trials(searched, 4, [1000, 1001], out)
    assert write_trials(searched, trials, out).rows == () and not (out / "best.yaml").exists()
    jobs = [job for trial in trials for job in trial.jobs]
    assert run_all(jobs[:5], FakeTrial, pause=0) == []  # stopped in the third trial
    assert len(write_trials(searched, trials, out).rows) == 2
    started: list[Job] = []

    def start(job: Job) -> FakeTrial:
        started.append(job)
        return FakeTrial(job)

    assert run_all(jobs, start, pause=0) == [] and started == jobs[5:]
    table = write_trials(searched, trials, out)
    record = json.loads((out / "trials.json").read_text())
    assert record["space"] == {**SPACE} and record["seeds"] == [1000, 1001] and record["planned"] == 4
    success = {row["trial"]: row["success"] for row in record["trials"]}
    expected = {trial.number: min(9, round(1000 * trial.settings["learner.lr"])) / 10 for trial in trials}
    assert success == pytest.approx(expected)
    best = max(expected, key=lambda number: (expected[number], -number))
    assert record["best"] == best and table.rows[0][0] == str(best)
    assert record["trials"][0]["runs"][0]["optimizer_steps"] == 8
    recipe, given = load_recipe(out / "best.yaml"), load_recipe(tmp_path / "a.yaml")
    assert recipe.learner.lr == trials[best].settings["learner.lr"]
    assert (recipe.evaluation, recipe.name, recipe.seed) == (given.evaluation, "a", 0)  # its test is there again


def test_another_space_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    trials = plan_trials(search(tmp_path), 1, [1000], tmp_path / "out")
    FakeTrial(trials[0].jobs[0]).poll()
    plan_trials(search(tmp_path), 1, [1000], tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"learner\.epochs"):
        plan_trials(
            Search(
                tmp_path / "a.yaml", {**read_space(tmp_path / "space.yaml"), "learner.epochs": [9]}, ("device=cpu",)
            ),
            1,
            [1000],
            tmp_path / "out",
        )


def test_a_stage_of_a_pipeline_is_tuned_by_its_place(tmp_path: Path) -> None:
    stages = [{"method": "grpo", "share": 0.5, "learner": {"lr": 1.0}}, {"method": "skillrl", "share": 0.5}]
    path = recipe_file(tmp_path, "p", method="pipeline", pipeline={"stages": stages})
    space = {"pipeline.stages.1.learner.lr": [0.25], "pipeline.stages.0.learner.lr": [0.5]}
    (trial,) = plan_trials(Search(path, space), 1, [1000], tmp_path / "out")
    changed = load_recipe(path, trial.jobs[0].overrides).model_dump()["pipeline"]["stages"]
    assert [stage["learner"]["lr"] for stage in changed] == [0.5, 0.25]
    for place in ("2", "one", "-1"):
        with pytest.raises(RecipeError, match="the entries are 0 to 1"):
            load_recipe(path, [f"pipeline.stages.{place}.share=0.1"])


def test_a_folder_of_spaces_has_one_for_each_recipe(tmp_path: Path) -> None:
    recipes = [recipe_file(tmp_path, name, method="grpo") for name in ("a", "b")]
    spaces = tmp_path / "spaces"
    spaces.mkdir()
    for name, keys in (("a", {"learner.lr": [1.0]}), ("b", {"learner.lr": [2.0]})):
        (spaces / f"{name}.yaml").write_text(yaml.safe_dump(keys))
    searches = read_searches(recipes, spaces, ["device=cpu"], 3)
    assert [(one.name, one.space, one.overrides, one.seed) for one in searches] == [
        ("a", {"learner.lr": [1.0]}, ("device=cpu",), 3),
        ("b", {"learner.lr": [2.0]}, ("device=cpu",), 3),
    ]
    with pytest.raises(RecipeError, match="no space for the recipe 'c'") as failure:
        read_searches([*recipes, recipe_file(tmp_path, "c", method="grpo")], spaces)
    assert "c.yaml" in str(failure.value)
    with pytest.raises(RecipeError, match=r"that of .*a\.yaml too"):
        read_searches([recipes[0], tmp_path / "a.yaml"], spaces)
    idle = recipe_file(tmp_path, "d", method="grpo", steps=0)
    assert [search.name for search in read_searches([idle, *recipes], spaces)] == ["a", "b"]
    one = spaces / "a.yaml"
    assert [search.space for search in read_searches(recipes, one)] == [{"learner.lr": [1.0]}] * 2


def test_a_recipe_with_the_name_of_a_path_stays_in_the_folder(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, "a", method="grpo")
    (searched,) = read_searches([path], space_file(tmp_path), ["name=../../b"])
    assert "/" not in searched.folder and ".." not in searched.folder
    (trial,) = plan_trials(searched, 1, [1], tmp_path / "out")
    assert trial.jobs[0].folder.resolve().parent == tmp_path / "out" / "runs"


def test_the_command_tunes_several_recipes_trial_by_trial(model: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        written = values(model, method="grpo", curriculum=None) | {"name": name}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(written))
    files, space, out = [tmp_path / f"{name}.yaml" for name in ("one", "two")], space_file(tmp_path), tmp_path / "out"
    printed = call("tune", *files, "--space", space, "--trials", 2, "--out", out).output
    order = re.findall(r"(one|two)-trial-(\d+)-s1000: begins", printed)
    assert order == [("one", "000"), ("two", "000"), ("one", "001"), ("two", "001")]
    assert "Trials of one" in printed and "Trials of two" in printed
    for name in ("one", "two"):
        record = json.loads((out / name / "trials.json").read_text())
        assert record["recipe"] == name and len(record["trials"]) == 2
        assert load_recipe(out / name / "best.yaml").name == name


def test_the_command_trains_tells_and_resumes(model: Path, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(values(model, method="grpo", curriculum=None)))
    name = load_recipe(tmp_path / "r.yaml").name
    space = space_file(tmp_path)
    command = ("tune", tmp_path / "r.yaml", "--space", space, "--trials", 2, "--out", tmp_path / "out", "--quiet")
    printed = call(*command).output
    assert "Trials" in printed and "learner.lr" in printed and "best.yaml" in printed
    record = json.loads((tmp_path / "out" / "trials.json").read_text())
    assert len(record["trials"]) == 2 and record["best"] == 0  # of equal ones the first
    rows = Run.open(tmp_path / "out" / "runs" / f"{name}-trial-001-s1000").rows("trials")
    assert rows and {row["split"] for row in rows} == {"validation"}
    before = (tmp_path / "out" / "runs" / f"{name}-trial-000-s1000.log").read_bytes()
    call(*command)
    assert (tmp_path / "out" / "runs" / f"{name}-trial-000-s1000.log").read_bytes() == before
