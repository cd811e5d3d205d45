"""A small OpenEnv environment as a server of its own: `python openenv_doors.py SESSIONS` says its address."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import uvicorn
from openenv.core.env_server import Action, Environment, Observation, State, create_app

COLOURS = ("red", "blue")


class Say(Action):
    words: str


class Seen(Observation):
    sight: str
    category: str = ""
    solved: Any = False
    style: str = ""


class Doors(Environment):
    """Open the door of the colour that the first observation names; the other one ends it. It fails at "fail"."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self.colour, self.count = "", 0

    def reset(self, seed: Any = None, episode_id: Any = None, style: str = "", part: str = "", **_: Any) -> Seen:
        self.colour, self.count = COLOURS[seed % 2], 0
        return Seen(sight=f"{part}{style}Open the {self.colour} door.", category=self.colour)

    def step(self, action: Say, timeout_s: Any = None, **_: Any) -> Seen:
        if action.words == "fail":
            raise KeyError("a hole")
        self.count += 1
        if action.words.startswith("end with "):
            return Seen(sight=action.words, reward=None, done=True, solved=json.loads(action.words[9:]))
        opened = next((colour for colour in COLOURS if action.words == f"open {colour}"), None)
        right = opened == self.colour
        return Seen(sight="It opens." if opened else "You wait.", reward=float(right), done=bool(opened), solved=right)

    @property
    def state(self) -> State:
        return State(step_count=self.count)


if __name__ == "__main__":
    app = create_app(Doors, Say, Seen, max_concurrent_envs=int(sys.argv[1]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
