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
from imprint.envs.checked import environment_errors
from imprint.envs.values import as_number, as_truth, quoted
from imprint.errors import GameError, RecipeError
from imprint.types import StepResult, Task

if TYPE_CHECKING:
    import gymnasium

STEPPED = ("observation", "reward", "terminated", "truncated", "info")


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
        folds_answers: its commands are in small letters: those of chat models are lower-cased.
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
        folds_answers: bool = False,
        max_turns: PositiveInt | None = None,
        seed: NonNegativeInt = 0,
        train: PositiveInt = 1000,
        validation: PositiveInt = 100,
        test: PositiveInt = 400,
    ) -> None:
        self.id = id
        self.arguments = dict(arguments or {})
        self.success = SuccessRule(success, threshold)
        self.folds_answers = folds_answers
        self._tasks: dict[str, Sequence[Task]] = {}
        first = self.make()
        self.codec = Codec(first.observation_space, first.action_space, observation, actions)
        own_limit = None if first.spec is None else first.spec.max_episode_steps
        with environment_errors(id, "closing it"):
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
        except (Exception, SystemExit) as error:  # importing and making it runs its own code
            raise RecipeError(
                f"gymnasium cannot make {self.id!r}: {(str(error).splitlines() or [type(error).__name__])[0]}",
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
        yield lambda seed: self.begun(env, seed)[1].get("category")
        env.close()

    def begun(self, env: gymnasium.Env[Any, Any], seed: int) -> tuple[Any, Mapping[str, Any]]:
        """Observation and info of a reset.

        Raises:
            GameError: the environment fails, or gives something else.
        """
        with environment_errors(self.id, f"the reset with the seed {seed}"):
            observation, info = self._parts(env.reset(seed=seed), ("observation", "info"))
        return observation, info

    def stepped(self, env: gymnasium.Env[Any, Any], action: Any) -> tuple[Any, float, bool, bool, Mapping[str, Any]]:
        """Observation, reward, terminated, truncated and info of a step.

        Raises:
            GameError: the environment gives something else.
        """
        observation, reward, terminated, truncated, info = self._parts(env.step(action), STEPPED)
        number = as_number(reward, "reward")
        return observation, number, as_truth(terminated, "terminated"), as_truth(truncated, "truncated"), info

    def _parts(self, given: Any, parts: Sequence[str]) -> tuple[Any, ...]:
        if isinstance(given, tuple) and len(given) == len(parts) and isinstance(given[-1], Mapping):
            return given
        raise GameError(
            f"gives {quoted(given)}, and not ({', '.join(parts)})",
            where=self.id,
            hint="info is a mapping; an environment of Gym before 0.26 has to be wrapped",
        )


class GymnasiumEnvironment:
    """One episode of a Gymnasium environment."""

    def __init__(self, world: GymnasiumWorld) -> None:
        self.world = world
        self.env: gymnasium.Env[Any, Any] | None = None

    def reset(self, task: Task, seed: int) -> StepResult:
        """Start `task`. The task's own seed decides the episode: `seed` changes nothing."""
        self.env, self.turn, self.total = self.world.make(), 0, 0.0
        observation, info = self.world.begun(self.env, int(task.source))
        return StepResult(self.world.codec.text(observation), admissible=self.world.codec.admissible(info))

    def step(self, action: str) -> StepResult:
        """Act once; what is no action of the environment's never reaches it, and spends a turn.

        Raises:
            GameError: there was no reset, the environment gives something else than Gymnasium's, or no success at the
                end.
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
        observation, reward, terminated, truncated, info = self.world.stepped(self.env, meant)
        self.total += reward
        over = terminated or truncated or late
        success = over and self.world.success.of(info, self.total, self.world.id)
        self._close(over)
        return StepResult(
            codec.text(observation),
            reward=reward,
            terminated=terminated,
            truncated=(truncated or late) and not terminated,
            success=success,
            valid=as_truth(info.get("valid", True), "info['valid']"),
            admissible=() if over else codec.admissible(info),
        )

    def _close(self, over: bool) -> None:
        if over and self.env is not None:
            self.env.close()
            self.env = None
