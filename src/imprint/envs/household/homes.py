"""Draws rooms like the published ones: recombined from the statistics in `room_statistics.py` for a task.

For the games of size `alfred`; `rooms.py` makes the smaller ones.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from imprint.envs.household.catalog import flags_of
from imprint.envs.household.game import Object, Receptacle
from imprint.envs.household.room_statistics import KINDS, Histogram, RoomFacts, room_statistics
from imprint.envs.household.rooms import MAX_TRIES, Names
from imprint.envs.household.splits import LIGHT, TREATED, TWO, Ask, asks_of, split_of
from imprint.errors import GameError

CHILLER = "Fridge"
ROUNDS = 10

Pieces = Mapping[str, Sequence[Receptacle]]  # of each type of furniture
Key = tuple[str, str, str]  # thing, target, kind of room


def draw_task(rng: random.Random, split: str, family: str) -> tuple[Ask, str]:
    """What to ask for, and in which kind of room: as often as published games of the family do, among the split's."""
    ask, kind = _tasks(split, family).draw(rng)
    return ask, kind


@cache
def _tasks(split: str, family: str) -> Histogram:
    goals = room_statistics().goals
    mine = {(ask.object_type, ask.target): ask for ask in asks_of(split)[family]}
    counts = {
        (thing, target, kind): float(games)
        for (of, thing, target), rooms in goals.items()
        for kind, games in zip(KINDS, rooms, strict=True)
        if of == family and games
    }
    chosen = _rake(counts, {key: games for key, games in counts.items() if key[:2] in mine})
    return Histogram({(mine[thing, target], kind): weight for (thing, target, kind), weight in chosen.items()})


def _rake(whole: Mapping[Key, float], part: Mapping[Key, float]) -> dict[Key, float]:
    """Weights for `part`, that each thing, target and kind of room comes as often as in the `whole` if it can.

    Iterative proportional fitting (Deming and Stephan 1940), a few rounds: a part may have no exact fit.
    """
    fitted = dict(part)
    for _ in range(ROUNDS):
        for place in range(3):
            wanted, have = _margin(whole, place), _margin(fitted, place)
            scale = sum(have.values()) / sum(wanted[name] for name in have)
            fitted = {key: n * scale * wanted[key[place]] / have[key[place]] for key, n in fitted.items()}
    return fitted


def _margin(counts: Mapping[Key, float], place: int) -> dict[str, float]:
    sums: defaultdict[str, float] = defaultdict(float)
    for key, n in counts.items():
        sums[key[place]] += n
    return sums


