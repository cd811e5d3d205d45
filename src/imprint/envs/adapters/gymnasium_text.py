"""Gymnasium's spaces as text: which text an observation holds, and which action a text means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imprint.envs.values import as_truth, quoted
from imprint.errors import GameError, RecipeError

ADMISSIBLE = "admissible_commands"  # the key of `info`, as TextWorld has it


class Codec:
    """Between the text of a policy and the spaces of one environment.

    Args:
        observation: the key of the text in observations that are mappings.
        actions: the names of discrete actions, in their order.

    Raises:
        RecipeError: the spaces are not of text, or the names do not fit them.
    """

    def __init__(
        self, observations: Any, space: Any, observation: str | None = None, actions: Sequence[str] | None = None
    ) -> None:
        from gymnasium import spaces

        self.key = observation
        self.space = space
        self.names: dict[str, Any] = {}
        self._check_observations(observations)
        if isinstance(space, spaces.Discrete):
            self.names = _named(actions, int(space.n), int(space.start))
        elif not isinstance(space, spaces.Text):
            raise RecipeError(
                f"its actions are no text: {space}",
                key="env.id",
                hint="choose an environment with a Text or Discrete action space, or wrap it",
            )
        elif actions:
            raise RecipeError(
                "its actions are text, so they need no names", key="env.actions", hint="leave out env.actions"
            )

    def text(self, observation: Any) -> str:
        """The text of an observation.

        Raises:
            GameError: it holds none, though its space promised it.
        """
        found = observation.get(self.key) if self.key is not None and isinstance(observation, Mapping) else observation
        if not isinstance(found, str):
            raise GameError(
                f"an observation is no text but {type(found).__name__}",
                key="env.observation",
                hint="name the key of the text, or fix the environment",
            )
        return found

    def action(self, text: str) -> Any:
        """The action that a text means; None if it is none of the environment's."""
        if self.names:
            return self.names.get(text)
        return text if self.space.contains(text) else None

    def admissible(self, info: Mapping[str, Any]) -> tuple[str, ...]:
        """The commands possible now: those that `info` lists, or all names that its `action_mask` allows.

        Raises:
            GameError: the mask has not one entry for each name.
        """
        listed, mask = (_plain(info.get(key)) for key in (ADMISSIBLE, "action_mask"))
        if isinstance(listed, Sequence) and not isinstance(listed, str):
            return tuple(str(command) for command in listed)
        if mask is None or not self.names:
            return tuple(self.names)
        if not isinstance(mask, Sequence) or len(mask) != len(self.names):
            raise GameError(
                f"is {quoted(mask)}, for {len(self.names)} actions", key="info['action_mask']", hint="give one for each"
            )
        return tuple(name for name, may in zip(self.names, mask, strict=True) if as_truth(may, "info['action_mask']"))

    def _check_observations(self, space: Any) -> None:
        from gymnasium import spaces

        if isinstance(space, spaces.Dict):
            texts = [key for key, inner in space.spaces.items() if isinstance(inner, spaces.Text)]
            if self.key not in texts:
                raise RecipeError(
                    "its observations are mappings" + (f" without a text {self.key!r}" if self.key else ""),
                    key="env.observation",
                    hint=f"name the key of the text: {', '.join(texts) or 'it has none'}",
                )
        elif not isinstance(space, spaces.Text):
            raise RecipeError(
                f"its observations are no text: {space}",
                key="env.id",
                hint="choose an environment with a Text observation space, or wrap it",
            )
        elif self.key is not None:
            raise RecipeError(
                "its observations are text and no mappings", key="env.observation", hint="leave out env.observation"
            )


def _plain(values: Any) -> Any:
    """An array of NumPy or PyTorch as a list, anything else as it is."""
    return values.tolist() if hasattr(values, "tolist") else values


def _named(actions: Sequence[str] | None, count: int, start: int) -> dict[str, int]:
    if actions is None or len(actions) != count or len(set(actions)) != count:
        given = "none are given" if actions is None else f"{len(set(actions))} different ones are given"
        raise RecipeError(
            f"it has {count} actions that need names, and {given}",
            key="env.actions",
            hint="list a name for each, in the order of their numbers",
        )
    return {name: start + place for place, name in enumerate(actions)}
