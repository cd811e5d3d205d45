"""OpenEnv in both directions, with real servers: practising on a served environment, and our worlds as served ones."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from imprint.envs.adapters.openenv import OpenEnvWorld
from imprint.envs.base import make_world
from imprint.envs.checked import CheckedEnvironment
from imprint.envs.stepping import settled
from imprint.errors import GameError, RecipeError
from imprint.jobs.train import train_run
from imprint.recipe import parse_recipe
from imprint.runs.run import Run
from imprint.types import StepResult
from tiny import tiny_policy

pytest.importorskip("openenv.core", reason="needs imprint[openenv]")
DOORS = Path(__file__).with_name("openenv_doors.py")
FIELDS = {"observation": "sight", "action": "words", "success": "solved", "train": 6, "validation": 4, "test": 4}
HOUSE = {"max_turns": 3, "train": 6, "validation": 6, "test": 6}


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    """The address of a server in a process of its own."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r"http://\S+", said)
        assert found, f"no address but {said!r}, status {process.poll()}"
        yield found[0]
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(autouse=True)
def _sessions_end() -> Iterator[None]:
    """What a test still held in an error's traceback gives its sessions back to the server."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server(str(DOORS), "4") as address:
        yield address


@pytest.fixture(scope="module")
def household() -> Iterator[str]:
    """Our household, served."""
    options = [part for key, value in HOUSE.items() for part in ("--set", f"{key}={value}")]
    with server("-m", "imprint.cli", "envs", "serve", "household", "--port", "0", *options) as address:
        yield address


def doors(url: str, **options: Any) -> OpenEnvWorld:
    world = make_world("openenv", **{"url": url, **FIELDS, **options})
    assert isinstance(world, OpenEnvWorld)
    return world


def play(world: OpenEnvWorld, number: int, *actions: str) -> list[StepResult]:
    environment, task = CheckedEnvironment(world), world.tasks("train")[number]
    return [settled(environment.reset(task, 0)), *(settled(environment.step(action)) for action in actions)]


# Practising on a served environment


def test_a_task_is_a_seed_and_success_is_the_value_of_the_server(url: str) -> None:
    world = doors(url, categories=["red", "blue"])
    assert [task.category for task in world.tasks("train")] == ["red", "blue"] * 3
    for number, (right, wrong) in enumerate((("red", "blue"), ("blue", "red"))):
        first, waited, opened = play(world, number, "wait", f"open {right}")
        assert first.observation == f"Open the {right} door." and waited.observation == "You wait."
        assert opened.terminated and opened.success and opened.reward == 1
        failed = play(world, number, f"open {wrong}")[-1]
        assert failed.terminated and not failed.success
    assert len({task.source for split in ("train", "validation", "test") for task in world.tasks(split)}) == 14


def test_arguments_and_the_split_go_to_reset(url: str) -> None:
    first, *_ = play(doors(url, arguments={"style": "Now! "}, split="part"), 0)
    assert first.observation == "trainNow! Open the red door."


def test_our_turn_limit_is_truncation_and_silence_spends_a_turn(url: str) -> None:
    results = play(doors(url, max_turns=3), 0, "", "wait", "wait")
    assert [result.valid for result in results] == [True, False, True, True]
    assert [result.truncated for result in results] == [False, False, False, True]
    assert play(doors(url, max_turns=1, threshold=1.0), 0, "")[-1].truncated


def test_sessions_are_used_again_and_limited(url: str) -> None:
    world = doors(url, sessions=2)
    for _ in range(5):
        play(world, 0, "open red")
    task, live = world.tasks("train")[0], [world.environment() for _ in range(3)]
    for environment in live[:2]:
        environment.reset(task, 0)
    with pytest.raises(GameError, match="more than 2 episodes") as caught:
        live[2].reset(task, 0)
    assert "rollout.batch: 2" in str(caught.value.hint)
    del environment, live[:2]  # episodes that nobody finishes give theirs back
    assert world.environment().reset(task, 0).observation == "Open the red door."


def test_a_server_without_room_is_told(url: str) -> None:
    world = doors(url, sessions=8)
    live = [world.environment() for _ in range(6)]
    with pytest.raises(GameError, match="cannot begin an episode") as caught:
        for environment in live:
            environment.reset(world.tasks("train")[0], 0)
    assert "max_concurrent_envs" in str(caught.value.hint)


def test_a_server_that_fails_is_told_with_the_action_and_the_next_episode_begins(url: str) -> None:
    world = doors(url)
    with pytest.raises(GameError, match=r"fails at the action \{'words': 'fail'\}.*a hole"):
        play(world, 0, "fail")
    assert play(world, 0, "open red")[-1].success


@pytest.mark.parametrize("success", ['"false"', "null", "0.5", "[true]", "{}"])
def test_a_success_that_is_neither_true_nor_false_is_an_error(url: str, success: str) -> None:
    with pytest.raises(GameError, match=r"'solved' at the end of an episode is .*, and neither") as caught:
        play(doors(url), 0, f"end with {success}")
    assert caught.value.key == "env.success"


def test_an_action_reaches_the_server_as_it_was_said_and_no_reward_is_0(url: str) -> None:
    said = "end with   1"
    *_, result = play(doors(url), 0, "Öffne\n  DICH!", said)
    assert result.observation == said and result.success is True and result.reward == 0.0


def test_a_threshold_decides_where_the_server_does_not_say(url: str) -> None:
    with pytest.raises(GameError, match="gives no 'success'"):
        play(doors(url, success="success"), 0, "open red")
    assert play(doors(url, success="success", threshold=1.0), 0, "open red")[-1].success


@pytest.mark.parametrize(
    ("options", "key", "problem"),
    [
        ({"observation": "text"}, "env.observation", "no field 'text'"),
        ({"action": "text"}, "env.action", "no field 'text'"),
        ({"url": "localhost:8000"}, "env.url", "no address"),
        ({"categories": ["red", "red"]}, "env.categories", "twice"),
        ({"sessions": 0}, "env.sessions", "greater than"),
    ],
)
def test_what_does_not_fit_is_told_with_its_key(url: str, options: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(RecipeError, match=problem) as caught:
        doors(**{"url": url, **options})
    assert caught.value.key == key


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(GameError, match="does not answer"):
        doors("http://127.0.0.1:9")


# Our worlds, served


def test_an_openenv_client_plays_our_world(household: str) -> None:
    from openenv.core import GenericEnvClient

    world = make_world("household", **HOUSE)
    task = world.tasks("train")[2]
    straight = world.environment()
    with GenericEnvClient(household).sync() as client:
        first = client.reset(seed=2)
        assert first.observation["task"] == task.id and first.observation["category"] == task.category
        assert first.observation["text"] == straight.reset(task, 0).observation and not first.done
        assert "look" in first.observation["admissible_commands"]
        for command in ("look", "dance", "look"):
            expected, found = straight.step(command), client.step({"text": command})
            assert found.observation["text"] == expected.observation
            assert found.observation["valid"] == expected.valid and found.done == expected.done
        assert found.done and found.observation["truncated"] and not found.observation["success"]
        with pytest.raises(RuntimeError, match="no episode is going on"):
            client.step({"text": "look"})
        chosen = client.reset(task="made/test/1", split="test")
        assert chosen.observation["task"] == "made/test/1"
        with pytest.raises(RuntimeError, match="no task is called"):
            client.reset(task="made/test/999")


def test_there_and_back_a_world_trains(household: str, tmp_path: Path) -> None:
    """The household, served, as the world of a run: the same tasks in the same splits."""
    families = list(make_world("household").categories)
    env = {"name": "openenv", "url": household, "split": "split", "categories": families, **HOUSE}
    tiny_policy(max_context=8192).save(tmp_path / "model")
    recipe = {
        "name": "around",
        "method": "imprint",
        "model": str(tmp_path / "model"),
        "steps": 2,
        "threads": 1,
        "env": env,
        "rollout": {"tasks": 2, "group": 2, "max_new_tokens": 4},
        "curriculum": {"stages": 2, "interval": 1},
        "evaluation": {"interval": 2, "tasks": 2, "test_tasks": 2},
    }
    assert train_run(parse_recipe(recipe), tmp_path / "run", quiet=True)
    run = Run.open(tmp_path / "run")
    assert run.status()["state"] == "finished"
    straight = make_world("household", **HOUSE)
    shown = {straight.environment().reset(task, 0).observation for task in straight.tasks("validation")}
    assert {episode["first_observation"] for episode in _episodes(run.path)} <= shown


def _episodes(run: Path) -> list[dict[str, Any]]:
    from imprint.support.files import read_jsonl

    return [row for path in sorted((run / "episodes").glob("*.jsonl")) for row in read_jsonl(path)]
