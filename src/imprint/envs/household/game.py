"""A household game at rest: what a `game.tw-pddl` file holds, without a way to play it.

Written by `maker.py`, read by `pddl.py`, played by `engine.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import blake2b

# The six task families, by the names ALFWorld's folders use.
FAMILIES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A piece of furniture. `id` is the PDDL id, `type` is without the suffix `Type` (e.g. "SinkBasin")."""

    id: str
    type: str
    location: str
    openable: bool = False
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Object:
    """A thing. `receptacle` is the PDDL id of what it is in or on (None: nowhere); `flags` are the unary
    predicates of the init state that hold for it, in lower case (pickupable, cleanable, heatable, coolable,
    sliceable, toggleable, isclean, ishot, iscool, istoggled, isreceptacleobject, ...)."""

    id: str
    type: str
    receptacle: str | None
    location: str | None
    flags: frozenset[str] = frozenset()
    inside: str | None = None  # the object it is inside of (`inReceptacleObject`)
    also_in: tuple[str, ...] = ()  # further receptacles it is in: real rooms have overlapping furniture
    also_at: tuple[str, ...] = ()  # further locations it can be reached from


@dataclass(frozen=True, slots=True)
class Goal:
    """What wins.

    `count` distinct objects of `object_type` in one receptacle of `target_type`, each with every flag of
    `require` (e.g. {"cleanable", "isclean"}); or, when `toggle_type` is set, an object of that type toggled and in
    a receptacle at the agent's location, while the agent holds an object of `object_type`.
    """

    object_type: str
    target_type: str | None = None
    count: int = 1
    require: frozenset[str] = frozenset()
    toggle_type: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """Which receptacle types change an object (without the suffix `Type`). They come from the domain of the game's own
    file; random ones make the games on which a base policy learns to follow skill text."""

    clean: frozenset[str] = frozenset({"Sink", "SinkBasin"})
    heat: frozenset[str] = frozenset({"Microwave"})
    cool: frozenset[str] = frozenset({"Fridge"})
    slice: frozenset[str] = frozenset({"Knife", "ButterKnife"})


@dataclass(frozen=True, slots=True)
class Game:
    """One game.

    Attributes:
        id: unique name (the folder of a real game, relative to the data root; `made/<split>/<n>` for a made one).
        family: one of FAMILIES.
        sentence: the task as the player reads it, after "Your task is to: ".
        start: the location id of the agent.
        can_contain: (receptacle type, object type) pairs.
        put_verb: "move" (current grammar: `move X to Y`) or "put" (`put X in/on Y`).
        walkthrough: commands that win, if the file has them.
    """

    id: str
    family: str
    sentence: str
    receptacles: tuple[Receptacle, ...]
    objects: tuple[Object, ...]
    start: str
    can_contain: frozenset[tuple[str, str]]
    goal: Goal
    rules: Rules = field(default_factory=Rules)
    put_verb: str = "move"
    walkthrough: tuple[str, ...] = ()


def fingerprint(game: Game) -> str:
    """A hash of all contents of a game; the same in every process."""
    text = json.dumps(asdict(game), default=sorted, sort_keys=True)  # sets in order
    return blake2b(text.encode(), digest_size=16).hexdigest()