class Home:
    """One room and what is in it, made for a task.

    Attributes:
        layout: the types of its furniture, sorted.
        receptacles, objects: what there is.
    """

    def __init__(self, rng: random.Random, ask: Ask, kind: str, split: str, names: Names) -> None:
        self.rng, self.ask, self.kind, self.names = rng, ask, kind, names
        self.facts: RoomFacts = room_statistics().rooms[kind]
        self.taboo = self._taboo()
        self.layout = self._draw_layout(split)
        self.by_type: defaultdict[str, list[Receptacle]] = defaultdict(list)
        self.receptacles = self._furnish()
        self.under = self._stack()
        self.free = {place: list(pieces) for place, pieces in self.by_type.items()}  # those that are not full
        self.objects: list[Object] = []
        self._fill()

    # --- the furniture ---

    def _taboo(self) -> frozenset[str]:
        """Where no thing that is asked for may lie: it would be done already, or too near to its treatment."""
        if self.ask.family in TREATED:
            return frozenset({TREATED[self.ask.family][0]})
        target = self.ask.target
        return frozenset({target, *(kind for kind, others in room_statistics().overlaps.items() if target in others)})

    def _draw_layout(self, split: str) -> list[str]:
        facts, rng = self.facts, self.rng
        needed, sure = self._needed()
        for _ in range(MAX_TRIES):
            layout = facts.draw_furniture(rng, sure)
            if not needed.issubset(layout) or not facts.keeps(rng, layout):
                continue
            if split_of(layout) == split and self._homes_of_goal(layout):
                return layout
        raise GameError(
            f"no {self.kind} for {self.ask.family} {self.ask.object_type} {self.ask.target} falls to {split}",
            key="room_statistics.json",
            hint="count the published rooms again: benchmarks/support/count_rooms.py",
        )

    def _needed(self) -> tuple[frozenset[str], str]:
        """The furniture without which the task cannot be done, and the rarest piece of it."""
        if self.ask.family == LIGHT:
            site = Histogram(self.facts.lies[self.ask.target]).draw(self.rng)
            return frozenset({site}), site
        needed = {self.ask.target}
        if self.ask.family in TREATED:
            needed.add(TREATED[self.ask.family][0])
        return frozenset(needed), min(sorted(needed), key=self.facts.furniture_tree.share)

    def _homes_of_goal(self, layout: Sequence[str]) -> set[str]:
        return self.facts.lies[self.ask.object_type].keys() & set(layout) - self.taboo

    def _furnish(self) -> list[Receptacle]:
        """The furniture of the layout; some pieces are reached from the spot of another."""
        doors = [opens for kind, pieces in Counter(self.layout).items() for opens in self._doors(kind, pieces)]
        made = []
        for kind, location, opens in zip(self.layout, self._spots(), doors, strict=True):
            made.append(Receptacle(self.names.thing(kind), kind, location, opens))
            self.by_type[kind].append(made[-1])
        return made

    def _doors(self, kind: str, pieces: int) -> list[bool]:
        """Which of the pieces open: in most rooms all of a type or none, so they are not drawn one by one."""
        if kind not in self.facts.doors:
            return [False] * pieces
        opening = round(self.facts.doors[kind].draw(self.rng) * pieces / 10)
        doors = [place < opening for place in range(pieces)]
        self.rng.shuffle(doors)
        return doors

    def _spots(self) -> Iterator[str]:
        """Where one stands to reach each piece of the layout."""
        spots: defaultdict[str, list[str]] = defaultdict(list)
        together = 0  # pieces at the last spot of this type
        for kind in self.layout:
            together = together if kind in spots else 0
            others = [other for other in self.facts.beside.get(kind, ()) if other in spots]
            near = next((o for o in others if self.rng.random() < self.facts.beside[kind][o]), None)
            groups = self.facts.groups.get(kind, ())
            if near is not None:
                spots[kind].append(self.rng.choice(spots[near]))
                together = len(groups)
            elif 0 < together < len(groups) and self.rng.random() < groups[together - 1]:
                spots[kind].append(spots[kind][-1])
                together += 1
            else:
                spots[kind].append(self.names.location())
                together = 1
            yield spots[kind][-1]

    def _stack(self) -> dict[str, str]:
        """receptacle id -> the id of what it stands on: what lies in the one then lies in the other, too."""
        under = {}
        for kind, others in room_statistics().overlaps.items():
            for piece in self.by_type.get(kind, ()):
                place = self.rng.random()
                for other, share in others.items():
                    place -= share
                    if place < 0:
                        pieces = [r for r in self.by_type.get(other, ()) if r is not piece]
                        if pieces:
                            under[piece.id] = self.rng.choice(pieces).id
                        break
        return under

    # --- the things ---

    def _fill(self) -> None:
        """The things of the goal, then what else there is, as long as there is room for it."""
        ask, rng, things = self.ask, self.rng, self.facts.things
        copies = max(room_statistics().copies[ask.family].draw(rng), 2 if ask.family == TWO else 1)
        first = ask.object_type
        if ask.family == LIGHT:
            first = ask.target
            self._put(first, things[first].draw(rng))
            self._put_to_look_at(copies)
        else:
            self._put_goal(copies, {kind: pieces for kind, pieces in self.by_type.items() if kind not in self.taboo})
        levels = self.facts.things_tree.draw(rng, first)
        others = sorted(kind for kind, level in levels.items() if level and kind not in (first, ask.object_type))
        rng.shuffle(others)  # what comes last finds the hooks and burners taken
        for kind in others:
            self._put(kind, things[kind].draw(rng))

    def _put_to_look_at(self, copies: int) -> None:
        """Things lie where the lamp stands as often as in the published rooms."""
        kind, lamp = self.ask.object_type, self.objects[0].receptacle
        spot = next(r for r in self.receptacles if r.id == lamp)
        elsewhere = {place: [r for r in pieces if r is not spot] for place, pieces in self.by_type.items()}
        here = spot.type in self.facts.lies[kind]
        if here and (not self._chances(kind, elsewhere) or self.rng.random() < room_statistics().at_lamp):
            self._add(kind, spot)
            self._scatter(copies - 1, self.by_type)
        else:
            self._put_goal(copies, elsewhere)

    def _put_goal(self, copies: int, pieces: Pieces) -> None:
        """Put things that are asked for into these pieces of furniture: behind doors as often as they are."""
        shut = self.rng.random() < room_statistics().shut[self.ask.family]
        chosen: Pieces = {place: [r for r in those if r.openable == shut] for place, those in pieces.items()}
        if not self._chances(self.ask.object_type, chosen):
            chosen = pieces
        first = copies if shut else self.ask.goal().count
        self._scatter(first, chosen)
        self._scatter(copies - first, pieces)

    def _scatter(self, copies: int, pieces: Pieces) -> None:
        kind, family = self.ask.object_type, self.ask.family
        chances = self._chances(kind, pieces)
        weighed = {
            place: chance * room_statistics().asked.get((family, place), 1.0) for place, chance in chances.items()
        }
        chosen = weighed if any(weighed.values()) else chances
        for place in self.rng.choices(tuple(chosen), tuple(chosen.values()), k=copies) if copies else ():
            self._add(kind, self.rng.choice(pieces[place]))

    def _put(self, kind: str, copies: int) -> None:
        """Put things of a kind where such things lie and there is room; none if there is no such place."""
        chances = self._chances(kind, self.free)
        while copies and chances:
            place = self.rng.choices(tuple(chances), tuple(chances.values()))[0]
            if self.free[place]:
                self._add(kind, self.rng.choice(self.free[place]))
                copies -= 1
            else:
                del chances[place]

    def _chances(self, kind: str, pieces: Pieces) -> dict[str, float]:
        """receptacle type -> how likely one of the pieces of the type is to hold a thing, relative to the others."""
        lies = self.facts.lies[kind].items()
        return {place: chance * len(pieces[place]) for place, chance in lies if pieces.get(place)}

    def _add(self, kind: str, receptacle: Receptacle) -> None:
        # Published games begin after the scene was set for the task: what it asks for is cold from the fridge.
        cold = kind == self.ask.object_type and receptacle.type == CHILLER
        flags = flags_of(kind) | {"iscool"} if cold else flags_of(kind)
        on = self.under.get(receptacle.id)
        also_in = () if on is None else (on,)
        made = Object(self.names.thing(kind), kind, receptacle.id, receptacle.location, flags, also_in=also_in)
        self.objects.append(made)
        if receptacle.type in room_statistics().single and receptacle in self.free[receptacle.type]:
            self.free[receptacle.type].remove(receptacle)
