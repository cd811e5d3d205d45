"""Methods in sequence: one run, one test, exact resume in every stage, and errors that name the stage."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench import Bench
from imprint.errors import CheckpointError, RecipeError
from imprint.jobs.resume import resumption
from imprint.measurement.conditions import WITHOUT
from imprint.methods.base import check_method, check_world, method_spec
from imprint.methods.loop import Loop
from imprint.methods.weights.stages import stage_recipe
from imprint.recipe import Recipe, parse_recipe
from imprint.report.listing import list_runs
from imprint.report.page import render_report
from imprint.report.records import run_evaluations
from imprint.report.summary import Summary
from imprint.runs.run import Run
from test_methods import every_second
from tiny import DoorWorld, tiny_policy

FEW: dict[str, Any] = {
    "method": "pipeline",
    "steps": 6,
    "checkpoint_interval": 1,
    "rollout": {"tasks": 2, "group": 4, "max_new_tokens": 4},
    "learner": {"lr": 1e-3},
    "evaluation": {"interval": 1, "tasks": 4, "test_tasks": 4},
}
CLOSED: dict[str, Any] = {"method": "closed_book", "share": 0.5, "imitation": {"epochs": 2, "batch": 3}}
GRPO: dict[str, Any] = {"method": "grpo", "share": 0.5, "learner": {"lr": 1e-2}, "advantage": {"unit": "turn"}}
SKILL0: dict[str, Any] = {"method": "skill0", "share": 0.5, "curriculum": {"interval": 1, "stages": 2}}
RECORDS = ("metrics", "trials", "evaluations", "curriculum")


def start(folder: Path, stages: list[dict[str, Any]], resume: bool = False, **changes: Any) -> Bench:
    values = {**FEW, **changes, "pipeline": {"stages": stages}}
    return Bench(folder, values, resume=resume, won=every_second)


def recipe(*stages: dict[str, Any], **changes: Any) -> Recipe:
    return parse_recipe({"name": "t", **FEW, **changes, "pipeline": {"stages": list(stages)}})


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.checkpoint_path(run.checkpoint_steps()[-1]) / "model.safetensors")


# --- one run ---


def test_two_methods_make_one_run_with_one_test(tmp_path: Path) -> None:
    bench = start(tmp_path / "run", [CLOSED, GRPO])
    agent = bench.go()
    assert agent.shown == WITHOUT and agent.model.base == str(bench.run.checkpoint_path(9))
    metrics, evaluations = bench.rows("metrics"), bench.rows("evaluations")
    trained = [row["step"] for row in metrics if "train/success" in row or "loss/nll" in row]
    assert trained == [1, 2, 3, 4, 5, 7, 8, 9]  # three and two epochs; the step that begins the second stage; three
    validated = [row["step"] for row in evaluations if row["split"] == "validation" and row["family"] == "all"]
    assert sorted(set(validated)) == [0, 5, 7, 8, 9] and len(validated) == 10
    tested = [row for row in evaluations if row["split"] == "test" and row["family"] == "all"]
    assert [(row["step"], row["arm"]) for row in tested] == [(9, "with"), (9, "without")]
    played = [row["env_steps"] for row in metrics if "train/success" in row]
    turns = [row["train/turns"] * 8 for row in metrics if "train/success" in row]
    assert played == pytest.approx([sum(turns[: place + 1]) for place in range(6)])
    assert tested[0]["env_steps"] == played[-1]
    assert bench.run.status() == {"state": "finished", "step": 9, "env_steps": played[-1]}
    assert [row["step"] for row in bench.rows("timings")] == trained
    assert any(note.startswith("stage 2 of 2: grpo, 3 steps") for note in bench.notes)


def test_each_stage_learns_by_its_own_settings_from_the_weights_before_it(tmp_path: Path) -> None:
    bench = start(tmp_path / "run", [CLOSED, GRPO], keep_checkpoints=9)
    shown: list[tuple[float, bool]] = []
    begun: list[dict[str, torch.Tensor]] = []
    make = bench.parts.make_learner

    def learner(own: Recipe, folder: Path | None) -> Any:
        made = make(own, folder)
        shown.append((own.learner.lr, own.advantage.unit == "turn"))
        begun.append({name: weight.clone() for name, weight in bench.policy.model.state_dict().items()})
        return made

    bench.parts.make_learner = learner
    bench.go()
    assert shown == [(1e-3, False), (1e-2, True)]
    handed = load_file(bench.run.checkpoint_path(5) / "model.safetensors")
    assert all(torch.equal(begun[1][name], weight) for name, weight in handed.items())
    assert any(not torch.equal(begun[0][name], weight) for name, weight in handed.items())
    rates = {row["step"]: row["lr"] for row in bench.rows("metrics") if "lr" in row}
    assert rates[4] == 1e-3 and rates[7] == 1e-2
    state = torch.load(bench.run.checkpoint_path(7) / "trainer.pt", weights_only=True)
    assert state["learner"]["steps"] == 1  # the optimizer is new


def test_no_task_order_or_seed_comes_twice(tmp_path: Path) -> None:
    bench = start(tmp_path / "run", [GRPO, GRPO])
    bench.go()
    seeds = [request.seed for request in bench.asked if request.task.split == "train"]
    assert len(seeds) == len(set(seeds)) == 6 * 8


def test_the_stages_share_the_environment_steps_and_what_one_plays_too_much_the_next_has_less(tmp_path: Path) -> None:
    bench = start(tmp_path / "run", [{**GRPO, "share": 0.25}, {**GRPO, "share": 0.75}], steps=8, env_steps=200)
    bench.go()
    rows = [row for row in bench.rows("metrics") if "train/success" in row]
    gap = next(after["step"] for row, after in pairwise(rows) if after["step"] > row["step"] + 1)
    first = [row["env_steps"] for row in rows if row["step"] < gap]
    assert first[-1] >= 50 > first[-2]
    assert rows[-1]["env_steps"] >= 200 > rows[-2]["env_steps"]


def test_the_best_checkpoint_of_any_stage_is_kept(tmp_path: Path) -> None:
    bench = start(tmp_path / "run", [CLOSED, GRPO], keep_best="without", keep_checkpoints=1)
    bench.go()
    best = bench.run.best_step("without")
    assert best is not None and bench.run.checkpoint_path(best).is_dir()
    assert set(bench.run.checkpoint_steps()) == {best, 5, 9}  # and what the last stage began with


def test_reports_and_listings_read_it_as_any_run(tmp_path: Path) -> None:
    bench = start(tmp_path / "run", [CLOSED, SKILL0])
    bench.go()
    run = Run.open(tmp_path / "run")
    (listed,) = list_runs(tmp_path)
    assert listed.state == "finished" and listed.to_record()["method"] == "pipeline"
    assert listed.end("without").step == run.status()["step"]
    assert {row.split for row in run_evaluations(run)} == {"validation", "test"}
    assert run.rows("curriculum") and "pipeline" in render_report(run)
    assert Summary.of(run).stages == []


# --- resume ---


REFERRED = {**SKILL0, "learner": {"lr": 1e-2, "kl_coef": 0.1}}  # to the policy that the stage begins with


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A run that was never stopped."""
    bench = start(tmp_path_factory.mktemp("whole") / "run", [CLOSED, REFERRED])
    bench.go()
    assert bench.run.status()["step"] == 9
    return bench


