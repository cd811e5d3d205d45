"""Worlds of others: actions reach them as they were said, and nothing that they answer counts for what it is not."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import imprint
from bench import LIBRARY
from imprint.context.chat import ChatContext
from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.engine.base import tasks_of
from imprint.envs.answers import parse_folded, parse_tags
from imprint.envs.base import World, make_world, own_format
from imprint.envs.checked import CheckedEnvironment
from imprint.envs.stepping import settled
from imprint.errors import GameError, PolicyError, RecipeError
from imprint.models.local.sampler import LocalSampler
from imprint.models.sampling import Sampling
from imprint.rollout.base import Request
from imprint.rollout.tokens import TokenRollout
from imprint.types import StepResult, StopReason, Task
from tiny import DoorEnvironment, DoorWorld, tiny_policy

SAID = "  Öffne\tdie  TÜR, bitte:\n  print('Hi!')  # 门"


# Actions


def test_an_action_reaches_an_environment_as_it_was_said() -> None:
    context = ChatContext(ContextConfig(), *own_format(DoorWorld()))
    assert context.parse(f"<think>So.</think><action>{SAID}\n</action>") == (SAID.strip(), True)
    assert context.parse("<think>a</think><ACTION>Go</ACTION>") == ("Go", True)  # the tags may be of any case


def test_a_world_asks_for_folding_by_an_attribute() -> None:
    class Folding(DoorWorld):
        folds_answers = True

    for world in (Folding(), make_world("household")):
        context = ChatContext(ContextConfig(), *own_format(world))
        assert context.parse("<think>a</think><action>Open  The DOOR</action>") == ("open  the door", True)
        assert context.parse("<think>门</think><action>Open</action>") == ("open", False)


def published(response: str) -> tuple[str, bool]:
    """The rules of SKILL0's reference code, on the lower-cased response."""
    text = response.lower()
    match = re.search(r"<action>(.*?)</action>", text, re.DOTALL)
    well_formed = (
        match is not None
        and text.count("<action>") == text.count("</action>") == 1
        and response.count("<think>") == response.count("</think>") == 1
        and text.count("<compression>") <= 1
        and text.count("</compression>") <= 1
        and re.search("[\u4e00-\u9fff]", response) is None
    )
    return (match.group(1).strip() if match else "", well_formed)


TAGS = ["<action>", "</action>", "<ACTION>", "</Action>", "<act\u0130on>", "<think>", "</think>", "<Think>"]
OTHERS = ["<compression>", "</COMPRESSION>", "Go North", "\u0130", "\u212a", "ΑΣ", "\n", " ", "门", "<", ">"]
PIECES = st.sampled_from([*TAGS, *OTHERS])


@given(st.lists(PIECES | st.text(max_size=3), max_size=9).map("".join))
def test_folded_answers_are_read_as_published(response: str) -> None:
    assert parse_folded(response) == published(response)
    action, _ = parse_tags(response)
    assert action.lower() == published(response)[0] and action in response


# Answers

RIGHT = StepResult("It opens.", 1.0, terminated=True, success=True, admissible=("wait",))
TRUE = [True, 1, 1.0, np.True_, np.bool_(1), np.array(True), np.int64(1), np.float32(1), torch.tensor(True)]
NEITHER: list[Any] = [
    "false",
    "true",
    "",
    None,
    0.7,
    -1,
    2,
    math.nan,
    np.array([True]),
    np.array([False, True]),
    [],
    {},
]
NEITHER += [[False], object(), torch.tensor([True, False]), np.array(0.5), b"1"]
NUMBERS = [0.5, 1, True, np.float32(0.5), np.array(2), np.int8(-3), torch.tensor(1.5), Fraction(1, 2)]
NO_NUMBERS: list[Any] = [None, "1", math.nan, math.inf, np.array([1.0]), np.array([1.0, 2.0]), [1.0], {}, 10**400]
NO_NUMBERS += [np.float64("nan"), torch.tensor([1.0]), 1j]


class Answering(DoorWorld):
    """Answers `step` with what it is given, `reset` with the opening of the doors or what it is given."""

    def __init__(self, step: Any = RIGHT, reset: Any = None) -> None:
        self.answers = step, reset

    def environment(self) -> Any:
        step, reset = self.answers

        class Environment(DoorEnvironment):
            def reset(self, task: Task, seed: int) -> Any:
                return super().reset(task, seed) if reset is None else _given(reset)

            def step(self, action: str) -> Any:
                return _given(step)

        return Environment(self.max_turns)


