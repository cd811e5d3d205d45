"""Small Gymnasium environments to practise on: doors of two colours, in text, in mappings, and by number."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces

COLOURS = ("red", "blue")
LETTERS = spaces.Text(200, charset="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,")


class Doors(gymnasium.Env[Any, Any]):
    """Open the door of the colour that the first observation names; the other one ends it. It fails at the word "fail".

    Args:
        form: `text`, `mapping` (the text under "text", a number beside it), or `number` (actions by number from 5 on).
        says: what `info` says beside the colour: `success`, or nothing.
    """

    def __init__(self, form: str = "text", says: str = "success") -> None:
        self.form, self.says = form, says
        mapping = spaces.Dict({"text": LETTERS, "turn": spaces.Discrete(100)})
        self.observation_space = mapping if form == "mapping" else LETTERS
        self.action_space = spaces.Discrete(3, start=5) if form == "number" else LETTERS

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.colour, self.turn = COLOURS[int(self.np_random.integers(2))], 0
        info = (
            {"category": self.colour, "action_mask": [1, 1, 0]} if self.form == "number" else {"category": self.colour}
        )
        return self._shown(f"Open the {self.colour} door."), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.turn += 1
        if action == "fail":
            raise KeyError("a hole")
        commands = {5: "open red", 6: "open blue", 7: "wait"}
        said = commands.get(action, "") if self.form == "number" else action
        opened = next((colour for colour in COLOURS if said == f"open {colour}"), None)
        right = opened == self.colour
        info = {"success": right} if self.says == "success" else {}
        return self._shown("It opens." if opened else "You wait."), float(right), opened is not None, False, info

    def _shown(self, text: str) -> Any:
        return {"text": text, "turn": self.turn} if self.form == "mapping" else text


gymnasium.register("Doors-v0", entry_point=Doors, max_episode_steps=4)


class Odd(gymnasium.Env[Any, Any]):
    """Answers with what it is given, in place of Gymnasium's tuples."""

    observation_space = LETTERS
    action_space = spaces.Text(200, charset="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,!\n")

    def __init__(self, reset: Any = ("Act.", {}), step: Any = None) -> None:
        self.answers = reset, step

    def reset(self, **_: Any) -> Any:
        if isinstance(self.answers[0], Exception):
            raise self.answers[0]
        return self.answers[0]

    def step(self, action: Any) -> Any:
        return (action, 0.0, True, False, {"success": True}) if self.answers[1] is None else self.answers[1]


gymnasium.register("Odd-v0", entry_point=Odd)
gymnasium.register("Many-v0", entry_point=lambda: gymnasium.make_vec("Odd-v0", num_envs=2, vectorization_mode="sync"))


def _imprint_doors() -> gymnasium.Env[Any, Any]:
    from imprint.envs.gymnasium_env import as_gymnasium
    from tiny import DoorWorld

    return as_gymnasium(DoorWorld())


gymnasium.register("ImprintDoors-v0", entry_point=_imprint_doors)
