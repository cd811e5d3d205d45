"""What is counted in a set of games, and how far the counts of two sets lie apart."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np

from imprint.envs.household.catalog import CONTAINS, LAMPS, OPENABLE, SITES
from imprint.envs.household.engine import GameEngine
from imprint.envs.household.expert import solve
from imprint.envs.household.game import FAMILIES, Game
from imprint.envs.household.room_statistics import kind_of
from imprint.envs.household.splits import goal_of

Counts = Iterable[Hashable]
THINGS = sorted(frozenset[str]().union(SITES, *CONTAINS.values()))
PLACE = re.compile(r"(?:go to|open) ([a-z]+) (\d+)$")
TAKEN = re.compile(r"take ([a-z]+) (\d+) from")


def capped(number: int, most: int) -> str:
    """The number as text; `most` stands for all from there on."""
    return str(number) if number < most else f"{most}+"


def holders(game: Game) -> list[tuple[str, str]]:
    """(type of thing, type of receptacle it lies in), one for each receptacle that the thing lies in."""
    types = {r.id: r.type for r in game.receptacles}
    return [(o.type, types[name]) for o in game.objects if o.receptacle for name in (o.receptacle, *o.also_in)]


def in_reach(game: Game) -> Counter[str]:
    """type -> how many things of it lie in or on furniture."""
    return Counter(o.type for o in game.objects if o.receptacle)


# --- the room ---


def room_kind(game: Game) -> Counts:
    """Kitchen, living room, bedroom or bathroom."""
    yield kind_of(r.type for r in game.receptacles)


def receptacles(game: Game) -> Counts:
    """Receptacles in a room, in fours."""
    yield len(game.receptacles) // 4


def receptacles_of_a_type(game: Game) -> Counts:
    """For each type, how many."""
    found = Counter(r.type for r in game.receptacles)
    return ((kind, found[kind]) for kind in CONTAINS)


def shared_spots(game: Game) -> Counts:
    """For each receptacle, its type and how many others are reached from its spot."""
    spots = Counter(r.location for r in game.receptacles)
    return ((r.type, capped(spots[r.location] - 1, 3)) for r in game.receptacles)


def doors(game: Game) -> Counts:
    """For each receptacle of a type that can have a door, whether it opens, and whether it is open."""
    return ((r.type, r.openable, r.opened) for r in game.receptacles if r.type in OPENABLE)


# --- the things ---


def things(game: Game) -> Counts:
    """Things in reach, in fours."""
    yield in_reach(game).total() // 4


def copies_of_a_thing(game: Game) -> Counts:
    """For each type of thing, how many are in reach."""
    found = in_reach(game)
    return ((kind, capped(found[kind], 4)) for kind in THINGS)


def things_in_a_receptacle(game: Game) -> Counts:
    """For each receptacle, its type and how much lies in it."""
    found = Counter(name for o in game.objects if o.receptacle for name in (o.receptacle, *o.also_in))
    return ((r.type, capped(found[r.id], 5)) for r in game.receptacles)


def place_of_a_thing(game: Game) -> Counts:
    """For each thing, its type and the type of what it lies in."""
    return holders(game)


def lamps(game: Game) -> Counts:
    """For each lamp that a task can ask for, where it stands and whether it is lit; or that there is none."""
    types = {r.id: r.type for r in game.receptacles}
    found = [o for o in game.objects if o.type in LAMPS and o.receptacle]
    return [(types[o.receptacle or ""], "istoggled" in o.flags) for o in found] or ["none"]


# --- the task ---


def goal(game: Game) -> Counts:
    """Object and target."""
    yield goal_of(game)


def goal_object(game: Game) -> Counts:
    """The type of thing that is asked for."""
    yield game.goal.object_type


def goal_target(game: Game) -> Counts:
    """The receptacle type that it has to end in."""
    yield game.goal.target_type


def sentence(game: Game) -> Counts:
    """The task's sentence, without its names."""
    _, thing, target = goal_of(game)
    text = re.sub(rf"\b{thing.lower()}\b", "X", game.sentence)
    yield re.sub(rf"\b{target.lower()}\b", "Y", text)


def goal_copies(game: Game) -> Counts:
    """How many things of the goal's type are in reach."""
    yield capped(in_reach(game)[game.goal.object_type], 5)


def goal_places(game: Game) -> Counts:
    """For each of them, the type of what it lies in."""
    return (place for thing, place in holders(game) if thing == game.goal.object_type)


