"""Draws rooms like the published ones: what `census.py` counted, put together anew for a task.

For the games of size `alfred`; `rooms.py` makes the smaller ones.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from functools import cache

from imprint.envs.household.catalog import flags_of
from imprint.envs.household.census import KINDS, Histogram, RoomFacts, census
from imprint.envs.household.game import Object, Receptacle
from imprint.envs.household.rooms import MAX_TRIES, Names
from imprint.envs.household.splits import LIGHT, TREATED, TWO, Ask, asks_of, split_of
from imprint.errors import GameError

CHILLER = "Fridge"


def draw_task(dice: random.Random, split: str, family: str) -> tuple[Ask, str]:
    """What to ask for, and in which kind of room: as often as published games of the family do, among the split's."""
    ask, kind = _tasks(split, family).draw(dice)
    return ask, kind


@cache
def _tasks(split: str, family: str) -> Histogram:
    goals = census().goals
    return Histogram(
        {
            (ask, kind): games
            for ask in asks_of(split)[family]
            for kind, games in zip(KINDS, goals.get((family, ask.object_type, ask.target), ()), strict=False)
            if games
        }
    )


class Home:
    """One room and what is in it, made for a task.

    Attributes:
        layout: the types of its furniture, sorted.
        receptacles, objects: what there is.
    """

    def __init__(self, dice: random.Random, ask: Ask, kind: str, split: str, names: Names) -> None:
        self.dice, self.ask, self.kind, self.names = dice, ask, kind, names
        self.facts: RoomFacts = census().rooms[kind]
        self.taboo = self._taboo()
        self.layout = self._draw_layout(split)
        self.by_type: defaultdict[str, list[Receptacle]] = defaultdict(list)
        self.receptacles = self._furnish()
        self.under = self._stack()
        self.objects: list[Object] = []
        self._fill()

    # --- the furniture ---

    def _taboo(self) -> frozenset[str]:
        """Where no thing that is asked for may lie: it would be done already, or too near to its treatment."""
        if self.ask.family in TREATED:
            return frozenset({TREATED[self.ask.family][0]})
        target = self.ask.target
        return frozenset({target, *(kind for kind, others in census().overlaps.items() if target in others)})

    def _draw_layout(self, split: str) -> list[str]:
        facts, dice = self.facts, self.dice
        needed, sure = self._needed()
        for _ in range(MAX_TRIES):
            levels = facts.furniture_tree.draw(dice, sure)
            if not needed.issubset(kind for kind, level in levels.items() if level):
                continue
            layout: list[str] = []
            for kind, level in sorted(levels.items()):
                if level:
                    layout += [kind] * facts.furniture[kind, level].draw(dice)
            if split_of(layout) == split and self._homes_of_goal(layout):
                return layout
        raise GameError(
            f"no {self.kind} for {self.ask.family} {self.ask.object_type} {self.ask.target} falls to {split}",
            key="census.json",
            mend="count the published rooms again: benchmarks/support/count_rooms.py",
        )

    def _needed(self) -> tuple[frozenset[str], str]:
        """The furniture without which the task cannot be done, and the rarest piece of it."""
        if self.ask.family == LIGHT:
            site = Histogram(self.facts.lies[self.ask.target]).draw(self.dice)
            return frozenset({site}), site
        needed = {self.ask.target}
        if self.ask.family in TREATED:
            needed.add(TREATED[self.ask.family][0])
        return frozenset(needed), min(sorted(needed), key=self.facts.furniture_tree.share)

    def _homes_of_goal(self, layout: Sequence[str]) -> set[str]:
        return self.facts.lies[self.ask.object_type].keys() & set(layout) - self.taboo

    def _furnish(self) -> list[Receptacle]:
        """The furniture of the layout, each piece at its own spot or at that of an earlier one."""
        made = []
        for kind in self.layout:
            location = self._spot(kind)
            opens = self.dice.random() < self.facts.doors.get(kind, 0.0)
            made.append(Receptacle(self.names.thing(kind), kind, location, opens))
            self.by_type[kind].append(made[-1])
        return made

    def _spot(self, kind: str) -> str:
        for other, chance in self.facts.beside.get(kind, {}).items():
            pieces = self.by_type.get(other)
            if pieces and self.dice.random() < chance:
                return (pieces[-1] if other == kind else self.dice.choice(pieces)).location
        return self.names.location()

    def _stack(self) -> dict[str, str]:
        """receptacle id -> the id of what it stands on: what lies in the one then lies in the other, too."""
        under = {}
        for kind, others in census().overlaps.items():
            for piece in self.by_type.get(kind, ()):
                place = self.dice.random()
                for other, share in others.items():
                    place -= share
                    if place < 0:
                        pieces = [r for r in self.by_type.get(other, ()) if r is not piece]
                        if pieces:
                            under[piece.id] = self.dice.choice(pieces).id
                        break
        return under

    # --- the things ---

    def _fill(self) -> None:
        ask, dice = self.ask, self.dice
        wanted = census().copies[ask.family].draw(dice)
        self._put(ask.object_type, max(wanted, 2 if ask.family == TWO else 1), self.taboo)
        levels = self.facts.things_tree.draw(dice, ask.target if ask.family == LIGHT else ask.object_type)
        for kind, level in sorted(levels.items()):
            if level and kind != ask.object_type:
                self._put(kind, self.facts.things[kind].draw(dice))

    def _put(self, kind: str, copies: int, taboo: frozenset[str] = frozenset()) -> None:
        """Put things of a kind where such things lie; none if there is no such place."""
        chances = {
            place: chance * len(self.by_type[place])
            for place, chance in self.facts.lies[kind].items()
            if place in self.by_type and place not in taboo
        }
        if not chances:
            return
        for place in self.dice.choices(tuple(chances), tuple(chances.values()), k=copies):
            receptacle = self.dice.choice(self.by_type[place])
            self.objects.append(self._thing(kind, receptacle))

    def _thing(self, kind: str, receptacle: Receptacle) -> Object:
        # Published games begin after the scene was set for the task: what it asks for is cold from the fridge.
        cold = kind == self.ask.object_type and receptacle.type == CHILLER
        flags = flags_of(kind) | {"iscool"} if cold else flags_of(kind)
        on = self.under.get(receptacle.id)
        also_in = () if on is None else (on,)
        return Object(self.names.thing(kind), kind, receptacle.id, receptacle.location, flags, also_in=also_in)
