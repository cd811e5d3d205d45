"""What the published rooms hold, counted over ALFWorld's train split: the facts behind made games of size `alfred`.

`room_statistics.json` has sums over thousands of games; no game or room can be read back from it. It is written by
`benchmarks/support/count_rooms.py`. The split `valid_seen` is not counted, so it shows how alike the made games are
(`benchmarks/maker_distribution.py`).
"""

from __future__ import annotations

import json
import random
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import accumulate
from typing import Any

FILE = "room_statistics.json"
KINDS = ("kitchen", "living room", "bedroom", "bathroom")
RATIO = 4.0  # a size of room that is rarer than this among those drawn stays too rare: more draws would be wasted
_SIGNS = {"bathroom": "Toilet", "kitchen": "Fridge", "bedroom": "Bed"}  # furniture that only this kind of room has


def kind_of(furniture: Iterable[str]) -> str:
    """The kind of room that has this furniture."""
    types = set(furniture)
    return next((kind for kind, sign in _SIGNS.items() if sign in types), "living room")


def fours(receptacles: int) -> int:
    """The size class of a room."""
    return receptacles // 4


class Histogram:
    """Values with how often each was counted."""

    __slots__ = ("_last", "_sums", "_values")

    def __init__(self, counts: Mapping[Any, float]) -> None:
        self._values = tuple(counts)
        self._sums = tuple(accumulate(counts.values()))
        self._last = len(self._values) - 1

    def draw(self, rng: random.Random) -> Any:
        """A value, as often as it was counted."""
        # As random.choices does, without a list for each draw: a room takes dozens.
        return self._values[bisect(self._sums, rng.random() * self._sums[-1], 0, self._last)]


Branch = tuple[str, str, tuple[Histogram, ...]]  # parent, child, the child's levels for each level of the parent


