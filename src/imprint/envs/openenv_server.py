"""Imprint's worlds as OpenEnv environments: `imprint envs serve WORLD`, made by the server factory of `openenv-core`.

An action is a text; an observation is a text with what Imprint knows beside it. `reset(seed=...)` chooses the task (the
same seed, the same task), or `reset(task=ID)`; `reset(split=...)` another split than the one that is served.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, cast
from uuid import uuid4

from openenv.core.env_server import Action, Observation, State, create_app
from openenv.core.env_server import Environment as OpenEnvironment
from openenv.core.env_server.types import EnvironmentMetadata
from pydantic import Field

from imprint.envs.base import World
from imprint.envs.checked import CheckedEnvironment
from imprint.envs.stepping import settled
from imprint.errors import GameError
from imprint.types import StepResult, Task

__all__ = ["TextAction", "TextObservation", "WorldServer", "serve_world"]

LONGEST = 16384  # characters of an action


class TextAction(Action):
    """An action of the policy."""

    text: str = Field(max_length=LONGEST, description="The command.")


class TextObservation(Observation):
    """What the world answers. `reward` and `done` are OpenEnv's own."""

    text: str = Field(description="The observation.")
    success: bool = Field(default=False, description="The task is solved.")
    truncated: bool = Field(default=False, description="The turn limit ended the episode.")
    valid: bool = Field(default=True, description="The command was understood and possible.")
    admissible_commands: list[str] = Field(default=[], description="What is possible now.")
    task: str = Field(description="The task's id.")
    category: str = Field(description="The task's category; it decides which skills serve it.")


class WorldServer(OpenEnvironment[TextAction, TextObservation, State]):
    """One session in a world.

    Args:
        lock: shared by all sessions, which are threads: a world need not be safe for them.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, world: World, split: str, lock: Lock) -> None:
        super().__init__()
        self.world, self.split, self.lock = world, split, lock
        self._live: CheckedEnvironment | None = None
        self._task: Task | None = None
        self._state = State(episode_id=str(uuid4()), step_count=0)

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        task: str | None = None,
        split: str | None = None,
        **_: Any,
    ) -> TextObservation:
        """Begin an episode.

        Raises:
            GameError: there is no such task.
            RecipeError: there is no such split.
        """
        with self.lock:
            chosen = _choose(self.world.tasks(split or self.split), seed, task)
            live = CheckedEnvironment(self.world)
            result = settled(live.reset(chosen, seed or 0))
        self._live, self._task = live, chosen
        self._state = State(episode_id=episode_id or str(uuid4()), step_count=0)
        return self._shown(result)

    def step(self, action: TextAction, timeout_s: float | None = None, **_: Any) -> TextObservation:
        """Act once.

        Raises:
            GameError: no episode is going on.
        """
        if self._live is None:
            raise GameError("no episode is going on", hint="reset first; after `done`, reset again")
        with self.lock:
            result = settled(self._live.step(action.text))
        self._state.step_count += 1
        if result.done or result.success:
            self._live = None
        return self._shown(result)

    @property
    def state(self) -> State:
        return self._state

    def get_metadata(self) -> EnvironmentMetadata:
        return EnvironmentMetadata(
            name=self.world.name,
            description=f"Imprint's world {self.world.name}: {', '.join(self.world.categories)}; "
            f"at most {self.world.max_turns} turns.",
        )

    def _shown(self, result: StepResult) -> TextObservation:
        assert self._task is not None
        return TextObservation(
            text=result.observation,
            reward=result.reward,
            done=result.done or result.success,
            success=result.success,
            truncated=result.truncated,
            valid=result.valid,
            admissible_commands=list(result.admissible),
            task=self._task.id,
            category=self._task.category,
        )


def serve_world(world: World, split: str = "train", sessions: int = 64) -> Any:
    """The FastAPI application that plays the tasks of `split`, with at most so many sessions at once."""
    lock = Lock()
    make = cast(Callable[[], Any], lambda: WorldServer(world, split, lock))
    return create_app(make, TextAction, TextObservation, env_name=world.name, max_concurrent_envs=sessions)


def _choose(tasks: Sequence[Task], seed: int | None, name: str | None) -> Task:
    if name is not None:
        named = [task for task in tasks if task.id == name]
        if not named:
            raise GameError(f"no task is called {name!r}", hint=f"try: {', '.join(task.id for task in tasks[:2])}")
        return named[0]
    if not tasks:
        raise GameError("the split has no tasks", hint="choose another split")
    return tasks[random.randrange(len(tasks)) if seed is None else seed % len(tasks)]