class Awaited(Answering):
    """The same, with coroutines."""

    def environment(self) -> Any:
        inner = super().environment()

        class Environment:
            async def reset(self, task: Task, seed: int) -> Any:
                return inner.reset(task, seed)

            async def step(self, action: str) -> Any:
                return inner.step(action)

        return Environment()


def _given(answer: Any) -> Any:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def play(world: World, action: str = "Open!") -> StepResult:
    environment = CheckedEnvironment(world)
    settled(environment.reset(world.tasks("train")[0], 0))
    return settled(environment.step(action))


@pytest.mark.parametrize("value", TRUE, ids=repr)
@pytest.mark.parametrize("field", ["success", "terminated", "truncated", "valid"])
def test_scalars_that_are_true_are_true(field: str, value: Any) -> None:
    assert getattr(play(Answering(replace(RIGHT, **{field: value}))), field) is True


@pytest.mark.parametrize("value", NEITHER, ids=lambda value: re.sub(" at 0x.*", "", repr(value)))
@pytest.mark.parametrize("field", ["success", "terminated", "truncated", "valid"])
@pytest.mark.parametrize("kind", [Answering, Awaited])
def test_what_is_neither_true_nor_false_is_an_error(kind: type[Answering], field: str, value: Any) -> None:
    with pytest.raises(GameError, match=rf"'doors' answers the action 'Open!' of the task 'train/0'.*`{field}` is "):
        play(kind(replace(RIGHT, **{field: value})))


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_rewards_and_scores_become_floats(value: Any) -> None:
    found = play(Answering(replace(RIGHT, reward=value, score=value)))
    assert type(found.reward) is type(found.score) is float
    assert found.reward == found.score == float(value)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:20])
def test_what_is_no_finite_number_is_an_error(value: Any) -> None:
    with pytest.raises(GameError, match=r"`reward` is .* no finite number"):
        play(Answering(replace(RIGHT, reward=value)))
    if value is not None:  # no score
        with pytest.raises(GameError, match=r"`score` is .* no finite number"):
            play(Answering(replace(RIGHT, score=value)))


@pytest.mark.parametrize("value", [None, b"It opens.", 3, ["It opens.", "You wait."], np.array(["a"]), {"text": "a"}])
@pytest.mark.parametrize("where", ["step", "reset"])
def test_an_observation_is_a_text(where: str, value: Any) -> None:
    with pytest.raises(GameError, match=r"`observation` is .* no text"):
        play(Answering(**{where: StepResult(value)}))


def test_texts_of_other_kinds_and_halves_of_characters_become_plain_text() -> None:
    found = play(Answering(StepResult("a\ud800b \U0001f600 \ud83d\ude00", admissible=[np.str_("look"), "\udc00"])))  # type: ignore[arg-type]
    assert found.observation == "a\ufffdb \U0001f600 \U0001f600" and found.admissible == ("look", "\ufffd")
    found.observation.encode()


@pytest.mark.parametrize("value", ["look", None, [1], ("look", None), {"look"}, 3])
def test_possible_commands_are_texts(value: Any) -> None:
    with pytest.raises(GameError, match=r"`admissible(\[\d\])?` is "):
        play(Answering(replace(RIGHT, admissible=value)))


@pytest.mark.parametrize("value", [None, "It opens.", ("It opens.", 1.0, True, False, {}), True, object()])
@pytest.mark.parametrize("kind", [Answering, Awaited])
@pytest.mark.parametrize("where", ["step", "reset"])
def test_what_is_no_result_is_an_error(where: str, kind: type[Answering], value: Any) -> None:
    if where == "reset" and value is None:
        pytest.skip("stands for the reset of the doors")
    with pytest.raises(GameError, match="no StepResult") as caught:
        play(kind(**{where: value}))
    assert "imprint.types.StepResult" in str(caught.value.hint)


