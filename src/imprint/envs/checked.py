"""The one door between environments, whoever wrote them, and everything that plays them.

What comes out of it is a `StepResult` with fields of plain types (`values.py`). What an environment raises becomes an
error that names the world, the task, the action, and the line of the environment's code.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

import imprint
from imprint.envs.base import World
from imprint.envs.stepping import Answer
from imprint.envs.values import checked_result, quoted, written
from imprint.errors import GameError, ImprintError
from imprint.types import StepResult, Task

__all__ = ["CheckedEnvironment", "environment_errors"]

LONGEST = 200  # characters of a message in an error
RESET = "the reset"
OURS = Path(imprint.__file__).parent
RESULT_HINT = "return imprint.types.StepResult(observation, reward=..., terminated=..., success=...)"
RAISE_HINT = "fix the environment; an action that is not understood is answered with valid=False, and raises nothing"


class CheckedEnvironment:
    """A fresh environment of `world`, synchronous or not, whose episodes end at the world's `max_turns` at the latest.

    Raises:
        GameError: the environment raises something that is no error of Imprint's, gives no `StepResult` or one with a
            field of another type, the episode is over before its first action, or another one has begun in the same
            environment.
    """

    _latest: ClassVar[WeakValueDictionary[int, CheckedEnvironment]] = WeakValueDictionary()  # by environment

    def __init__(self, world: World) -> None:
        self._world = world
        self._task, self._turns = "", 0
        with environment_errors(world.name, "making an environment"):
            self._environment = world.environment()

    def reset(self, task: Task, seed: int) -> Answer:
        """Start `task`."""
        self._task, self._turns = f" of the task {task.id!r}", 0
        self._latest[id(self._environment)] = self
        return self._answer(lambda: self._environment.reset(task, seed), RESET)

    def step(self, action: str) -> Answer:
        """Act once."""
        self._turns += 1
        if self._latest.get(id(self._environment), self) is not self:
            raise self._error("plays two episodes in one environment", "environment() gives a new one at each call")
        return self._answer(lambda: self._environment.step(action), f"the action {_short(repr(action))}")

    def _answer(self, ask: Callable[[], Answer], what: str) -> Answer:
        with environment_errors(self._world.name, what + self._task):
            answer = ask()
        return self._awaited(answer, what) if inspect.isawaitable(answer) else self._checked(answer, what)

    async def _awaited(self, answer: Awaitable[StepResult], what: str) -> StepResult:
        with environment_errors(self._world.name, what + self._task):
            result = await answer
        return self._checked(result, what)

    def _checked(self, result: object, what: str) -> StepResult:
        if not isinstance(result, StepResult):
            raise self._error(f"answers {what}{self._task} with {quoted(result)}, and no StepResult", RESULT_HINT)
        try:
            plain = checked_result(result)
        except GameError as error:
            problem = f"answers {what}{self._task} with a StepResult whose `{error.key}` {error.problem}"
            raise self._error(problem, error.hint) from error
        over = plain.done or plain.success
        if over and what == RESET:
            raise self._error(f"says that the episode is over at {what}{self._task}", "reset to a state to act in")
        return plain if over or self._turns < self._world.max_turns else replace(plain, truncated=True)

    def _error(self, problem: str, hint: str | None) -> GameError:
        return GameError(f"the world {self._world.name!r} {problem}", hint=hint)


@contextmanager
def environment_errors(world: str, what: str) -> Iterator[None]:
    """What the code of a world raises within, at `what`, becomes an error that names both.

    Raises:
        GameError: its place is the innermost line that is not Imprint's.
    """
    try:
        yield
    except ImprintError as error:
        if error.where is None:
            error.where = f"the world {world!r} at {what}"
            error.args = (error.describe(),)
        raise
    except (Exception, SystemExit) as error:  # an environment that calls sys.exit would end the job without a word
        frames = [one for one in traceback.extract_tb(error.__traceback__) if OURS not in Path(one.filename).parents]
        where, line = (frames[-1].filename, frames[-1].lineno) if frames else (None, None)
        message = _short((written(error, str).splitlines() or [""])[0])
        problem = f"the world {world!r} fails at {what}: {type(error).__name__}: {message}"
        raise GameError(problem.removesuffix(": "), where=where, line=line, hint=RAISE_HINT) from error


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