class Tree:
    """Types that come together or keep apart: how often the levels of two neighbours met, in a tree of such pairs.

    A level is 0 where there is none of the type. A draw starts anywhere, so that one type can be made sure of.
    """

    def __init__(self, pairs: Mapping[str, Sequence[Sequence[int]]]) -> None:
        self._near: defaultdict[str, dict[str, Sequence[Sequence[int]]]] = defaultdict(dict)
        for names, table in pairs.items():
            a, b = names.split()
            self._near[a][b] = table
            self._near[b][a] = tuple(zip(*table, strict=True))
        self._plans: dict[str, tuple[Histogram, tuple[Branch, ...]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._near

    def draw(self, rng: random.Random, sure: str) -> dict[str, int]:
        """type -> its level (those of level 0 too), given that there is some of `sure`."""
        if sure not in self._plans:
            self._plans[sure] = self._plan(sure)
        first, branches = self._plans[sure]
        levels = {sure: first.draw(rng)}
        for parent, child, rows in branches:
            levels[child] = rows[levels[parent]].draw(rng)
        return levels

    def _plan(self, root: str) -> tuple[Histogram, tuple[Branch, ...]]:
        table = next(iter(self._near[root].values()))
        first = Histogram({level: sum(row) for level, row in enumerate(table) if level})
        branches: list[Branch] = []
        open_ends, seen = [root], {root}
        while open_ends:
            parent = open_ends.pop()
            for child, rows in self._near[parent].items():
                if child not in seen:
                    branches.append((parent, child, tuple(_levels(row) for row in rows)))
                    open_ends.append(child)
                    seen.add(child)
        return first, tuple(branches)

    def share(self, name: str) -> float:
        """The share of rooms that have some of a type."""
        table = next(iter(self._near[name].values()))
        return sum(map(sum, table[1:])) / sum(map(sum, table))


def _levels(counts: Sequence[int]) -> Histogram:
    return Histogram(dict(enumerate(counts)) if any(counts) else {0: 1})


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """One kind of room.

    Attributes:
        furniture: (receptacle type, level) -> how many there are; the levels part the rooms by that number.
        furniture_tree: the levels of receptacle types; `things_tree` those (0 or 1) of object types.
        things: object type -> how many of it there are, where there are any.
        lies: object type -> receptacle type -> the chance to lie in one piece of it, relative to the others.
        doors: receptacle type -> tenths of the pieces of a room that open; the others never do.
        beside: receptacle type -> another that comes earlier -> the chance to be reached from its spot.
        groups: receptacle type -> for 1, 2, ... pieces at one spot, the chance that the next is reached from it too.
        totals: size class -> the chance to keep a room of it: the tree alone makes too many of some.
    """

    furniture: Mapping[tuple[str, int], Histogram]
    furniture_tree: Tree
    things: Mapping[str, Histogram]
    things_tree: Tree
    lies: Mapping[str, Mapping[str, float]]
    doors: Mapping[str, Histogram]
    beside: Mapping[str, Mapping[str, float]]
    groups: Mapping[str, tuple[float, ...]]
    totals: Mapping[int, float]

    def draw_furniture(self, rng: random.Random, sure: str) -> list[str]:
        """Receptacle types, sorted, one entry a piece; there is some of `sure`."""
        levels = self.furniture_tree.draw(rng, sure)
        layout: list[str] = []
        for kind in sorted(levels):
            if levels[kind]:
                layout += [kind] * self.furniture[kind, levels[kind]].draw(rng)
        return layout

    def keeps(self, rng: random.Random, layout: Sequence[str]) -> bool:
        """Whether a room drawn so is taken, so that large and small ones come as often as in the published games."""
        return rng.random() < self.totals.get(fours(len(layout)), 0.0)


@dataclass(frozen=True, slots=True)
class RoomStatistics:
    """All that was counted.

    Attributes:
        goals: (family, object type, target or lamp type) -> games in each of KINDS.
        copies: family -> how many things of the goal's type there are.
        asked: (family, receptacle type) -> how much more often a thing that is asked for lies there than another.
        at_lamp: the chance that a thing to look at lies where the lamp stands, if such things ever do.
        shut: family -> the chance that a door has to be opened to get what is asked for, if such things ever lie
            behind one.
        overlaps: receptacle type -> another -> the share of its things that lie in one of the other too.
        single: the receptacle types that hold one thing at most.
    """

    goals: Mapping[tuple[str, str, str], tuple[int, ...]]
    copies: Mapping[str, Histogram]
    asked: Mapping[tuple[str, str], float]
    at_lamp: float
    shut: Mapping[str, float]
    overlaps: Mapping[str, Mapping[str, float]]
    single: frozenset[str]
    rooms: Mapping[str, RoomFacts]


@cache
def room_statistics() -> RoomStatistics:
    """The facts, read once."""
    document = json.loads((resources.files(__package__) / FILE).read_text(encoding="utf-8"))
    goals: dict[tuple[str, str, str], tuple[int, ...]] = {}
    for family, counts in document["goals"].items():
        for names, rooms in counts.items():
            thing, target = names.split()
            goals[family, thing, target] = tuple(rooms)
    lit, looks = document["at_lamp"]
    return RoomStatistics(
        goals=goals,
        copies={family: _from_one(counts) for family, counts in document["copies"].items()},
        asked={
            (family, place): found / expected
            for family, counts in document["asked"].items()
            for place, (found, expected) in counts.items()
        },
        at_lamp=lit / looks,
        shut={family: shut / games for family, (shut, games) in document["shut"].items()},
        overlaps=document["overlaps"],
        single=frozenset(document["single"]),
        rooms={kind: room_facts(facts) for kind, facts in document["rooms"].items()},
    )


def _from_one(counts: Sequence[int]) -> Histogram:
    return Histogram(dict(enumerate(counts, start=1)))


def _from_text(counts: Mapping[str, int]) -> Histogram:
    return Histogram({int(number): times for number, times in counts.items()})


def room_facts(facts: Mapping[str, Any]) -> RoomFacts:
    """The facts of a kind of room, from its part of the file."""
    furniture: defaultdict[tuple[str, int], dict[int, int]] = defaultdict(dict)
    pieces: defaultdict[str, int] = defaultdict(int)
    for kind, counts in facts["furniture"].items():
        for number, (level, games) in counts.items():
            furniture[kind, level][int(number)] = games
            pieces[kind] += int(number) * games
    return RoomFacts(
        furniture={key: Histogram(counts) for key, counts in furniture.items()},
        furniture_tree=Tree(facts["furniture_tree"]),
        things={kind: _from_one(counts) for kind, counts in facts["things"].items()},
        things_tree=Tree(facts["things_tree"]),
        lies={thing: {r: n / pieces[r] for r, n in counts.items()} for thing, counts in facts["lies"].items()},
        doors={kind: _from_text(tenths) for kind, tenths in facts["doors"].items()},
        beside={
            kind: {other: joined / could for other, (joined, could) in counts.items()}
            for kind, counts in facts["beside"].items()
        },
        groups={
            kind: tuple(joined / could if could else 0.0 for joined, could in sizes)
            for kind, sizes in facts["groups"].items()
        },
        totals=_chances(facts["totals"]),
    )


def _chances(totals: Mapping[str, Sequence[int]]) -> dict[int, float]:
    """How much of each class to keep, at most all of it."""
    ratios = {int(size): found / max(1, expected) for size, (found, expected) in totals.items()}
    most = min(RATIO, max(ratios.values(), default=1.0))
    return {size: min(1.0, ratio / most) for size, ratio in ratios.items()}
