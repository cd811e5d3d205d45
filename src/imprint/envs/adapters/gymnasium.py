"""Practise on a Gymnasium environment whose observations are text and whose actions are text or named numbers.

A recipe's `env: {name: gymnasium, id: "package:Env-v0"}`. A task is a seed of the environment: the splits have disjoint
ranges of them. The other direction, an Imprint world as a `gymnasium.Env`, is in `gymnasium_env.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import NonNegativeInt, PositiveInt

from imprint.envs.adapters.gymnasium_text import Codec
from imprint.envs.adapters.seeded import TURNS, UNKNOWN, Ask, Seeds, SuccessRule
from imprint.errors import GameError, RecipeError
from imprint.types import StepResult, Task

if TYPE_CHECKING:
    import gymnasium


class GymnasiumWorld:
    """Tasks of one Gymnasium environment.

    Args:
        id: as `gymnasium.make` takes it; `package:Env-v0` imports the package first, which runs its code.
        arguments: further arguments of `gymnasium.make`.
        observation: of observations that are mappings, the key of the text.
        actions: the names of the actions 0, 1, ... of a discrete space; a space of text needs none.
        categories: of tasks. One is that of all tasks; of several, `reset` gives a task's in `info["category"]`. By
            default one, the environment's id without package and version.
        success: the key of `info` with the success at the end of an episode.
        threshold: an episode is solved if its rewards come to this at its end, in place of `success`.
        max_turns: an episode ends after this many; by default the environment's own limit.
        seed: another one gives other tasks.
        train, validation, test: how many seeds each split has.
    """

    name = "gymnasium"

    def __init__(
        self,
        *,
        id: str,
        arguments: Mapping[str, Any] | None = None,
        observation: str | None = None,
        actions: Sequence[str] | None = None,
        categories: Sequence[str] | None = None,
        success: str = "success",
        threshold: float | None = None,
        max_turns: PositiveInt | None = None,
        seed: NonNegativeInt = 0,
        train: PositiveInt = 1000,
        validation: PositiveInt = 100,
        test: PositiveInt = 400,
    ) -> None:
        self.id = id
        self.arguments = dict(arguments or {})
        self.success = SuccessRule(success, threshold)
        self._tasks: dict[str, Sequence[Task]] = {}
        first = self.make()
        self.codec = Codec(first.observation_space, first.action_space, observation, actions)
        own_limit = None if first.spec is None else first.spec.max_episode_steps
        first.close()
        self.max_turns: int = max_turns or own_limit or TURNS
        self.categories = tuple(categories or [id.rpartition(":")[2].rpartition("/")[2].partition("-v")[0]])
        counts = {"train": train, "validation": validation, "test": test}
        self.seeds = Seeds(self.categories, counts, seed, id)

    def make(self) -> gymnasium.Env[Any, Any]:
        """A fresh environment.

        Raises:
            RecipeError: Gymnasium is not installed, or cannot make it.
        """
        try:
            import gymnasium
        except ImportError as error:
            raise RecipeError(
                "the package gymnasium is not installed", key="env.name", hint="pip install 'imprint[gymnasium]'"
            ) from error
        try:
            return gymnasium.make(self.id, disable_env_checker=True, **self.arguments)
        except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
            raise RecipeError(
                f"gymnasium cannot make {self.id!r}: {_first_line(error)}",
                key="env.id",
                hint="give an id as gymnasium.make takes it (`package:Env-v0`) and its env.arguments",
            ) from error

    def tasks(self, split: str) -> Sequence[Task]:
        """One task a seed; with several categories the environment is reset once for each, to ask for its own.

        Raises:
            RecipeError: there is no such split, or the environment gives no category of a task.
        """
        if split not in self._tasks:
            self._tasks[split] = self.seeds.tasks(split, self._asking)
        return self._tasks[split]

    def fingerprint(self, task: Task) -> str:
        """What a stored episode of `task` depends on, beside its id."""
        return f"{self.id}\n{sorted(self.arguments.items())}\n{task.source}"

    def environment(self) -> GymnasiumEnvironment:
        return GymnasiumEnvironment(self)

    @contextmanager
    def _asking(self) -> Iterator[Ask]:
        env = self.make()
        yield lambda seed: env.reset(seed=seed)[1].get("category")
        env.close()


class GymnasiumEnvironment:
    """One episode of a Gymnasium environment."""

    def __init__(self, world: GymnasiumWorld) -> None:
        self.world = world
        self.env: gymnasium.Env[Any, Any] | None = None

    def reset(self, task: Task, seed: int) -> StepResult:
        """Start `task`. The task's own seed decides the episode: `seed` changes nothing."""
        self.env, self.turn, self.total, self.shown = self.world.make(), 0, 0.0, ""
        observation, info = self.env.reset(seed=int(task.source))
        self.shown = self.world.codec.text(observation)
        return StepResult(self.shown, admissible=self.world.codec.admissible(info))

    def step(self, action: str) -> StepResult:
        """Act once; what is no action of the environment's never reaches it, and spends a turn.

        Raises:
            GameError: there was no reset, the environment fails, or gives no success at the end.
        """
        if self.env is None:
            raise GameError("step before reset", hint="call reset(task, seed) first")
        codec = self.world.codec
        meant = codec.action(action)
        self.turn += 1
        late = self.turn >= self.world.max_turns
        if meant is None:
            success = late and self.world.success.unasked(self.total)
            self._close(late)
            return StepResult(UNKNOWN, truncated=late, success=success, valid=False)
        try:
            observation, reward, terminated, truncated, info = self.env.step(meant)
        except Exception as error:
            raise GameError(
                f"fails at the action {action!r}: {type(error).__name__}: {_first_line(error)}",
                where=self.world.id,
                hint="fix the environment: an action that is not possible should be answered, not raise",
            ) from error
        self.total += float(reward)
        over = bool(terminated or truncated or late)
        success = over and self.world.success.of(info, self.total, self.world.id)
        self._close(over)
        return StepResult(
            codec.text(observation),
            reward=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated or late) and not terminated,
            success=success,
            valid=bool(info.get("valid", True)),
            admissible=() if over else codec.admissible(info),
        )

    def _close(self, over: bool) -> None:
        if over and self.env is not None:
            self.env.close()
            self.env = None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
