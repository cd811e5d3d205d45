"""Environments whose reset and step are coroutines play as others do, and a batch awaits them together."""

from __future__ import annotations

import asyncio

import pytest

from bench import LIBRARY
from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.envs.stepping import settled, settled_all
from imprint.models.local.sampler import LocalSampler
from imprint.models.sampling import Sampling
from imprint.rollout.base import Request
from imprint.rollout.tokens import TokenRollout
from imprint.types import StepResult
from tiny import DoorEnvironment, DoorWorld, tiny_policy


class Meeting:
    """Counts how many are being awaited at a time."""

    def __init__(self):
        self.now = self.most = 0

    async def wait(self):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1


class AsyncDoors(DoorWorld):
    """The doors, behind a network."""

    def __init__(self):
        self.meeting = Meeting()

    def environment(self):
        return AsyncEnvironment(self.max_turns, self.meeting)


class AsyncEnvironment(DoorEnvironment):
    def __init__(self, max_turns, meeting):
        super().__init__(max_turns)
        self.meeting = meeting

    async def reset(self, task, seed):
        await self.meeting.wait()
        return super().reset(task, seed)

    async def step(self, action):
        await self.meeting.wait()
        return super().step(action)


def played(world):
    policy = tiny_policy()
    rollout = TokenRollout(LocalSampler(policy), world, Context(policy, ContextConfig(style="plain")))
    tasks = world.tasks("test")
    return rollout.play([Request(task, 3, LIBRARY.serving(task.category)) for task in tasks], Sampling(1.0, 6))


def test_episodes_are_the_same_and_are_awaited_together():
    world = AsyncDoors()
    assert played(world) == played(DoorWorld())
    assert world.meeting.most == 8


def test_it_works_where_a_loop_is_running():
    async def inside():
        return played(AsyncDoors())

    assert asyncio.run(inside()) == played(DoorWorld())


def test_an_error_of_one_is_raised_when_all_have_ended():
    ended = []

    async def answer(text):
        await asyncio.sleep(0.001 * len(text))
        ended.append(text)
        if text == "bad":
            raise ValueError(text)
        return StepResult(text)

    with pytest.raises(ValueError, match="bad"):
        settled_all([answer("bad"), answer("longer")])
    assert ended == ["bad", "longer"]
    assert settled(answer("x")).observation == "x"
    assert [one.observation for one in settled_all([StepResult("a"), answer("b"), StepResult("c")])] == ["a", "b", "c"]
