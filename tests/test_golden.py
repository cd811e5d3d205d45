"""What was on disk before stays readable: a run, its checkpoint, episodes of an endpoint and their keys.

The files in `golden/` were written by the code of commit ca836ca: a tiny policy that
solves some of its games, a run of the method `imprint` and one of `grpo` that were stopped in their fourth step of six
(a checkpoint of the third, and rows after it), and what that code made of them when they were resumed (`*-finished`).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from imprint.context.chat import ChatContext
from imprint.context.config import ContextConfig
from imprint.engine.served import EndpointEngine
from imprint.envs.household.world import HouseholdWorld
from imprint.jobs.train import train_run
from imprint.methods.in_context.exemplars import with_skills
from imprint.models.sampling import Sampling
from imprint.models.served.config import EndpointConfig
from imprint.models.served.endpoint import Endpoint
from imprint.models.served.usage import Usage
from imprint.recipe import load_recipe, parse_recipe
from imprint.report.page import render_report
from imprint.rollout.base import Request
from imprint.rollout.chat import ChatRollout
from imprint.rollout.store import EpisodeStore, episode_key
from imprint.runs.run import Record, Run
from imprint.skills.library import load_library
from imprint.types import Episode, StopReason, Task, Turn

GOLDEN = Path(__file__).with_name("golden")
RUNS = ["run", "run-grpo"]
RESULTS: tuple[Record, ...] = ("metrics", "evaluations", "curriculum")
YOUNGER = ("train/zero_advantage_groups", "train/gradient_tokens", "learner/optimizer_steps", "learner/tokens")


def begun(folder: Path, name: str) -> Path:
    """A copy of a golden run that knows where its model is."""
    path = folder / name
    shutil.copytree(GOLDEN / name, path)
    recipe = path / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8")
    assert text.count("model: tests/golden/model\n") == 1
    recipe.write_text(text.replace("tests/golden/model", json.dumps(str(GOLDEN / "model"))), encoding="utf-8")
    return path


def written(name: str, record: Record) -> list[dict[str, Any]]:
    """The rows of a golden file, read by nobody's code but this; none where there is no file."""
    path = GOLDEN / name / f"{record}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows to compare with: floats may differ in their last digits, all else may not.

    Another CPU sums in another order. That changes an approximate KL of 1e-9 altogether, and in principle a draw too
    that lies within a rounding of the border between two tokens: if only the counts differ, and only on one machine,
    look there first. (With SSE, AVX2 and AVX-512 every count came out alike, and all but that KL within 1e-5.)
    """
    return [
        {
            key: pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value
            for key, value in row.items()
        }
        for row in rows
    ]


def shape(rows: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    """Keys in their order, and all that is no float: steps, splits, arms, families, skills, decisions, counts."""
    return [[(key, "a float" if isinstance(value, float) else value) for key, value in row.items()] for row in rows]


def older(row: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """A row without the metrics that are younger than the golden files; those of `like` keep their names and values."""
    return {key: value for key, value in row.items() if key in like or key not in YOUNGER}


# --- runs ---


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_stopped_is_opened_and_read(name: str) -> None:
    run = Run.open(GOLDEN / name)
    assert run.recipe["method"] == {"run": "imprint", "run-grpo": "grpo"}[name]
    assert run.status() == {"state": "interrupted", "step": 3}
    assert run.checkpoint_steps() == [3]
    for record in RESULTS:
        assert run.rows(record) == written(name, record)
    assert [row["step"] for row in run.rows("metrics")] == [0, 0, 1, 2, 3, 3, 3, 4]
    assert [row["step"] for row in run.rows("timings")] == [1, 2, 3, 4]
    assert run.episode_steps() == [0, 3]


@pytest.mark.parametrize("name", RUNS)
def test_its_episodes_come_back_as_they_were_written(name: str) -> None:
    run = Run.open(GOLDEN / name)
    for step in run.episode_steps():
        for arm in ("with", "without"):
            records = run.episode_records(step, arm)
            episodes = [Episode.from_record(record) for record in records]
            assert len(episodes) == 2 and all(episode.turns and episode.goal for episode in episodes)
            assert all(bool(episode.skills) is (arm == "with") for episode in episodes)
            lines = [json.dumps(episode.to_record(), ensure_ascii=False) for episode in episodes]
            assert lines == run.episodes_path(step, arm).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", RUNS)
def test_its_report_is_made(name: str) -> None:
    run = Run.open(GOLDEN / name)
    page = render_report(run)
    assert "golden" in page and "made/validation/0" in page
    assert all(skill in page for skill in {row["skill"] for row in run.rows("curriculum")})


@pytest.mark.parametrize("name", RUNS)
def test_it_is_resumed_to_the_end_it_would_have_had(name: str, tmp_path: Path) -> None:
    path = begun(tmp_path, name)
    recipe = load_recipe(path / "recipe.yaml")
    assert train_run(recipe, path, quiet=True)
    run = Run.open(path)
    status = run.status()
    last = written(f"{name}-finished", "evaluations")[-1]
    assert status == {"state": "finished", "step": 6, "env_steps": last["env_steps"]}
    for record in RESULTS:
        expected = written(f"{name}-finished", record)
        rows = [older(row, like) for row, like in zip(run.rows(record), expected, strict=True)]
        assert shape(rows) == shape(expected)
        assert rows == rounded(expected)
    kept = (GOLDEN / f"{name}-finished" / "files.txt").read_text(encoding="utf-8").splitlines()
    assert {file for file in kept if not (path / file).is_file()} == set()
    assert not train_run(recipe, path, quiet=True)


def test_the_golden_run_is_worth_resuming() -> None:
    """It has something of everything that a checkpoint must hold."""
    import torch

    checkpoint = GOLDEN / "run" / "checkpoints" / "step-000003"
    trainer = torch.load(checkpoint / "trainer.pt", weights_only=True)
    assert trainer["memory"]["kept"] and trainer["memory"]["by_heart"]
    history = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))["curriculum"]["history"]
    assert {decision["action"] for decision in history} == {"keep", "withdraw", "readmit", "abstain", "stay_out"}


# --- episodes of an endpoint ---

NOBODY = "http://127.0.0.1:9/v1"
BARE, WITH_EXEMPLAR = "64902475d795689d2d6f0eb9767eb45a", "7d84f08bfbf196cff6c4ac35b59eee46"
WORLD = {"seed": 48, "max_turns": 6, "train": 2, "validation": 2, "test": 2}


def request(world: HouseholdWorld, *, exemplar: bool) -> Request:
    task, other = world.tasks("train")
    library = load_library("household")
    exemplars = [with_skills(found, library)] if exemplar and (found := world.exemplar(other)) else []
    return Request(task, 7, library.serving(task.category), tuple(exemplars))


@pytest.mark.parametrize(("exemplar", "key"), [(False, BARE), (True, WITH_EXEMPLAR)])
def test_an_episode_has_the_key_it_always_had(exemplar: bool, key: str, tmp_path: Path) -> None:
    """It says nothing of prices, seats and retries, and all of templates, pages and games: see what it is made of."""
    endpoint = Endpoint(EndpointConfig(base_url=NOBODY, extra={"top_p": 0.9}, retries=3), "org/expert")
    world = HouseholdWorld(**WORLD)
    store = EpisodeStore(tmp_path, NOBODY, "org/expert")
    rollout = ChatRollout(endpoint, world, ChatContext(ContextConfig()), store)
    assert rollout._key(request(world, exemplar=exemplar), Sampling(1.0, 16)) == key


def test_a_key_is_made_of_its_parts_in_json() -> None:
    assert episode_key(seed=3, task="é", skills=[["a", "b", "c"]]) == "a26e56e1aefbd74d520e11053cbf55c5"


def test_stored_episodes_are_found_and_nobody_is_asked(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "store", tmp_path / "store")
    values = {
        "name": "asked",
        "method": "zero_shot",
        "model": "org/expert",
        "steps": 0,
        "env": {"name": "household", **WORLD},
        "rollout": {"max_new_tokens": 16},
        "endpoint": {"base_url": NOBODY, "store": str(tmp_path / "store"), "extra": {"top_p": 0.9}, "retries": 0},
    }
    engine = EndpointEngine(parse_recipe(values))
    assert isinstance(engine.world, HouseholdWorld)
    requests = [request(engine.world, exemplar=exemplar) for exemplar in (False, True)]
    episodes = engine.rollout.play(requests, engine.sampling)
    assert [episode.success and len(episode.turns) for episode in episodes] == [6, 6]
    assert engine.meter is not None
    assert (engine.meter.reused_episodes, engine.meter.stale, engine.meter.spent.requests) == (2, 0, 0)
    assert engine.meter.reused.prompt_tokens == 1620


ROW = (
    '{"key": "0123456789abcdef0123456789abcdef", "usage": {"requests": 2, "retries": 1, "prompt_tokens": 300, '
    '"completion_tokens": 21, "cached_tokens": 120, "estimated": 1, "empty": 0, "cut": 1}, "episode": {"task": {"id": '
    '"made/test/3", "category": "pick_and_place_simple", "split": "test", "source": "test:3"}, "seed": '
    '9223372036854775807, "skills": ["household-general", "household-pick"], "first_observation": "You see a café.\\n'
    'Your task is to: …", "turns": [{"response": "<think>So.</think><action>Take mug 1</action>", "action": '
    '"take mug 1", "observation": "You pick up the mug 1.", "reward": 0.0, "valid": true, "context_tokens": 120, '
    '"start": 0, "stop": 12, "well_formed": true, "compression": 1.0, "text_tokens": 0}, {"response": "put it down", '
    '"action": "", "observation": "Nothing happens.", "reward": 0.5, "valid": false, "context_tokens": 180, "start": '
    '12, "stop": 21, "well_formed": false, "compression": 2.5, "text_tokens": 200}], "success": false, "stop": '
    '"context_limit", "prompt_ids": [], "token_ids": [], "logprobs": [], "pictures": [], "views": [], "goal": ""}}\n'
)
KEY = "0123456789abcdef0123456789abcdef"
USAGE = Usage(2, 1, 300, 21, 120, 1, 0, 1)
EPISODE = Episode(
    task=Task("made/test/3", "pick_and_place_simple", "test", "test:3"),
    seed=9223372036854775807,
    skills=("household-general", "household-pick"),
    first_observation="You see a café.\nYour task is to: …",
    turns=(
        Turn(
            response="<think>So.</think><action>Take mug 1</action>",
            action="take mug 1",
            observation="You pick up the mug 1.",
            reward=0.0,
            valid=True,
            context_tokens=120,
            start=0,
            stop=12,
        ),
        Turn(
            response="put it down",
            action="",
            observation="Nothing happens.",
            reward=0.5,
            valid=False,
            context_tokens=180,
            start=12,
            stop=21,
            well_formed=False,
            compression=2.5,
            text_tokens=200,
        ),
    ),
    success=False,
    stop=StopReason.CONTEXT_LIMIT,
)


def test_a_stored_row_is_read_as_the_episode_it_was(tmp_path: Path) -> None:
    path = tmp_path / "org-expert-306f3606.jsonl"
    path.write_text(ROW, encoding="utf-8")
    store = EpisodeStore(tmp_path, NOBODY, "org/expert")
    assert (store.path, store.note, len(store)) == (path, "", 1)
    found = store.get(KEY)
    assert found is not None
    episode, usage = found
    for name in Episode.__dataclass_fields__:
        assert getattr(episode, name) == getattr(EPISODE, name), name
    assert usage == USAGE


def test_an_episode_is_stored_in_the_row_it_always_had(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path, NOBODY, "org/expert")
    store.add(KEY, EPISODE, USAGE)
    assert store.path.read_text(encoding="utf-8") == ROW


def test_a_stored_row_without_what_came_later_is_still_an_episode(tmp_path: Path) -> None:
    row = json.loads(ROW)
    for name in ("pictures", "views", "goal"):
        del row["episode"][name]
    for turn in row["episode"]["turns"]:
        for name in ("well_formed", "compression", "text_tokens"):
            del turn[name]
    store = EpisodeStore(tmp_path, NOBODY, "org/expert")
    store.path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    found = EpisodeStore(tmp_path, NOBODY, "org/expert").get(KEY)
    assert found is not None and found[0].task == EPISODE.task and found[0].turns[1].well_formed