def start_marks(game: Game) -> Counts:
    """How many things begin hot, cool, clean, lit or sliced."""
    marks = {"ishot", "iscool", "isclean", "istoggled", "issliced"}
    found = Counter(flag for o in game.objects for flag in o.flags & marks)
    yield tuple(sorted(found.items()))


# --- the walkthrough ---


def walkthrough_length(game: Game) -> Counts:
    """Commands of the stored walkthrough."""
    yield len(game.walkthrough)


def walkthrough_verbs(game: Game) -> Counts:
    """The verbs of the stored walkthrough; planners differ in their order."""
    yield " ".join(sorted(command.split()[0] for command in game.walkthrough))


def expert_length(game: Game) -> Counts:
    """Commands of the scripted expert: the stored ones of real games are a planner's, sometimes shorter."""
    yield len(solve(GameEngine(game)))


def place_numbers(game: Game) -> Counts:
    """For each place that the walkthrough goes to, its name and number."""
    found = (PLACE.match(command) for command in game.walkthrough)
    return ((match[1], capped(int(match[2]), 12)) for match in found if match)


def thing_numbers(game: Game) -> Counts:
    """The number of each thing that the walkthrough takes."""
    found = (TAKEN.match(command) for command in game.walkthrough)
    return (capped(int(match[2]), 5) for match in found if match)


# The statistics in the order of the table; those of the second group are compared family by family.
MARGINAL: tuple[Callable[[Game], Counts], ...] = (
    receptacles,
    receptacles_of_a_type,
    shared_spots,
    doors,
    things,
    copies_of_a_thing,
    things_in_a_receptacle,
    place_of_a_thing,
    lamps,
    place_numbers,
    thing_numbers,
)
BY_FAMILY: tuple[Callable[[Game], Counts], ...] = (
    room_kind,
    goal,
    goal_object,
    goal_target,
    sentence,
    goal_copies,
    goal_places,
    start_marks,
    walkthrough_length,
    walkthrough_verbs,
    expert_length,
)
STATISTICS = {count.__name__.replace("_", " "): count for count in (*MARGINAL, *BY_FAMILY)}


class Tally:
    """One statistic counted in several sets of games, over the same keys."""

    def __init__(self, count: Callable[[Game], Counts], sets: Mapping[str, Sequence[Game]]) -> None:
        by_family = count in BY_FAMILY
        rows = {
            name: [Counter((g.family if by_family else "", key) for key in count(g)) for g in games]
            for name, games in sets.items()
        }
        columns: defaultdict[Hashable, int] = defaultdict(lambda: len(columns))
        for row in (row for found in rows.values() for row in found):
            for key in row:
                columns[key]
        self.keys = tuple(columns)
        self.counts = {name: self._matrix(found, columns) for name, found in rows.items()}

    @staticmethod
    def _matrix(rows: Sequence[Counter[Hashable]], columns: Mapping[Hashable, int]) -> np.ndarray:
        """Games by keys."""
        made = np.zeros((len(rows), len(columns)), dtype=np.float32)
        for number, row in enumerate(rows):
            for key, n in row.items():
                made[number, columns[key]] = n
        return made

    def shares(self, name: str, weights: np.ndarray) -> np.ndarray:
        """The share of each key among the games of a set, each with a weight."""
        total = weights @ self.counts[name]
        return total / total.sum()


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Total variation: the share that would have to be moved to turn one histogram into the other, 0 to 1."""
    return float(np.abs(a - b).sum() / 2)


def family_shares(games: Sequence[Game]) -> dict[str, float]:
    """family -> its share of the games."""
    return {family: sum(g.family == family for g in games) / len(games) for family in FAMILIES}


def family_weights(games: Sequence[Game], shares: Mapping[str, float]) -> np.ndarray:
    """A weight for every game, so that the families have these shares."""
    sizes = Counter(g.family for g in games)
    return np.array([shares[g.family] / sizes[g.family] for g in games])


def draw(dice: random.Random, games: Sequence[Game], sizes: Mapping[str, int]) -> np.ndarray:
    """Weights 1 for a random sample with so many games of each family, 0 for the others."""
    weights = np.zeros(len(games))
    for family, size in sizes.items():
        weights[dice.sample([n for n, g in enumerate(games) if g.family == family], size)] = 1.0
    return weights


def spread_of(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the middle 95 percent."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(np.mean(values)), float(low), float(high)
