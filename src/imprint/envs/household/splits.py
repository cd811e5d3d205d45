"""Which split a made game belongs to: a fixed share of the goal combinations, and of the room layouts.

Both are chosen by a hash that depends on nothing else, so the splits stay disjoint across seeds and sizes.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from imprint.envs.base import SPLITS
from imprint.envs.household.catalog import AFFORDANCES, CONTAINS, FIXED, LAMPS, ROOMS, Room
from imprint.envs.household.game import FAMILIES, Game, Goal
from imprint.errors import GameError

SHARES = {"train": 70, "validation": 15, "test": 15}  # percent of goals, and of layouts
# family -> the receptacle type that treats the object, the flag the object needs, the flag it gets
TREATED = {
    "pick_clean_then_place_in_recep": ("SinkBasin", "cleanable", "isclean"),
    "pick_heat_then_place_in_recep": ("Microwave", "heatable", "ishot"),
    "pick_cool_then_place_in_recep": ("Fridge", "coolable", "iscool"),
}
LIGHT, TWO = "look_at_obj_in_light", "pick_two_obj_and_place"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a game asks for; `target` is a receptacle type, or for LIGHT the type of the lamp."""

    family: str
    object_type: str
    target: str
    rooms: tuple[Room, ...]  # the kinds of room in which it can be done

    def goal(self) -> Goal:
        """The condition that wins."""
        if self.family == LIGHT:
            return Goal(self.object_type, toggle_type=self.target)
        require = frozenset(TREATED[self.family][1:]) if self.family in TREATED else frozenset()
        return Goal(self.object_type, self.target, 2 if self.family == TWO else 1, require)


def layout_of(game: Game) -> tuple[tuple[str, int], ...]:
    """How the room is furnished: (receptacle type, how many), sorted. What belongs to one split only."""
    return tuple(sorted(Counter(r.type for r in game.receptacles).items()))


def goal_of(game: Game) -> tuple[str, str, str]:
    """What is asked: (family, object type, target or lamp type). What belongs to one split only."""
    return game.family, game.goal.object_type, game.goal.target_type or game.goal.toggle_type or ""


def check_disjoint(splits: Mapping[str, Sequence[Game]]) -> None:
    """Make sure that no two splits share a goal combination or a layout.

    Raises:
        GameError: two games of different splits do; names both.
    """
    first_with: dict[tuple[object, ...], tuple[str, Game]] = {}
    for split, games in splits.items():
        for game in games:
            for what, key in (("goal", goal_of(game)), ("layout", layout_of(game))):
                owner, first = first_with.setdefault((what, key), (split, game))
                if owner != split:
                    raise GameError(
                        f"has the same {what} as {first.id} of {owner}: {key}",
                        where=game.id,
                        key=split,
                        hint="take one of the two out, or make the games again",
                    )


@cache
def asks_of(split: str) -> dict[str, tuple[Ask, ...]]:
    """The goal combinations of a split by family: a fixed share of each family's, chosen by their hash."""
    chosen = {}
    for family in FAMILIES:
        ranked = sorted(_possible(family), key=lambda ask: _hash(f"{family}/{ask.object_type}/{ask.target}"))
        low = sum(SHARES[other] for other in SPLITS[: SPLITS.index(split)])
        first, last = len(ranked) * low // 100, len(ranked) * (low + SHARES[split]) // 100
        chosen[family] = tuple(ranked[first:last])
    return chosen


def _possible(family: str) -> list[Ask]:
    rooms: defaultdict[tuple[str, str], list[Room]] = defaultdict(list)
    for room in ROOMS:
        for thing in room.things:
            for target in _targets(family, thing.type, room):
                rooms[thing.type, target].append(room)
    return [
        Ask(family, kind, target, tuple(where))
        for (kind, target), where in sorted(rooms.items(), key=lambda item: item[0])
    ]


def _targets(family: str, kind: str, room: Room) -> list[str]:
    """Where (or, for LIGHT, under which lamps) an object can be asked to end in a room of this kind."""
    if kind in FIXED or not room.places(kind):
        return []
    if family == LIGHT:
        return [lamp for lamp in LAMPS if any(thing.type == lamp for thing in room.things)]
    tool, needed, _ = TREATED.get(family, ("", "", ""))
    if tool and (kind not in AFFORDANCES[needed] or all(f.type != tool for f in room.furniture)):
        return []
    places = [f.type for f in room.places(kind)]
    return [place for place in places if kind in CONTAINS[place] and place != tool and len(places) > 1]


def _hash(text: str) -> int:
    return zlib.crc32(b"imprint household split " + text.encode())


def split_of(layout: Sequence[str]) -> str:
    """The split that a room with these receptacle types (sorted, one entry a piece) belongs to."""
    place = _hash(" ".join(layout)) % 100
    for split, share in SHARES.items():
        place -= share
        if place < 0:
            return split
    raise AssertionError("the shares add up to 100")
