"""Resuming with another recipe: what changes no result may differ, and a run can be made longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imprint.errors import CheckpointError
from imprint.jobs.resume import resumption
from imprint.jobs.train import train_run
from imprint.recipe import Recipe, parse_recipe
from imprint.runs.run import Run

FEW: dict[str, Any] = {
    "name": "few",
    "method": "grpo",
    "steps": 2,
    "device": "cpu",
    "threads": 1,
    "checkpoint_interval": 2,
    "env": {"name": "household", "train": 6, "validation": 6, "test": 6, "max_turns": 2},
    "rollout": {"tasks": 2, "group": 2, "max_new_tokens": 3},
    "learner": {"lr": 1.0e-3},
    "evaluation": {"interval": 2, "tasks": 2, "test_tasks": 2},
}


def recipe(**changes: Any) -> Recipe:
    return parse_recipe({**FEW, **changes})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder in which a run was begun."""
    Run.create(tmp_path / "run", recipe().to_yaml()).close()
    return tmp_path / "run"


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"threads": 2},
            {"loggers": ["wandb"]},
            {"device": "cuda"},
            {"checkpoint_interval": 1},
            {"keep_checkpoints": 9},
            {"keep_best": "without"},
        ),
        *({"trust": {"refuse": "critical"}}, {"evaluation": {**FEW["evaluation"], "keep_episodes": 1}}),
    ],
)
def test_what_changes_no_result_may_differ(change: dict[str, Any], run: Path) -> None:
    found = resumption(run, recipe(**change))
    assert found.text == recipe(**change).to_yaml() and not found.longer and len(found.notes) == 1


@pytest.mark.parametrize("change", [{"seed": 1}, {"learner": {"lr": 1.0}}, {"method": "skillrl"}, {"dtype": "float16"}])
def test_what_changes_results_is_refused(change: dict[str, Any], run: Path) -> None:
    with pytest.raises(CheckpointError, match=f"another recipe:\n    {next(iter(change))}"):
        resumption(run, recipe(**change, threads=2))


def test_a_served_model_may_be_asked_faster(tmp_path: Path) -> None:
    endpoint = {"base_url": "http://localhost:8000/v1"}
    Run.create(tmp_path / "run", recipe(method="zero_shot", endpoint=endpoint).to_yaml()).close()
    changed = recipe(method="zero_shot", endpoint={**endpoint, "concurrency": 64, "store": "elsewhere"})
    assert len(resumption(tmp_path / "run", changed).notes) == 2
    with pytest.raises(CheckpointError, match=r"endpoint\.base_url"):
        resumption(tmp_path / "run", recipe(method="zero_shot", endpoint={"base_url": "http://localhost:9/v1"}))


def test_a_path_that_has_moved_is_the_same(tmp_path: Path) -> None:
    gone, there, other = (str(tmp_path / name / "base") for name in ("gone", "there", "there/other"))
    for folder in (there, other):
        Path(folder).mkdir(parents=True)
    Run.create(tmp_path / "run", recipe(model=there).to_yaml().replace(there, gone)).close()
    assert resumption(tmp_path / "run", recipe(model=there)).notes == (
        f"`model` is {there!r} from now on, and was {gone!r}",
    )
    with pytest.raises(CheckpointError, match="model"):
        resumption(tmp_path / "run", recipe(model="imprint-tiny"))


def test_a_finished_run_made_longer_is_the_long_run(tmp_path: Path) -> None:
    """Where nothing follows the number of steps, exactly."""
    assert train_run(recipe(), tmp_path / "run", quiet=True)
    assert not train_run(recipe(threads=2), tmp_path / "run", quiet=True)
    assert train_run(recipe(steps=4), tmp_path / "run", quiet=True)
    assert train_run(recipe(steps=4), tmp_path / "whole", quiet=True)
    for record in ("metrics", "evaluations", "trials"):
        whole = (tmp_path / "whole" / f"{record}.jsonl").read_bytes()
        assert whole and (tmp_path / "run" / f"{record}.jsonl").read_bytes() == whole
    assert Run.open(tmp_path / "run").recipe["steps"] == 4
    with pytest.raises(CheckpointError, match="has done 4 steps"):
        train_run(recipe(steps=3), tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"learner": {"decay": "linear"}}, "the learning rate (learner.decay) follows"),
        ({"method": "skill0", "curriculum": {"stages": 2}}, "the skill budget follows"),
    ],
)
def test_a_schedule_of_the_total_is_told(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", recipe(**change).to_yaml()) as run:
        run.set_status("finished", 2, env_steps=8)
    found = resumption(tmp_path / "run", recipe(**change, steps=9))
    assert found.longer and told in found.notes[-1]
    with pytest.raises(CheckpointError, match="another recipe"):
        resumption(tmp_path / "run", recipe(**change, steps=9), length=False)


def test_a_method_with_work_after_its_last_step_is_not_continued(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", recipe(method="closed_book").to_yaml()) as run:
        run.set_status("finished", 6, env_steps=8)
    with pytest.raises(CheckpointError, match="other work after its last step"):
        resumption(tmp_path / "run", recipe(method="closed_book", steps=9))
