"""Practise on an OpenEnv environment that a server has, with text in and text out.

A recipe's `env: {name: openenv, url: "http://localhost:8000"}`. A task is a seed that `reset` is given. Each episode in
flight has a session of its own, by the client of `openenv-core` (`pip install 'imprint[openenv]'`). The other
direction, Imprint's worlds for OpenEnv clients, is in `openenv_server.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from imprint.envs.adapters.openenv_client import Schemas, ServerSession, read_schemas
from imprint.envs.adapters.seeded import TURNS, UNKNOWN, Ask, Seeds, SuccessRule
from imprint.envs.values import as_number, as_truth, quoted
from imprint.errors import GameError, RecipeError
from imprint.types import StepResult, Task

LISTED = "admissible_commands"  # the field of observations with the possible commands, where there is one


class OpenEnvWorld:
    """Tasks of one OpenEnv environment behind a URL.

    Args:
        url: of the server.
        observation: the field of its observations that has the text.
        action: the field of its actions that takes the text.
        arguments: further arguments of `reset`.
        split: the argument of `reset` that takes the split's name, if the environment has one.
        categories: of tasks. One is that of all tasks; of several, the field `category` of the first observation
            has that of a task.
        success: the field of the last observation with the success.
        threshold: an episode is solved if its rewards come to this at its end, in place of `success`.
        folds_answers: its commands are in small letters: those of chat models are lower-cased.
        max_turns: an episode ends after this many.
        sessions: that the server can have at once; the recipe's `rollout.batch` should not be larger.
        timeout: seconds that the server may take for an answer.
        seed: another one gives other tasks.
        train, validation, test: how many seeds each split has.
    """

    name = "openenv"

    def __init__(
        self,
        *,
        url: str,
        observation: str = "text",
        action: str = "text",
        arguments: Mapping[str, Any] | None = None,
        split: str | None = None,
        categories: Sequence[str] = ("all",),
        success: str = "success",
        threshold: float | None = None,
        folds_answers: bool = False,
        max_turns: PositiveInt = TURNS,
        sessions: PositiveInt = 256,
        timeout: PositiveFloat = 60.0,
        seed: NonNegativeInt = 0,
        train: PositiveInt = 1000,
        validation: PositiveInt = 100,
        test: PositiveInt = 400,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise RecipeError(f"{url!r} is no address of a server", key="env.url", hint="write http://HOST:PORT")
        self.url = url.rstrip("/")
        self.observation, self.action = observation, action
        self.arguments, self.split = dict(arguments or {}), split
        self.success = SuccessRule(success, threshold)
        self.folds_answers = folds_answers
        self.max_turns: int = max_turns
        self.timeout = timeout
        self.categories = tuple(categories)
        self.seeds = Seeds(self.categories, {"train": train, "validation": validation, "test": test}, seed, self.url)
        _check_fields(read_schemas(self.url, timeout), self)
        self._most, self._open = sessions, 0
        self._free: list[ServerSession] = []
        self._tasks: dict[str, Sequence[Task]] = {}

    def tasks(self, split: str) -> Sequence[Task]:
        """One task a seed; with several categories the environment is reset once for each, to ask for its own.

        Raises:
            RecipeError: there is no such split, or the environment gives no category of a task.
            GameError: the server does not answer.
        """
        if split not in self._tasks:
            self._tasks[split] = self.seeds.tasks(split, lambda: self._asking(split))
        return self._tasks[split]

    def fingerprint(self, task: Task) -> str:
        """What a stored episode of `task` depends on, beside its id."""
        return f"{self.url}\n{sorted(self.arguments.items())}\n{task.split if self.split else ''}\n{task.source}"

    def environment(self) -> OpenEnvEnvironment:
        return OpenEnvEnvironment(self)

    def beginning(self, seed: int, split: str) -> dict[str, Any]:
        """The arguments of `reset` for a task."""
        return {**self.arguments, **({self.split: split} if self.split else {}), "seed": seed}

    def take(self) -> ServerSession:
        """A session that is not in use.

        Raises:
            GameError: all that the server can have are in use.
        """
        if self._free:
            return self._free.pop()
        if self._open >= self._most:
            raise GameError(
                f"more than {self._most} episodes are in flight, and the server has no more sessions",
                where=self.url,
                key="env.sessions",
                hint=f"set rollout.batch: {self._most}, or raise env.sessions and the server's own limit",
            )
        self._open += 1
        return ServerSession(self.url, self.timeout)

    def give_back(self, session: ServerSession) -> None:
        """The session can be played in again, unless it broke."""
        if session.broken:
            self._open -= 1
        else:
            self._free.append(session)

    @contextmanager
    def _asking(self, split: str) -> Iterator[Ask]:
        session = self.take()
        yield lambda seed: session.reset(self.beginning(seed, split)).observation.get("category")
        self.give_back(session)


class OpenEnvEnvironment:
    """One episode in a session of its own."""

    def __init__(self, world: OpenEnvWorld) -> None:
        self.world = world
        self.session: ServerSession | None = None

    def reset(self, task: Task, seed: int) -> StepResult:
        """Start `task`. The task's own seed decides the episode: `seed` changes nothing.

        Raises:
            GameError: the server does not answer, or has no more sessions.
        """
        self._end(True)
        self.session, self.turn, self.total = self.world.take(), 0, 0.0
        answer = self.session.reset(self.world.beginning(int(task.source), task.split))
        values = self._values(answer)
        return StepResult(self._text(values), admissible=_listed(values))

    def step(self, action: str) -> StepResult:
        """Act once; an empty command never reaches the server, and spends a turn.

        Raises:
            GameError: there was no reset, the server does not answer or fails, or gives no success at the end.
        """
        if self.session is None:
            raise GameError("step before reset", hint="call reset(task, seed) first")
        self.turn += 1
        late = self.turn >= self.world.max_turns
        answer = self.session.step({self.world.action: action}) if action else None
        if answer is None:
            self._end(late)
            success = late and self.world.success.unasked(self.total)
            return StepResult(UNKNOWN, truncated=late, success=success, valid=False)
        values = self._values(answer)
        reward = 0.0 if answer.reward is None else as_number(answer.reward, "reward")  # OpenEnv's None: no reward
        done = as_truth(answer.done, "done")
        self.total += reward
        # Imprint's own servers tell it apart; OpenEnv has `done` only.
        cut_off = as_truth(values.get("truncated", False), "truncated")
        over = done or cut_off or late
        success = over and self.world.success.of(values, self.total, self.world.url)
        self._end(over)
        return StepResult(
            self._text(values),
            reward=reward,
            terminated=done and not cut_off,
            truncated=cut_off or (late and not done),
            success=success,
            valid=as_truth(values.get("valid", True), "valid"),
            admissible=() if over else _listed(values),
        )

    def __del__(self) -> None:  # an episode that ended for want of context was never finished
        self._end(True)

    def _values(self, answer: Any) -> Mapping[str, Any]:
        if isinstance(answer.observation, Mapping):
            return answer.observation
        problem = f"an observation is {quoted(answer.observation)}, and no mapping"
        raise GameError(problem, where=self.world.url, hint="fix the environment")

    def _text(self, observation: Mapping[str, Any]) -> str:
        found = observation.get(self.world.observation)
        if not isinstance(found, str):
            raise GameError(
                f"an observation has no text under {self.world.observation!r}",
                where=self.world.url,
                key="env.observation",
                hint=f"name the field of the text; there are: {', '.join(map(str, observation))}",
            )
        return found

    def _end(self, over: bool) -> None:
        if over and self.session is not None:
            self.world.give_back(self.session)
            self.session = None


def _listed(observation: Mapping[str, Any]) -> tuple[str, ...]:
    listed = observation.get(LISTED)
    return tuple(map(str, listed)) if isinstance(listed, list) else ()


def _check_fields(schemas: Schemas, world: OpenEnvWorld) -> None:
    """The fields that the options name are those that the server has.

    Raises:
        RecipeError: one is not, or an action needs more than a text.
    """
    for what, name, fields in (
        ("observation", world.observation, schemas.observation),
        ("action", world.action, schemas.action),
    ):
        if name not in fields:
            raise RecipeError(
                f"an {what} of {world.url} has no field {name!r}",
                key=f"env.{what}",
                hint=f"its fields are: {', '.join(fields) or 'none'}",
            )
    more = [name for name in schemas.required if name != world.action]
    if more:
        raise RecipeError(
            f"an action of {world.url} needs {more[0]!r} beside a text",
            key="env.url",
            hint="choose an environment whose action is one text",
        )
