"""Demonstrations that a policy begins itself, up to a turn drawn at random, and that the teacher finishes.

A teacher alone shows only the states that it comes to. A policy that has strayed from them (a place searched twice, the
wrong thing taken, a command repeated in vain) was never shown a way back, and repeats itself to the end of the episode.
Here the states are its own, and the actions are the teacher's: DAgger (arXiv 1011.0686), in the form of one switch per
episode (Forward training with rollouts: arXiv 1406.5979), which keeps an episode one sequence.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from imprint.envs.base import Demonstration, Environment, Practice, PractisableWorld
from imprint.envs.stepping import Answer
from imprint.models.sampling import Sampling
from imprint.rollout.tokens import Request, TokenRollout, derive_seed
from imprint.types import Task

__all__ = ["OwnPlay"]


class OwnPlay:
    """Lets the policy of `rollout` begin games of `world`'s lessons, sampled as `sampling` says."""

    def __init__(self, world: PractisableWorld, rollout: TokenRollout, sampling: Sampling) -> None:
        self.world, self.rollout, self.sampling = world, rollout, sampling

    def demonstrations(self, lessons: Sequence[str], seed: int) -> list[Demonstration]:
        """One for each lesson in which something is left to show; everything is drawn from `seed`."""
        drawn = [
            self.world.practice(derive_seed(seed, "practice", place), lesson=lesson)
            for place, lesson in enumerate(lessons)
        ]
        games = [game for game in drawn if game is not None]
        played = TokenRollout(self.rollout.sampler, _Games(games, self.world.max_turns), self.rollout.context).play(
            [
                Request(Task(str(n), "", "train"), derive_seed(seed, "play", n), game.pages)
                for n, game in enumerate(games)
            ],
            self.sampling,
        )
        rng = random.Random(derive_seed(seed, "cut"))
        begun = [[turn.action for turn in episode.turns] for episode in played]
        finished = [
            game.finished(actions[: rng.randrange(len(actions))]) for game, actions in zip(games, begun, strict=True)
        ]
        return [demo for demo in finished if demo is not None]


class _Games:
    """The world of these games; a task's id is its number among them."""

    name = "practice"
    categories: tuple[str, ...] = ()

    def __init__(self, games: Sequence[Practice], max_turns: int) -> None:
        self.games, self.max_turns = games, max_turns

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(str(number), "", split) for number in range(len(self.games))]

    def environment(self) -> Environment:
        return _Game(self)


class _Game:
    """One of them, which the rollout checks like any other environment."""

    def __init__(self, games: _Games) -> None:
        self.games = games

    def reset(self, task: Task, seed: int) -> Answer:
        self.playing = self.games.games[int(task.id)].episode()
        return self.playing.reset(task, seed)

    def step(self, action: str) -> Answer:
        return self.playing.step(action)
