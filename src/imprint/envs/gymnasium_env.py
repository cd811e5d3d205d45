"""An Imprint world as a `gymnasium.Env`: `as_gymnasium(world, split)`, or by `gymnasium.make`:

    gymnasium.make("imprint.envs.gymnasium_env:imprint/World-v0", world="household", split="train")

Observations and actions are text. `info` has the task's id and category, what is possible now, and after a step whether
the action was valid and the task is solved. Needs `pip install 'imprint[gymnasium]'`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium import spaces

from imprint.envs.adapters.gymnasium_text import ADMISSIBLE
from imprint.envs.base import World, make_world
from imprint.envs.checked import CheckedEnvironment
from imprint.envs.stepping import settled
from imprint.errors import RecipeError
from imprint.types import Task

__all__ = ["ID", "WorldEnv", "as_gymnasium"]

ID = "imprint/World-v0"
LONGEST_ACTION, LONGEST_OBSERVATION = 1024, 65536  # of what a space samples; any text is in it


class AnyText(spaces.Text):
    """Any text, of whatever script: Gymnasium's own space knows an alphabet."""

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)


class WorldEnv(gymnasium.Env[str, str]):
    """The tasks of one split as episodes.

    `reset(options={"task": ID})` plays that task; otherwise one is drawn by the environment's generator, so that
    `reset(seed=...)` always gives the same.

    Args:
        world: a world, or the name of an installed one.
        split: whose tasks are played.
        render_mode: `ansi`: `render` gives the last observation.
        options: of the world, where it is given by name.

    Raises:
        RecipeError: there is no such world or split, or an option is mistaken.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012 - as Gymnasium declares it

    def __init__(
        self, world: World | str, split: str = "train", render_mode: str | None = None, **options: Any
    ) -> None:
        self.world = make_world(world, **options) if isinstance(world, str) else world
        self.tasks = {task.id: task for task in self.world.tasks(split)}
        if not self.tasks:
            raise RecipeError(f"the split {split!r} is empty", key="split", hint="choose another split")
        self.observation_space = AnyText(LONGEST_OBSERVATION, min_length=0)
        self.action_space = AnyText(LONGEST_ACTION, min_length=0)
        self.render_mode = render_mode
        self._ids = list(self.tasks)
        self._live: CheckedEnvironment | None = None
        self._shown = ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode.

        Raises:
            RecipeError: `options` names a task that the split does not have.
        """
        super().reset(seed=seed)
        task = self._task(options or {})
        self._live = CheckedEnvironment(self.world)
        result = settled(self._live.reset(task, int(self.np_random.integers(2**31))))
        self._shown = result.observation
        return result.observation, {"task": task.id, "category": task.category, ADMISSIBLE: list(result.admissible)}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if self._live is None:
            raise gymnasium.error.ResetNeeded("the episode is over, or has not begun: call reset()")
        result = settled(self._live.step(action))
        self._shown = result.observation
        terminated = result.terminated or result.success
        if terminated or result.truncated:
            self._live = None
        info = {"success": result.success, "valid": result.valid, ADMISSIBLE: list(result.admissible)}
        return result.observation, result.reward, terminated, result.truncated and not terminated, info

    def render(self) -> str | None:
        return self._shown if self.render_mode == "ansi" else None

    def _task(self, options: Mapping[str, Any]) -> Task:
        name = options.get("task")
        if name is None:
            return self.tasks[self._ids[int(self.np_random.integers(len(self._ids)))]]
        if name not in self.tasks:
            raise RecipeError(
                f"no task of this split is called {name!r}", key="options.task", hint=f"try: {', '.join(self._ids[:2])}"
            )
        return self.tasks[name]


def as_gymnasium(
    world: World | str, split: str = "train", *, render_mode: str | None = None, **options: Any
) -> WorldEnv:
    """A world, or the installed one of this name with these options, as a Gymnasium environment."""
    return WorldEnv(world, split, render_mode, **options)


gymnasium.register(ID, entry_point="imprint.envs.gymnasium_env:WorldEnv")
