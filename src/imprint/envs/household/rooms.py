"""Furnishes a small room for a task and fills it with things; `homes.py` makes those of the published size."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imprint.envs.household.catalog import (
    BESIDE_COUNTER,
    BESIDE_LAST,
    CONTAINS,
    FAVOURED,
    FIXED,
    OPENABLE,
    SITES,
    STUCK,
    Furniture,
    Room,
    flags_of,
)
from imprint.envs.household.game import Object, Receptacle
from imprint.envs.household.splits import LIGHT, TREATED, TWO, Ask, split_of
from imprint.errors import GameError

MAX_TRIES = 2000  # at one layout in seven, no luck this long is a fault of the tables


@dataclass(frozen=True, slots=True)
class Scale:
    """Bounds of a size: how many receptacles and portable objects, and at most how many receptacles alike."""

    receptacles: tuple[int, int]
    objects: tuple[int, int]
    alike: int


def draw_layout(rng: random.Random, ask: Ask, room: Room, scale: Scale, split: str) -> list[str]:
    """The receptacle types of a room that belongs to `split`, sorted; the task can be done with them."""
    for _ in range(MAX_TRIES):
        layout = sorted(_furnish(rng, room, _needed(rng, ask, room), scale))
        if len(layout) >= scale.receptacles[0] and split_of(layout) == split:
            return layout
    raise GameError(
        f"no {room.name} for {ask.family} {ask.object_type} {ask.target} falls to {split}",
        key="catalog.ROOMS",
        hint="give the room more kinds of furniture",
    )


def _needed(rng: random.Random, ask: Ask, room: Room) -> set[str]:
    """The furniture without which the task cannot be done, and a place where the object can be found."""
    needed = set(room.core)
    if ask.family == LIGHT:
        needed.add(_draw(rng, room.places(ask.target)).type)
    else:
        needed.add(ask.target)
    homes = [f for f in room.places(ask.object_type) if f.type != ask.target]
    needed.add(_draw(rng, homes).type)
    if ask.family in TREATED:
        needed.add(TREATED[ask.family][0])
    return needed


def _draw(rng: random.Random, furniture: Sequence[Furniture]) -> Furniture:
    return rng.choices(furniture, [0.2 + f.share for f in furniture])[0]


def _furnish(rng: random.Random, room: Room, needed: set[str], scale: Scale) -> list[str]:
    counts = {}
    for f in room.furniture:
        if f.type in needed or rng.random() < f.share:
            counts[f.type] = f.low if f.low == f.high else round(rng.triangular(f.low, f.high, f.mode))
    extra = []
    for kind, count in counts.items():
        extra += [kind] * (min(count, scale.alike) - (kind in needed))
    rng.shuffle(extra)
    low, high = scale.receptacles
    size = rng.randint(max(low, len(needed)), high)
    if len(needed) + len(extra) < low:  # too few pieces: a second one of some
        extra += sorted(set(extra)) + sorted(needed)
    return [*sorted(needed), *extra[: size - len(needed)]]


class Names:
    """Gives out ids in ALFRED's manner (type and coordinates), each once."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.taken: set[str] = set()

    def thing(self, kind: str) -> str:
        """The id of a receptacle or object."""
        base, suffix = (kind.removesuffix("Basin"), f"_bar_{kind}") if kind.endswith("Basin") else (kind, "")
        return self._fresh(lambda: f"{base}_bar_{self._metres()}_bar_{self._metres()}_bar_{self._metres()}{suffix}")

    def location(self) -> str:
        """The id of a place to stand."""
        between = self.rng.randrange
        return self._fresh(
            lambda: f"loc_bar_{_signed(between(-15, 16))}_bar_{_signed(between(-15, 16))}_bar_{between(4)}_bar_60"
        )

    def _fresh(self, draw: Callable[[], str]) -> str:
        while True:
            name = draw()
            if name.lower() not in self.taken:
                self.taken.add(name.lower())
                return name

    def _metres(self) -> str:
        centimetres = self.rng.randrange(-399, 400)
        sign = "_minus_" if centimetres < 0 else "_plus_"
        return f"{sign}{abs(centimetres) // 100:02d}_dot_{abs(centimetres) % 100:02d}"


