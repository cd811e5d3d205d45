"""What never changes while a game is played, worked out once per game and shared by all its engines.

Things are numbered by the order of their lower-cased ids, which is the order in which every list is read out;
so a tuple of ascending numbers is a list ready for output.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from sys import intern

from imprint.envs.household.game import Game, Object, Receptacle
from imprint.errors import GameError

HOT, COOL, CLEAN, TOGGLED, SLICED = 1, 2, 4, 8, 16
MARKS = {"ishot": HOT, "iscool": COOL, "isclean": CLEAN, "istoggled": TOGGLED, "issliced": SLICED}
# treatment -> (the flag an object needs, the mark it gets, the mark it loses)
TREATMENTS = {
    "clean": ("cleanable", CLEAN, 0),
    "heat": ("heatable", HOT, COOL),
    "cool": ("coolable", COOL, HOT),
}
CACHE_SIZE = 1024


class Tables:
    """The fixed facts of one game: `_R` indexed by receptacle, `_O` by object; locations are numbers too."""

    __slots__ = (
        "can_hold_O",
        "contents_R",
        "flags_O",
        "game",
        "go_commands",
        "go_here",
        "goal_marks",
        "goal_objects",
        "goal_receptacles",
        "inside_O",
        "intro",
        "knives",
        "lamps",
        "location_R",
        "locations_O",
        "marks_O",
        "name_O",
        "name_R",
        "object_named",
        "openable",
        "opened",
        "receptacle_named",
        "receptacles_at",
        "start",
        "tools",
    )

    def __init__(self, game: Game) -> None:
        receptacles = sorted(game.receptacles, key=lambda r: r.id.lower())
        objects = sorted(game.objects, key=lambda o: o.id.lower())
        self.game = game
        names = _names(game)
        self.name_R = tuple(names[r.id] for r in receptacles)
        self.name_O = tuple(names[o.id] for o in objects)
        self.receptacle_named = {name: r for r, name in enumerate(self.name_R)}
        self.object_named = {name: o for o, name in enumerate(self.name_O)}
        self.flags_O = tuple(thing.flags for thing in objects)
        self.marks_O = tuple(sum(MARKS[f] for f in thing.flags if f in MARKS) for thing in objects)
        self.openable = frozenset(r for r, thing in enumerate(receptacles) if thing.openable)
        self.opened = frozenset(r for r in self.openable if receptacles[r].opened)
        self._set_places(receptacles, objects)
        self._set_contents(receptacles, objects)
        self._set_rules(receptacles, objects)
        self._set_ways()
        self.intro = self._intro()

    def _set_places(self, receptacles: list[Receptacle], objects: list[Object]) -> None:
        numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers))
        self.start = numbers[self.game.start]
        self.location_R = tuple(numbers[r.location] for r in receptacles)
        at: defaultdict[int, list[int]] = defaultdict(list)
        for r, location in enumerate(self.location_R):
            at[location].append(r)
        self.receptacles_at = {location: tuple(there) for location, there in at.items()}
        self.locations_O = tuple(
            tuple(numbers[place] for place in (o.location, *o.also_at) if place is not None) for o in objects
        )

    def _set_ways(self) -> None:
        """`go_commands`, sorted, and at which of its places stand those of the receptacles of each location."""
        ways = sorted((intern(f"go to {name}"), self.location_R[r]) for r, name in enumerate(self.name_R))
        self.go_commands = tuple(command for command, _ in ways)
        here: defaultdict[int, list[int]] = defaultdict(list)
        for place, (_, location) in enumerate(ways):
            here[location].append(place)
        self.go_here = {location: tuple(places) for location, places in here.items()}

    def _set_contents(self, receptacles: list[Receptacle], objects: list[Object]) -> None:
        index_R = {thing.id: r for r, thing in enumerate(receptacles)}
        index_O = {thing.id: o for o, thing in enumerate(objects)}
        contents: list[list[int]] = [[] for _ in receptacles]
        inside: defaultdict[int, list[int]] = defaultdict(list)
        for o, thing in enumerate(objects):
            for place in {thing.receptacle, *thing.also_in} - {None}:
                contents[_find(index_R, place, thing.id, self.game)].append(o)
            if thing.inside is not None:
                inside[_find(index_O, thing.inside, thing.id, self.game)].append(o)
        self.contents_R = tuple(tuple(held) for held in contents)
        self.inside_O = {outer: tuple(inner) for outer, inner in inside.items()}

    def _set_rules(self, receptacles: list[Receptacle], objects: list[Object]) -> None:
        by_type: defaultdict[str, set[int]] = defaultdict(set)
        for r, furniture in enumerate(receptacles):
            by_type[furniture.type].add(r)

        def of_types(types: Iterable[str]) -> frozenset[int]:
            return frozenset(r for kind in types for r in by_type.get(kind, ()))

        holders: defaultdict[str, set[int]] = defaultdict(set)
        for rtype, otype in self.game.can_contain:
            holders[otype] |= by_type.get(rtype, set())
        kinds = {thing.type: tuple(sorted(holders.get(thing.type, ()))) for thing in objects}
        self.can_hold_O = tuple(kinds[thing.type] for thing in objects)
        rules, goal = self.game.rules, self.game.goal
        self.tools = {
            "clean": of_types(rules.clean),
            "heat": of_types(rules.heat),
            "cool": of_types(rules.cool),
        }
        self.knives = frozenset(o for o, thing in enumerate(objects) if thing.type in rules.slice)
        self.goal_marks = sum(MARKS[flag] for flag in goal.require if flag in MARKS)
        fixed = frozenset(flag for flag in goal.require if flag not in MARKS)
        self.goal_objects = tuple(
            o for o, thing in enumerate(objects) if thing.type == goal.object_type and fixed <= thing.flags
        )
        self.goal_receptacles = tuple(sorted(of_types([goal.target_type] if goal.target_type else [])))
        self.lamps = tuple(
            o for o, thing in enumerate(objects) if thing.type == goal.toggle_type and "toggleable" in thing.flags
        )

    def _intro(self) -> str:
        facing = self.receptacles_at.get(self.start)
        if facing:  # not so in the stored games, where the agent starts away from all furniture
            named = enumerate_names(self.name_R[r] for r in facing)
            scene = f"You are facing the {named}. Next to it, you see nothing."
        else:
            around = enumerate_names(f"a {name}" for name in self.name_R)
            scene = f"You are in the middle of a room. Looking quickly around you, you see {around}."
        return f"{scene}\n\nYour task is to: {self.game.sentence}"


def enumerate_names(items: Iterable[str]) -> str:
    """Items as the player reads them: "a", "a, and b", "a, b, and c", or "nothing"."""
    listed = list(items)
    if len(listed) > 1:
        return f"{', '.join(listed[:-1])}, and {listed[-1]}"
    return listed[0] if listed else "nothing"


def _names(game: Game) -> dict[str, str]:
    """Instance names such as "cabinet 6": within a name the smallest id gets the highest number."""
    things: list[Receptacle | Object] = [*game.receptacles, *game.objects]
    bases = {thing.id: _base_name(thing.id, thing.type) for thing in things}
    if len(bases) < len(things):
        raise GameError("two things have the same id", where=game.id, hint="give each thing its own id")
    left: defaultdict[str, int] = defaultdict(int)
    for base in bases.values():
        left[base] += 1
    names = {}
    for thing_id in sorted(bases, key=str.lower):
        base = bases[thing_id]
        names[thing_id] = intern(f"{base} {left[base]}")  # the same in thousands of games
        left[base] -= 1
    return names


def _base_name(thing_id: str, kind: str) -> str:
    # The id names a thing, not its type: some games have a bathtub basin whose type is that of a sink basin.
    base, bar, rest = thing_id.lower().partition("_bar_")
    if not bar:
        return kind.lower()
    return base + "basin" if "basin" in base + rest else base


def _find(index: dict[str, int], wanted: str | None, thing: str, game: Game) -> int:
    if wanted is None or wanted not in index:
        raise GameError(
            f"{thing} is in {wanted}, which the game does not have",
            where=game.id,
            hint="list it among the game's receptacles or objects, or take the reference out",
        )
    return index[wanted]


_cache: dict[int, Tables] = {}


def tables_of(game: Game) -> Tables:
    """The tables of `game`; kept for the games used last, so that a fresh engine costs next to nothing.

    Raises:
        GameError: the game refers to a thing that it does not have, or has two with one id.
    """
    # The key is the object's identity, since hashing a whole game takes longer than playing it; the tables
    # hold the game, so that an identity cannot be reused while its entry lives.
    found = _cache.get(id(game))
    if found is None:
        if len(_cache) >= CACHE_SIZE:
            _cache.pop(next(iter(_cache)))
        found = _cache[id(game)] = Tables(game)
    return found