@pytest.mark.parametrize("saved", [True, False], ids=["after a checkpoint", "before one"])
@pytest.mark.parametrize("stop", [1, 3, 4, 5, 7, 8, 9])  # 6 begins the second stage
def test_a_run_stopped_in_any_stage_ends_like_one_that_was_never_stopped(
    stop: int, saved: bool, whole: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Loop._checkpoint

    def killed(loop: Loop) -> None:
        if saved:
            save(loop)
        if loop.step == stop:
            raise KeyboardInterrupt
        if not saved:
            save(loop)

    broken = start(tmp_path / "broken", [CLOSED, REFERRED])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Loop, "_checkpoint", killed)
        broken.go()
    assert broken.run.status().get("state") != "finished"
    broken.run.close()
    resumed = start(tmp_path / "broken", [CLOSED, REFERRED], resume=True)
    resumed.go()
    for record in RECORDS:
        ours, theirs = (run.record_path(record) for run in (resumed.run, whole.run))
        assert theirs.read_bytes() and ours.read_bytes() == theirs.read_bytes()
    assert resumed.run.status() == whole.run.status()
    for folder in ("episodes", "checkpoints"):
        names = [sorted(path.name for path in (one.run.path / folder).iterdir()) for one in (resumed, whole)]
        assert names[0] == names[1] != []
    assert all(torch.equal(weights(resumed.run)[name], weight) for name, weight in weights(whole.run).items())