def _signed(number: int) -> str:
    return str(number) if number >= 0 else f"_minus_{-number}"


def place_furniture(rng: random.Random, layout: Sequence[str], names: Names) -> list[Receptacle]:
    """The furniture of `layout`, each piece at its own spot; a few share one, as in the published rooms."""
    made: list[Receptacle] = []
    last: dict[str, str] = {}
    for kind in layout:
        location = names.location()
        if kind in last and rng.random() < BESIDE_LAST.get(kind, 0.0):
            location = last[kind]
        elif "CounterTop" in last and rng.random() < BESIDE_COUNTER.get(kind, 0.0):
            location = last["CounterTop"]
        last[kind] = location
        openable = kind in OPENABLE and rng.random() >= STUCK.get(kind, 0.0)
        made.append(Receptacle(names.thing(kind), kind, location, openable))
    return made


class Filler:
    """Puts objects into the furniture of one room."""

    def __init__(self, rng: random.Random, receptacles: Sequence[Receptacle], names: Names) -> None:
        self.rng, self.names = rng, names
        self.made: list[Object] = []
        self.by_type: defaultdict[str, list[Receptacle]] = defaultdict(list)
        for receptacle in receptacles:
            self.by_type[receptacle.type].append(receptacle)

    def fill(self, ask: Ask, room: Room, scale: Scale) -> list[Object]:
        """The objects of the goal, then others of the room until there are as many as `scale` wants."""
        # An object that has to be treated may lie where it has to end: it is not done yet.
        taboo = "" if ask.family in TREATED else ask.target
        copies = self.rng.choices((1, 2, 3, 4), (40, 30, 20, 10))[0]
        self._add(ask.object_type, ask.target)
        for _ in range(max(copies, 2 if ask.family == TWO else 1) - 1):
            self._add(ask.object_type, taboo)
        if ask.family == LIGHT:
            self._add(ask.target)
        others = [thing for thing in self._draw_things(room) if thing not in (ask.object_type, ask.target)]
        for kind in others:
            if kind in FIXED:
                self._add(kind)
        portable = [kind for kind in others if kind not in FIXED]
        self._top_up(portable, self.rng.randint(*scale.objects))
        return self.made

    def _top_up(self, kinds: list[str], wanted: int) -> None:
        """Add portable objects in random order, more than once round if need be."""
        fitting = [kind for kind in kinds if self._places(kind)]
        self.rng.shuffle(fitting)
        missing = wanted - sum(thing.type not in FIXED for thing in self.made)
        for n in range(missing if fitting else 0):
            self._add(fitting[n % len(fitting)])

    def _draw_things(self, room: Room) -> list[str]:
        drawn = []
        for thing in room.things:
            if self.rng.random() < thing.share:
                more = (thing.mean - 1) / 3  # up to three more, so many on average
                drawn += [thing.type] * (1 + sum(self.rng.random() < more for _ in range(3 if more else 0)))
        return drawn

    def _places(self, kind: str, taboo: str = "") -> list[str]:
        sites = SITES.get(kind, ())
        return [place for place in self.by_type if place != taboo and (kind in CONTAINS[place] or place in sites)]

    def _add(self, kind: str, taboo: str = "") -> None:
        """Put one object where it may lie, but not in a `taboo` receptacle; left out if nowhere will do."""
        places = self._places(kind, taboo)
        if places:
            place = self.rng.choices(places, [FAVOURED.get(place, 1.0) for place in places])[0]
            receptacle = self.rng.choice(self.by_type[place])
            self.made.append(Object(self.names.thing(kind), kind, receptacle.id, receptacle.location, flags_of(kind)))
