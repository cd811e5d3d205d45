"""The comparison: what it plans, how it goes on after failures and interruptions, and the figures of its tables."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy.stats import t as student

from conftest import ROOT
from imprint.errors import CheckpointError, RecipeError
from imprint.jobs.compare import collect, earlier_rows, plan, unlike_tests, write_results
from imprint.jobs.processes import Job, games_played, is_finished, log_tail, run_all, start_training
from imprint.recipe import load_recipe
from imprint.report.compare_table import COSTS, Grid, comparison_tables
from imprint.runs.run import Run
from imprint.support.stats import wilson

HEAT, COOL = "pick_heat_then_place_in_recep", "pick_cool_then_place_in_recep"


def recipe_file(folder: Path, name: str, **more: Any) -> Path:
    path = folder / f"{name.replace('/', '_')}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "method": "zero_shot", "steps": 4, **more}))
    return path


class FakeTraining:
    """A training that takes some polls and then writes what `imprint train` would have written."""

    def __init__(self, job: Job, polls: int = 1, status: int = 0, successes: int = 6) -> None:
        self.job, self.polls, self.status, self.successes = job, polls, status, successes
        self.signals: list[int] = []
        recipe = load_recipe(job.recipe, [*job.overrides, f"seed={job.seed}"])
        with Run.create(job.folder, recipe.to_yaml(), resume=True) as run:
            run.set_status("running", 0)
        job.log.write_text("\n".join(f"line {n}" for n in range(40)) + "\n")

    def poll(self) -> int | None:
        self.polls -= 1
        if self.polls > 0:
            return None
        if self.status == 0:
            write_test(self.job.folder, self.successes)
        return self.status

    def send_signal(self, sig: int) -> None:
        self.signals.append(sig)

    def wait(self, timeout: float | None = None) -> int:
        return 1

    def kill(self) -> None:
        raise AssertionError("it listened")


def write_test(folder: Path, successes: int) -> None:
    with Run.create(folder, (folder / "recipe.yaml").read_text(), resume=True) as run:
        run.append(
            "evaluations", [evaluation("test", arm, "all", successes + (arm == "with")) for arm in ("with", "without")]
        )
        run.set_status("finished", 4)


def evaluation(split: str, arm: str, family: str, successes: int) -> dict[str, Any]:
    numbers = {"episodes": 10, "successes": successes, "context_tokens": 100.0, "turns": 3.0, "env_steps": 50}
    return {"step": 4, "split": split, "arm": arm, "family": family, **numbers}


def row(method: str, seed: int, arm: str, successes: int, family: str = "all", tokens: float = 100.0) -> dict[str, Any]:
    return {"method": method, "seed": seed, **evaluation("test", arm, family, successes), "context_tokens": tokens}


# --- the plan ---


def test_every_method_has_its_first_seed_before_any_has_its_second(tmp_path: Path) -> None:
    recipes = [recipe_file(tmp_path, "a"), recipe_file(tmp_path, "b")]
    jobs = plan(recipes, [3, 5], tmp_path / "out", ["steps=2"])
    assert [job.name for job in jobs] == ["a-s3", "b-s3", "a-s5", "b-s5"]
    assert {job.steps for job in jobs} == {2} and jobs[0].log == tmp_path / "out" / "runs" / "a-s3.log"


def test_a_plan_that_cannot_work_is_refused_before_anything_runs(tmp_path: Path) -> None:
    a = recipe_file(tmp_path, "a")
    twin = tmp_path / "twin.yaml"
    twin.write_text(a.read_text())
    with pytest.raises(RecipeError, match="a name of its own"):
        plan([a, twin], [0], tmp_path)
    with pytest.raises(RecipeError, match="test_tasks"):
        plan([a], [0], tmp_path, ["evaluation.test_tasks=0"])
    for recipes, seeds in (([a], [1, 1]), ([a, a], [1])):
        with pytest.raises(RecipeError, match="each recipe and seed once"):
            plan(recipes, seeds, tmp_path)
    with pytest.raises(RecipeError, match="stepz"):
        plan([a], [0], tmp_path, ["stepz=1"])


def test_runs_of_another_recipe_are_refused_by_key(tmp_path: Path) -> None:
    a = recipe_file(tmp_path, "a")
    (job,) = plan([a], [0], tmp_path)
    FakeTraining(job)
    assert plan([a], [0], tmp_path) == [job]
    with pytest.raises(CheckpointError, match=r"learner\.lr"):
        plan([a], [0], tmp_path, ["learner.lr=0.5"])


def test_recipes_that_are_not_tested_alike_are_named(tmp_path: Path) -> None:
    a, same = recipe_file(tmp_path, "a"), recipe_file(tmp_path, "same", steps=9)
    other = recipe_file(tmp_path, "other", env={"size": "medium"})
    assert unlike_tests(plan([a, same], [0], tmp_path)) == []
    (difference,) = unlike_tests(plan([a, same, other], [0, 1], tmp_path))
    assert "env.size" in difference and "medium" in difference and "other" in difference


def test_a_run_that_is_older_than_a_key_goes_with_the_keys_default(tmp_path: Path) -> None:
    a = recipe_file(tmp_path, "a")
    (job,) = plan([a], [0], tmp_path)
    FakeTraining(job).poll()
    written = yaml.safe_load((job.folder / "recipe.yaml").read_text())
    del written["reward"]["invalid"]
    written |= {"gate": None, "curriculum": {"stages": 3}}  # as older runs have them: of other methods
    (job.folder / "recipe.yaml").write_text(yaml.safe_dump(written))
    assert is_finished(plan([a], [0], tmp_path)[0])
    with pytest.raises(CheckpointError, match=r"another recipe:\s+reward\.invalid"):
        plan([a], [0], tmp_path, ["reward.invalid=format"])


# --- going through it ---


def test_finished_runs_are_kept_and_the_others_run(tmp_path: Path) -> None:
    jobs = plan([recipe_file(tmp_path, "a"), recipe_file(tmp_path, "b")], [0, 1], tmp_path)
    FakeTraining(jobs[0]).poll()
    FakeTraining(jobs[1])  # interrupted: begun, not finished
    started: list[str] = []
    told: list[str] = []

    def start(job: Job) -> FakeTraining:
        started.append(job.name)
        return FakeTraining(job, polls=2)

    failures = run_all(jobs, start, workers=2, finished=lambda job: told.append(job.name), pause=0)
    assert started == ["b-s0", "a-s1", "b-s1"] and sorted(told) == sorted(started) and failures == []
    assert all(is_finished(job) for job in jobs)
    assert run_all(jobs, start, pause=0) == [] and len(started) == 3


def test_never_more_processes_than_asked_for(tmp_path: Path) -> None:
    jobs = plan([recipe_file(tmp_path, "a")], range(5), tmp_path)
    most = 0

    def start(job: Job) -> FakeTraining:
        nonlocal most
        begun = [other for other in jobs if (other.folder / "status.json").exists()]
        most = max(most, 1 + sum(not is_finished(other) for other in begun))
        return FakeTraining(job, polls=1 + job.seed)

    run_all(jobs, start, workers=2, pause=0)
    assert most == 2


def test_a_failure_is_kept_with_its_log_and_the_others_go_on(tmp_path: Path) -> None:
    jobs = plan([recipe_file(tmp_path, "a"), recipe_file(tmp_path, "b")], [0], tmp_path)
    (failure,) = run_all(jobs, lambda job: FakeTraining(job, status=3 if job.method == "a" else 0), pause=0)
    assert failure.job.name == "a-s0" and failure.status == 3 and failure.tail.splitlines()[-1] == "line 39"
    write_results(tmp_path, jobs, [failure])
    assert {row["method"] for row in json.loads((tmp_path / "compare.json").read_text())} == {"b"}
    assert "Not finished: a-s0." in (tmp_path / "table.md").read_text()


def test_a_run_that_ends_well_without_finishing_is_a_failure(tmp_path: Path) -> None:
    (job,) = plan([recipe_file(tmp_path, "a")], [0], tmp_path)

    class Idle(FakeTraining):
        def poll(self) -> int | None:
            return 0

    (failure,) = run_all([job], Idle, pause=0)
    assert failure.status == 0


def test_an_interruption_reaches_the_running_ones(tmp_path: Path) -> None:
    (job,) = plan([recipe_file(tmp_path, "a")], [0], tmp_path)

    class Interrupted(FakeTraining):
        def poll(self) -> int | None:
            raise KeyboardInterrupt

    training = Interrupted(job)
    with pytest.raises(KeyboardInterrupt):
        run_all([job], lambda _: training, pause=0)
    assert training.signals == [signal.SIGTERM]


def test_a_real_process_writes_its_log(tmp_path: Path) -> None:
    """The command itself: here one that fails at once, as the folder of its model is empty."""
    (tmp_path / "nowhere").mkdir()
    (job,) = plan([recipe_file(tmp_path, "a", model=str(tmp_path / "nowhere"))], [0], tmp_path)
    (failure,) = run_all([job], lambda one: start_training(one, threads=1), pause=0.05)
    assert failure.status == 2 and "nowhere" in failure.tail and "Traceback" not in failure.tail
    assert log_tail(Job(job.recipe, "a", 9, tmp_path / "none", 1)) == "(no log)"


# --- the figures ---


def test_rows_are_the_last_test_of_each_finished_run(tmp_path: Path) -> None:
    jobs = plan([recipe_file(tmp_path, "b"), recipe_file(tmp_path, "a")], [1, 0], tmp_path)
    for job in jobs[:3]:
        FakeTraining(job, successes=4).poll()
    with Run.create(jobs[0].folder, (jobs[0].folder / "recipe.yaml").read_text(), resume=True) as run:
        run.append("evaluations", [evaluation("test", "with", "all", 9), evaluation("validation", "with", "all", 1)])
        run.append("evaluations", [evaluation("test", arm, HEAT, 2) for arm in ("without", "with")])
    rows = collect(jobs)
    keys = [(r["method"], r["seed"], r["family"], r["arm"], r["successes"]) for r in rows]
    assert keys == [
        ("b", 0, "all", "with", 5),
        ("b", 0, "all", "without", 4),
        ("b", 1, "all", "with", 9),
        ("b", 1, "all", "without", 4),
        ("b", 1, HEAT, "with", 2),
        ("b", 1, HEAT, "without", 2),
        ("a", 1, "all", "with", 5),
        ("a", 1, "all", "without", 4),
    ]
    write_results(tmp_path, jobs)
    assert json.loads((tmp_path / "compare.json").read_text()) == rows
    assert set(rows[0]) == {
        "method",
        "seed",
        "split",
        "family",
        "arm",
        "episodes",
        "successes",
        "context_tokens",
        "turns",
        "env_steps",
    }
    assert (tmp_path / "compare.png").stat().st_size > 1000 and (tmp_path / "compare.svg").is_file()


def test_rows_have_the_costs_of_training_where_they_are_recorded(tmp_path: Path) -> None:
    jobs = plan([recipe_file(tmp_path, "a"), recipe_file(tmp_path, "b")], [0, 1], tmp_path)
    for job in jobs:
        FakeTraining(job).poll()
    for job, more in zip([job for job in jobs if job.method == "a"], (0, 2), strict=True):
        with Run.create(job.folder, (job.folder / "recipe.yaml").read_text(), resume=True) as run:
            steps = [{"step": step, "learner/optimizer_steps": 3.0, "learner/tokens": 700.0 + more} for step in (1, 2)]
            run.append("metrics", [{"step": 0, "validation/with/all": 0.5}, *steps])
            run.append("timings", [{"step": 1, "seconds": 2.0}, {"step": 2, "seconds": 5.0, "validation": 1.5}])
    rows = collect(jobs)
    costs = {(r["method"], r["seed"]): {key: r[key] for key in r if key in COSTS} for r in rows}
    assert costs["a", 0] == {"optimizer_steps": 6, "tokens_learned": 1400, "seconds": 5.5}
    assert costs["a", 1]["tokens_learned"] == 1404 and costs["b", 0] == costs["b", 1] == {}
    (methods,) = [one for one in write_results(tmp_path, jobs) if one.title == "Methods"]
    assert methods.header[-4:] == ("env steps", "optimizer steps", "tokens learned", "seconds")
    assert [cells[-4:] for cells in methods.rows] == [("50", "6", "1,402", "6"), ("50", "–", "–", "–")]
    assert "seconds depend on the machine" in methods.note


@pytest.mark.parametrize("path", sorted(ROOT.glob("results/*/compare.json")), ids=lambda path: path.parent.name)
def test_committed_comparisons_load_with_or_without_costs(path: Path) -> None:
    rows = earlier_rows(path, [])
    assert rows == json.loads(path.read_text())
    methods = comparison_tables([row for row in rows if row["split"] == "test"])[0]
    assert all(len(cells) == len(methods.header) for cells in methods.rows)
    known = {key for key in COSTS if any(key in row for row in rows)}
    assert {name for key, name in COSTS.items() if key in known} == set(methods.header) & set(COSTS.values())


def test_methods_of_an_earlier_comparison_stand_beside_those_of_this_one(tmp_path: Path) -> None:
    first = plan([recipe_file(tmp_path, "a"), recipe_file(tmp_path, "b")], [0], tmp_path / "first")
    second = plan([recipe_file(tmp_path, "b"), recipe_file(tmp_path, "c")], [0], tmp_path / "second")
    for job in (*first, *second):
        FakeTraining(job, successes=4 if job in first else 7).poll()
    write_results(tmp_path / "first", first)
    earlier = earlier_rows(tmp_path / "first" / "compare.json", second)
    tables = write_results(tmp_path / "second", second, beside=earlier)
    methods = next(table for table in tables if table.title == "Methods")
    assert [(cells[0], cells[2][:4]) for cells in methods.rows] == [("a", "40.0"), ("b", "70.0"), ("c", "70.0")]
    third = plan([recipe_file(tmp_path, "a")], [1], tmp_path / "third")
    FakeTraining(third[0], successes=6).poll()
    write_results(tmp_path / "third", third, beside=earlier_rows(tmp_path / "first" / "compare.json", third))
    rows = json.loads((tmp_path / "third" / "compare.json").read_text())
    assert list(dict.fromkeys((row["method"], row["seed"]) for row in rows)) == [("a", 0), ("a", 1), ("b", 0)]
    (tmp_path / "no.json").write_text("{}")
    for path in (tmp_path / "no.json", tmp_path / "nothing.json"):
        with pytest.raises(CheckpointError, match="--beside"):
            assert earlier_rows(path, second) != []


def test_real_games_are_played_once_by_every_final_policy_and_reported_apart(tmp_path: Path) -> None:
    jobs = plan([recipe_file(tmp_path, "a"), recipe_file(tmp_path, "b")], [0], tmp_path)
    for job in jobs:
        FakeTraining(job, successes=4).poll()
    played: list[str] = []

    class FakeGames(FakeTraining):
        def __init__(self, job: Job) -> None:
            self.job = job
            played.append(job.name)

        def poll(self) -> int | None:
            with Run.create(self.job.folder, (self.job.folder / "recipe.yaml").read_text(), resume=True) as run:
                run.append("evaluations", [evaluation("real", arm, "all", 7) for arm in ("with", "without")])
            return 0

    for _ in range(2):  # the second time there is nothing left to do
        assert run_all(jobs, FakeGames, steps=lambda job: (games_played(job), 1), pause=0) == []
    assert played == ["a-s0", "b-s0"]
    (jobs[0].folder / "trials.jsonl").write_text("not read at every look\n")
    assert games_played(jobs[0]) == 1
    (jobs[0].folder / "trials.jsonl").unlink()
    tables = write_results(tmp_path, jobs)
    rows = json.loads((tmp_path / "compare.json").read_text())
    assert [(row["method"], row["split"]) for row in rows if row["arm"] == "with"] == [
        ("a", "test"),
        ("b", "test"),
        ("a", "real"),
        ("b", "real"),
    ]
    (real,) = [table for table in tables if table.title == "Methods, real games"]
    assert [cells[2][:4] for cells in real.rows] == ["70.0", "70.0"] and "10 real games" in real.note


def test_a_finished_run_without_a_test_is_an_error(tmp_path: Path) -> None:
    (job,) = plan([recipe_file(tmp_path, "a")], [0], tmp_path)
    FakeTraining(job).poll()
    (job.folder / "evaluations.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"evaluations\.jsonl"):
        collect([job])


ROWS = [
    *(row("x", seed, "without", s, tokens=80) for seed, s in enumerate((6, 7, 9))),
    *(row("x", seed, "with", s, tokens=200) for seed, s in enumerate((7, 8, 8))),
    *(row("y", seed, "without", s) for seed, s in enumerate((5, 5, 5))),
    *(row("x", seed, "without", s, COOL) for seed, s in enumerate((2, 4, 6))),
]


def table(name: str, rows: list[dict[str, Any]]) -> Grid:
    return next(grid for grid in comparison_tables(rows) if grid.title == name)


def test_the_methods_table_has_means_and_t_intervals() -> None:
    x, y = table("Methods", ROWS).rows
    mean, half = (
        22 / 30,
        student.ppf(0.975, 2) * math.sqrt(((6 - 22 / 3) ** 2 + (7 - 22 / 3) ** 2 + (9 - 22 / 3) ** 2) / 2 / 3) / 10,
    )
    assert x[:3] == ("x", "3", f"{100 * mean:.1f} [{100 * (mean - half):.1f}, {100 * min(1, mean + half):.1f}]")
    assert x[4:] == ("80 / 200", "240 / 600", "50")
    pooled = wilson(15, 30)  # its seeds agree: chance, and no certainty
    assert y[2:] == (f"50.0 [{100 * pooled.low:.1f}, {100 * pooled.high:.1f}]", "–", "100 / –", "300 / –", "50")


def test_differences_are_paired_by_seed() -> None:
    rows = {cells[0]: cells[1:] for cells in table("Differences", ROWS).rows}
    gaps = [0.1, 0.2, 0.4]
    mean = sum(gaps) / 3
    half = student.ppf(0.975, 2) * math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / 2 / 3)
    expected = f"{100 * mean:+.1f} [{100 * (mean - half):+.1f}, {100 * (mean + half):+.1f}]"
    assert rows["x (without) - y (without)"] == (expected, "3")
    assert rows["x (with) - x (without)"][0].startswith("+3.3 [")
    assert len(rows) == 2  # y was not played with skills
    only = [r for r in ROWS if r["method"] == "x" or r["seed"] == 2]
    points = {cells[0]: cells[1] for cells in table("Differences", only).rows}
    assert points["x (without) - y (without)"] == "+40.0 [one seed]"


def test_rows_older_than_the_count_of_turns_have_no_tokens_per_task() -> None:
    old = [{key: value for key, value in r.items() if key != "turns"} for r in ROWS]
    x, _ = table("Methods", old).rows
    assert x[4:] == ("80 / 200", "– / –", "50")


def test_families_and_markdown() -> None:
    grid = table("Families", ROWS)
    assert grid.header == ("tasks", "x", "y")
    assert grid.rows == (("pick cool then place in recep", "40 / –", "– / –"),)
    assert (
        "| pick cool then place in recep | 40 / – | – / – |" in grid.markdown() and "| --- | ---: |" in grid.markdown()
    )
    assert comparison_tables([]) == []


def test_one_seed_has_wilsons_interval() -> None:
    (cells,) = table("Methods", [row("x", 0, "without", 5)]).rows
    assert cells[1:4] == ("1", "50.0 [23.7, 76.3]", "–")