def test_a_run_stopped_between_two_stages_begins_the_second(
    whole: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = start(tmp_path / "broken", [CLOSED, REFERRED])
    play = Loop.play

    def killed(loop: Loop, show: Any) -> Any:
        if loop.start.stage == 1:  # what its step 0 records is there, and no checkpoint of it
            loop.record([{"skill": "red", "action": "keep"}])
            raise KeyboardInterrupt
        return play(loop, show)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Loop, "play", killed)
        broken.go()
    assert broken.run.checkpoint_steps()[-1] == 5 and broken.run.status()["state"] == "running"
    assert {row["step"] for row in broken.rows("curriculum")} == {6}
    broken.run.close()
    resumed = start(tmp_path / "broken", [CLOSED, REFERRED], resume=True)
    resumed.go()
    for record in RECORDS:
        assert resumed.run.record_path(record).read_bytes() == whole.run.record_path(record).read_bytes()


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    bench = start(tmp_path / "run", [CLOSED, GRPO])
    bench.go()
    bench.run.close()
    (bench.run.checkpoint_path(9) / "state.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="delete this folder"):
        start(tmp_path / "run", [CLOSED, GRPO], resume=True).go()


def test_a_finished_pipeline_is_not_made_longer(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", recipe(CLOSED, GRPO).to_yaml()) as run:
        run.set_status("finished", 6, env_steps=8)
    assert resumption(tmp_path / "run", recipe(CLOSED, GRPO)).text == recipe(CLOSED, GRPO).to_yaml()
    with pytest.raises(CheckpointError, match="other work after its last step"):
        resumption(tmp_path / "run", recipe(CLOSED, GRPO, steps=20))
    with pytest.raises(CheckpointError, match=r"pipeline\.stages"):
        resumption(tmp_path / "run", recipe(CLOSED, {**GRPO, "learner": {"lr": 1.0}}))


# --- the recipes of the stages ---


def test_a_stage_is_the_recipe_with_its_keys_merged_over_it() -> None:
    whole = recipe(
        {**CLOSED, "share": 0.6, "rollout": {"tasks": 5}},
        {**GRPO, "share": 0.4},
        steps=50,
        env_steps=40000,
        learner={"lr": 1e-3, "optimizer": "muon"},
    )
    check_method(whole)
    first, second = stage_recipe(whole, 0), stage_recipe(whole, 1)
    assert (first.method, first.steps, first.env_steps) == ("closed_book", 30, 24000)
    assert (second.method, second.steps, second.env_steps) == ("grpo", 20, 16000)
    assert (first.rollout.tasks, first.rollout.group, second.rollout.tasks) == (5, 4, 2)
    assert (first.learner.lr, second.learner.lr, second.learner.optimizer) == (1e-3, 1e-2, "muon")
    assert (first.evaluation.test_tasks, second.evaluation.test_tasks) == (0, 4)
    assert first.to_yaml().count("epochs: 2") == 1
    assert stage_recipe(whole, 1, played=25000).env_steps == 15000
    assert stage_recipe(whole, 1, played=50000).env_steps == 1
    thirds = recipe(*[{**GRPO, "share": share} for share in (1 / 3, 1 / 3, 1 / 3)], steps=10, env_steps=100)
    assert [stage_recipe(thirds, index).steps for index in range(3)] == [3, 4, 3]
    assert sum(stage_recipe(thirds, index).env_steps or 0 for index in range(3)) == 100


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ([], r"pipeline\.stages: is missing"),
        ([CLOSED, {**GRPO, "share": 0.4}], "add up to 0.9"),
        ([CLOSED, {**GRPO, "learning": {"lr": 1}}], r"stages\.1\.learning: stage 2 \(grpo\): unknown key"),
        ([CLOSED, {**GRPO, "learner": {"rate": 1}}], r"stages\.1\.learner\.rate: stage 2 \(grpo\): unknown key"),
        ([{**CLOSED, "imitation": {"epoch": 1}}, GRPO], r"stages\.0\.imitation\.epoch: stage 1 .*unknown key"),
        ([CLOSED, {**GRPO, "model": "x"}], r"stages\.1\.model: stage 2 .* the same in every stage"),
        ([CLOSED, {**GRPO, "evaluation": {"tasks": 9}}], r"stages\.1\.evaluation: .* the same in every stage"),
        ([CLOSED, {**GRPO, "rollout": {"batch": 9}}], r"stages\.1\.rollout\.batch: .* the same in every stage"),
        ([CLOSED, {**GRPO, "imitation": {"epochs": 1}}], r"stages\.1\.imitation: .*no effect"),
        ([CLOSED, {**GRPO, "method": "nothing"}], r"stages\.1\.method: stage 2 \(nothing\)"),
        ([CLOSED, {**GRPO, "method": "zero_shot"}], r"stages\.1\.method: .* trains nothing"),
        ([CLOSED, {"method": "pipeline", "share": 0.5}], r"stages\.1\.method: .*is a pipeline itself"),
        ([{**CLOSED, "share": 0.99}, {**GRPO, "share": 0.01}], r"stages\.1\.share: .* none of 6 steps"),
        (
            [CLOSED, {**SKILL0, "curriculum": {"stages": 5}}],
            r"stages\.1\..*3 training steps cannot be cut into 5 stages",
        ),
    ],
)
def test_a_stage_that_cannot_be_is_told_before_anything_is_loaded(stages: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        check_method(recipe(*stages))


@pytest.mark.parametrize("share", [0, -1, 1.5, "half"])
def test_a_share_is_between_0_and_1(share: Any) -> None:
    with pytest.raises(RecipeError, match=r"pipeline\.stages\.0\.share"):
        recipe({**GRPO, "share": share})


def test_what_a_stage_needs_the_pipeline_needs(tmp_path: Path) -> None:
    served = {"endpoint": {"base_url": "http://localhost:9/v1"}, "model": "theirs"}
    with pytest.raises(RecipeError, match="'pipeline' trains, and a model behind an endpoint cannot"):
        check_method(recipe(CLOSED, GRPO, **served))
    spec = method_spec("pipeline")
    assert spec.needed(spec.settings(recipe(CLOSED, GRPO))) == {"weights"}
    check_world(recipe(CLOSED, GRPO), DoorWorld())


def test_a_recipe_survives_its_yaml(tmp_path: Path) -> None:
    whole = recipe(CLOSED, GRPO)
    with Run.create(tmp_path / "run", whole.to_yaml()) as run:
        assert parse_recipe(run.recipe) == whole
    assert json.loads(json.dumps(whole.model_dump(mode="json")))["pipeline"]["stages"][0]["imitation"]["epochs"] == 2


def test_a_learner_begins_with_the_weights_it_is_given(tmp_path: Path) -> None:
    from imprint.learning.config import LearnerConfig
    from imprint.learning.learner import Learner

    tiny_policy(seed=1).save(tmp_path / "other")
    policy, other = tiny_policy(seed=0), tiny_policy(seed=1).model.state_dict()
    learner = Learner(policy, LearnerConfig(kl_coef=0.1), total_steps=1, weights=tmp_path / "other")
    assert learner.reference is not None
    for model in (policy.model, learner.reference.model):
        assert all(torch.equal(weight, other[name]) for name, weight in model.state_dict().items())