@pytest.mark.parametrize("kind", [Answering, Awaited])
def test_what_an_environment_raises_names_task_action_and_line(kind: type[Answering]) -> None:
    with pytest.raises(GameError, match="'doors' fails at the reset of the task 'train/0': OSError: no disk") as caught:
        play(kind(reset=OSError("no disk\nmore")))
    assert caught.value.where == __file__ and caught.value.line
    with pytest.raises(GameError, match=r"fails at the action '门 \\x1b' of the task 'train/0': KeyError\n"):
        play(kind(step=KeyError()), "门 \x1b")
    with pytest.raises(
        PolicyError, match=r"the world 'doors' at the action .*: ours"
    ):  # an error of ours stays what it is
        play(kind(step=PolicyError("ours")))


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@pytest.mark.parametrize("kind", [Answering, Awaited])
def test_an_environment_that_ends_the_process_or_cannot_be_quoted_is_told(kind: type[Answering]) -> None:
    with pytest.raises(GameError, match="fails at the action 'look' of the task 'train/0': SystemExit: 0"):
        play(kind(step=SystemExit(0)), "look")
    with pytest.raises(GameError, match="fails at the action 'look' of the task 'train/0': UnspeakableError: <"):
        play(kind(step=UnspeakableError()), "look")
    value = type("Unquotable", (), {"__repr__": UnspeakableError.__str__})()
    with pytest.raises(GameError, match=r"`reward` is <.* \(Unquotable\), and no finite number"):
        play(kind(step=StepResult("", reward=value)), "look")


def test_an_environment_for_several_episodes_at_once_is_an_error() -> None:
    class Shared(DoorWorld):
        def __init__(self) -> None:
            self.only = super().environment()

        def environment(self) -> Any:
            return self.only

    world = Shared()
    task = world.tasks("test")[0]
    one, other = CheckedEnvironment(world), CheckedEnvironment(world)
    settled(one.reset(task, 0))
    assert settled(one.step("look")).observation  # one episode after the other is fine
    settled(other.reset(task, 0))
    with pytest.raises(GameError, match="plays two episodes in one environment"):
        one.step("look")
    assert settled(other.step("look")).observation


def test_tasks_are_told_apart_by_their_ids() -> None:
    class Twice(DoorWorld):
        def tasks(self, split: str) -> list[Task]:
            return [Task("a", "red", split), Task("b", "red", split), Task("a", "blue", split)]

    with pytest.raises(RecipeError, match="1 ids of 'train' stand for several tasks, the first is 'a'"):
        tasks_of(Twice(), "train")


def test_tasks_that_cannot_be_had_are_told() -> None:
    class Broken(DoorWorld):
        def tasks(self, split: str) -> list[Task]:
            raise OSError("no disk")

    with pytest.raises(GameError, match="'doors' fails at the tasks of 'train': OSError: no disk"):
        tasks_of(Broken(), "train")


def test_an_environment_that_cannot_be_made_is_told() -> None:
    class Broken(DoorWorld):
        def environment(self) -> Any:
            raise RuntimeError("no display")

    with pytest.raises(GameError, match="fails at making an environment: RuntimeError: no display"):
        CheckedEnvironment(Broken())


@pytest.mark.parametrize("opening", [replace(RIGHT, success=False), StepResult("", success=True)])
def test_an_episode_that_is_over_at_its_reset_is_an_error(opening: StepResult) -> None:
    with pytest.raises(GameError, match="the episode is over at the reset of the task 'train/0'"):
        play(Answering(reset=opening))


def test_an_episode_ends_at_the_worlds_limit_whatever_its_environment_says() -> None:
    environment = CheckedEnvironment(Answering(StepResult("Nothing happens.")))
    for _ in range(2):
        settled(environment.reset(Task("a", "red", "train"), 0))
        assert [settled(environment.step("wait")).truncated for _ in range(4)] == [False, False, False, True]


@pytest.mark.parametrize("kind", [Answering, Awaited])
@pytest.mark.parametrize("success", ["false", None, 0.4, np.array([False, False])])
def test_no_rollout_counts_it_as_success(kind: type[Answering], success: Any) -> None:
    with pytest.raises(GameError, match="`success` is"):
        rolled(kind(replace(RIGHT, success=success)))
    (episode,) = rolled(kind(replace(RIGHT, success=np.False_)))
    assert not episode.success and episode.stop is StopReason.FAILURE


def rolled(world: World) -> Any:
    policy = tiny_policy()
    rollout = TokenRollout(LocalSampler(policy), world, Context(policy, ContextConfig(style="plain")))
    task = world.tasks("test")[0]
    return rollout.play([Request(task, 3, LIBRARY.serving(task.category))], Sampling(1.0, 6))


def test_there_is_no_other_door() -> None:
    package = Path(imprint.__file__).parent
    made = [
        f"{path.relative_to(package)}:{node.lineno}"
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "environment"
    ]
    assert len(made) == 1 and made[0].startswith("envs/checked.py")
