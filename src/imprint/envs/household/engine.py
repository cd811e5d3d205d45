"""Plays a household game: the state machine behind ALFWorld's text games, sentence for sentence.

The sentences and the rules are those of the games' own domain and grammar. Some follow only from running
them: an object can be examined only while it is held; using a lamp always turns it on; heating and cooling
need no open door; what an object contains never changes; and an object moved between two receptacles of one
location is also listed as lying next to them.
"""

from __future__ import annotations

from bisect import insort

from imprint.envs.household.game import Game
from imprint.envs.household.tables import (
    CLEAN,
    COOL,
    HOT,
    SLICED,
    TOGGLED,
    TREATMENTS,
    Tables,
    enumerate_names,
    tables_of,
)
from imprint.types import StepResult

WELCOME = "-= Welcome to TextWorld, ALFRED! =-\n\n"
NOTHING = "Nothing happens."
_PUT_HELP = {
    "move": "  move (object) to (receptacle):  place an object in or on a receptacle",
    "put": "  put (object) in/on (receptacle):  place an object in or on a receptacle",
}
HELP = """Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
{put}
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""


class GameEngine:
    """One episode of one game, live.

    Args:
        game: what to play.
        max_turns: the turn after which an episode is truncated; None is no limit.
        with_admissible: fill `StepResult.admissible` at each step; `admissible()` answers at any time.

    Attributes:
        tables: the fixed facts of the game; receptacles and objects are numbers into them.
        location: where the agent is.
        held: the object in the agent's hand, or None.
        opened: the receptacles that are open now.
        contents: of each receptacle, its objects in reading order.
        won: the goal has been reached.
        turn: actions so far, understood or not.
    """

    __slots__ = (
        "_left",
        "_listed",
        "_locations",
        "_marks",
        "_met",
        "contents",
        "held",
        "location",
        "max_turns",
        "opened",
        "tables",
        "turn",
        "with_admissible",
        "won",
    )

    def __init__(self, game: Game, max_turns: int | None = None, *, with_admissible: bool = False) -> None:
        self.tables: Tables = tables_of(game)
        self.max_turns = max_turns
        self.with_admissible = with_admissible
        self._start()

    def _start(self) -> None:
        tables = self.tables
        self.location: int = tables.start
        self.held: int | None = None
        self.opened: set[int] = set(tables.opened)
        self.contents: list[tuple[int, ...]] = list(tables.contents_R)
        self.won = False
        self.turn = 0
        self._marks: dict[int, int] = {}  # what differs from the tables, by object
        self._locations: dict[int, tuple[int, ...]] = {}
        self._left: set[tuple[int, int]] = set()  # (object, receptacle) that it was taken out of
        self._listed: tuple[str, ...] | None = None  # the admissible commands, until something changes them
        self._met = self._goal_met()

    @property
    def game(self) -> Game:
        """The game being played."""
        return self.tables.game

    @property
    def full_intro(self) -> str:
        """The first text with the banner that the reference engine prints above it."""
        return WELCOME + self.tables.intro

    def reset(self) -> StepResult:
        """Restart the game."""
        self._start()
        return StepResult(self.tables.intro, admissible=self.admissible() if self.with_admissible else ())

    def copy(self) -> GameEngine:
        """A second engine in the same state; the two go separate ways from here."""
        twin = GameEngine.__new__(GameEngine)
        twin.tables, twin.max_turns, twin.with_admissible = self.tables, self.max_turns, self.with_admissible
        twin.location, twin.held, twin.won, twin.turn = self.location, self.held, self.won, self.turn
        twin.opened, twin.contents = set(self.opened), list(self.contents)
        twin._marks, twin._locations = dict(self._marks), dict(self._locations)
        twin._left, twin._listed, twin._met = set(self._left), self._listed, self._met
        return twin

    def step(self, command: str) -> StepResult:
        """Act once. What cannot be done is answered by "Nothing happens." and costs a turn all the same.

        The reward is 1 at the step that wins; a finished episode can be played on, without further reward.
        """
        self.turn += 1
        text = self._act(command.strip())
        reward = 0.0
        if self._met and not self.won:
            self.won, reward = True, 1.0
        return StepResult(
            observation=NOTHING if text is None else text,
            reward=reward,
            terminated=self.won,
            truncated=not self.won and self.max_turns is not None and self.turn >= self.max_turns,
            success=self.won,
            valid=text is not None,
            admissible=self.admissible() if self.with_admissible else (),
        )

    # --- the commands: each gives its sentence, or None when it is not possible now ---

    def _act(self, command: str) -> str | None:
        verb, _, rest = command.partition(" ")
        if verb == "go":
            return self._go(rest[3:]) if rest.startswith("to ") else None
        if verb == "take":
            return self._take(*_pair(rest, " from "))
        if verb == "move":
            return self._put(*_pair(rest, " to "))
        if verb == "put":
            return self._put(*_pair(rest, " in/on "))
        if verb in TREATMENTS:
            return self._treat(verb, *_pair(rest, " with "))
        if verb in ("open", "close"):
            return self._open(rest) if verb == "open" else self._close(rest)
        if verb in ("use", "examine"):
            return self._use(rest) if verb == "use" else self._examine(rest)
        if verb == "slice":
            return self._slice(*_pair(rest, " with "))
        return self._bare(command)

    def _bare(self, command: str) -> str | None:
        if command == "look":
            return self._look()
        if command == "inventory":
            if self.held is None:
                return "You are not carrying anything."
            return f"You are carrying: a {self.tables.name_O[self.held]}."
        return HELP.format(put=_PUT_HELP[self.game.put_verb]) if command == "help" else None

    def _go(self, name: str) -> str | None:
        r = self.tables.receptacle_named.get(name)
        if r is None or self.tables.location_R[r] == self.location:
            return None
        self.location = self.tables.location_R[r]
        self._listed = None
        if self.tables.lamps:
            self._met = self._goal_met()
        return f"You arrive at {name}. {self._see(r)}"

    def _open(self, name: str) -> str | None:
        r = self._here(name)
        if r is None or r not in self.tables.openable or r in self.opened:
            return None
        self.opened.add(r)
        self._listed = None
        return f"You open the {name}. {self._see(r)}"

    def _close(self, name: str) -> str | None:
        r = self._here(name)
        if r is None or r not in self.opened:
            return None
        self.opened.remove(r)
        self._listed = None
        return f"You close the {name}."

    def _take(self, object_name: str, receptacle_name: str) -> str | None:
        o, r = self.tables.object_named.get(object_name), self._here(receptacle_name)
        if o is None or r is None or self.held is not None or not self.accessible(r) or o not in self.contents[r]:
            return None
        if "pickupable" not in self.tables.flags_O[o]:
            return None
        self.contents[r] = tuple(other for other in self.contents[r] if other != o)
        self._locations[o] = tuple(place for place in self.locations(o) if place != self.location)
        self._left.add((o, r))
        self.held = o
        self._listed = None
        self._met = self._goal_met()
        return f"You pick up the {object_name} from the {receptacle_name}."

    def _put(self, object_name: str, receptacle_name: str) -> str | None:
        o, r = self._in_hand(object_name), self._here(receptacle_name)
        if o is None or r is None or not self.accessible(r) or r not in self.tables.can_hold_O[o]:
            return None
        if o not in self.contents[r]:
            held = list(self.contents[r])
            insort(held, o)
            self.contents[r] = tuple(held)
        if self.location not in self.locations(o):
            self._locations[o] = (*self.locations(o), self.location)
        self._left.discard((o, r))
        self.held = None
        self._listed = None
        self._met = self._goal_met()
        if self.game.put_verb == "put":
            return f"You put the {object_name} in/on the {receptacle_name}."
        return f"You move the {object_name} to the {receptacle_name}."

    def _treat(self, verb: str, object_name: str, receptacle_name: str) -> str | None:
        o, r = self._in_hand(object_name), self._here(receptacle_name)
        needed, gained, lost = TREATMENTS[verb]
        if o is None or r is None or r not in self.tables.tools[verb] or needed not in self.tables.flags_O[o]:
            return None
        self._marks[o] = (self.marks(o) | gained) & ~lost
        self._met = self._goal_met()
        return f"You {verb} the {object_name} using the {receptacle_name}."

    def _use(self, name: str) -> str | None:
        o = self.tables.object_named.get(name)
        if o is None or "toggleable" not in self.tables.flags_O[o]:
            return None
        if not any(o in self.contents[r] for r in self.here()):
            return None
        self._marks[o] = self.marks(o) | TOGGLED
        self._met = self._goal_met()
        return f"You turn on the {name}."

    def _slice(self, object_name: str, knife_name: str) -> str | None:
        o, knife = self.tables.object_named.get(object_name), self._in_hand(knife_name)
        if o is None or knife is None or knife not in self.tables.knives:
            return None
        if "sliceable" not in self.tables.flags_O[o] or self.location not in self.locations(o):
            return None
        self._marks[o] = self.marks(o) | SLICED
        self._met = self._goal_met()
        return f"You sliced the {object_name} with the {knife_name}."

    def _examine(self, name: str) -> str | None:
        r = self._here(name)
        if r is not None:
            return self._see(r)
        o = self._in_hand(name)
        return None if o is None else self._describe(o)

    def _look(self) -> str:
        names, here = self.tables.name_O, self.here()
        if not here:
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        facing = enumerate_names(self.tables.name_R[r] for r in here)
        beside = sorted(pair for pair in self._left if pair[1] in here and self.location in self.locations(pair[0]))
        things = enumerate_names(f"a {names[o]}" for o, _ in beside)
        return f"You are facing the {facing}. Next to it, you see {things}."

    # --- what is so now ---

    def state(self) -> str:
        """All that rules and sentences depend on, except the turns taken: equal texts, equal games from here on."""
        start = self.tables.contents_R
        moved = [(r, held) for r, held in enumerate(self.contents) if held != start[r]]
        marked = sorted((o, marks) for o, marks in self._marks.items() if marks != self.tables.marks_O[o])
        placed = sorted((o, places) for o, places in self._locations.items() if places != self.tables.locations_O[o])
        parts = (self.location, self.held, self.won, sorted(self.opened), moved, marked, placed, sorted(self._left))
        return "|".join(map(str, parts))

    def marks(self, o: int) -> int:
        """The marks (HOT, COOL, CLEAN, TOGGLED, SLICED) of object `o`, as bits."""
        marks = self._marks.get(o)
        return self.tables.marks_O[o] if marks is None else marks

    def locations(self, o: int) -> tuple[int, ...]:
        """Where object `o` can be reached."""
        places = self._locations.get(o)
        return self.tables.locations_O[o] if places is None else places

    def here(self) -> tuple[int, ...]:
        """The receptacles at the agent's location."""
        return self.tables.receptacles_at.get(self.location, ())

    def accessible(self, r: int) -> bool:
        """True unless receptacle `r` is closed."""
        return r not in self.tables.openable or r in self.opened

    def admissible(self) -> tuple[str, ...]:
        """Every command that is possible now, sorted."""
        if self._listed is None:
            self._listed = self._list()
        return self._listed

    def _list(self) -> tuple[str, ...]:
        # Most commands are those to go somewhere, which the tables keep in order: only what comes before and after
        # them in the alphabet is put together and sorted here.
        tables = self.tables
        first: list[str] = []
        last = ["help", "inventory", "look"]
        for r in self.here():
            name = tables.name_R[r]
            first.append(f"examine {name}")
            if r not in tables.openable:
                closed = False
            elif closed := r not in self.opened:
                last.append(f"open {name}")
            else:
                first.append(f"close {name}")
            for o in self.contents[r]:
                flags = tables.flags_O[o]
                if self.held is None and not closed and "pickupable" in flags:
                    last.append(f"take {tables.name_O[o]} from {name}")
                if "toggleable" in flags and (use := f"use {tables.name_O[o]}") not in last:
                    last.append(use)
        if self.held is not None:
            self._add_held_commands(self.held, first, last)
        first.sort()
        last.sort()
        ways = list(tables.go_commands)
        for place in reversed(tables.go_here.get(self.location, ())):
            del ways[place]
        return (*first, *ways, *last)

    def _add_held_commands(self, o: int, first: list[str], last: list[str]) -> None:
        tables = self.tables
        thing = tables.name_O[o]
        first.append(f"examine {thing}")
        for r in self.here():
            name = tables.name_R[r]
            if r in tables.can_hold_O[o] and self.accessible(r):
                put = f"put {thing} in/on {name}" if self.game.put_verb == "put" else f"move {thing} to {name}"
                last.append(put)
            for verb, (needed, _, _) in TREATMENTS.items():
                if r in tables.tools[verb] and needed in tables.flags_O[o]:
                    (last if verb == "heat" else first).append(f"{verb} {thing} with {name}")
        if o in tables.knives:
            for other, flags in enumerate(tables.flags_O):
                if "sliceable" in flags and self.location in self.locations(other):
                    last.append(f"slice {tables.name_O[other]} with {thing}")

    def _here(self, name: str) -> int | None:
        r = self.tables.receptacle_named.get(name)
        return r if r is not None and self.tables.location_R[r] == self.location else None

    def _in_hand(self, name: str) -> int | None:
        return self.held if self.held is not None and self.tables.name_O[self.held] == name else None

    def _see(self, r: int) -> str:
        name = self.tables.name_R[r]
        if not self.accessible(r):
            return f"The {name} is closed."
        names = self.tables.name_O
        things = enumerate_names(f"a {names[o]}" for o in self.contents[r])
        if r in self.tables.openable:
            return f"The {name} is open. In it, you see {things}."
        return f"On the {name}, you see {things}."

    def _describe(self, o: int) -> str:
        name, flags, marks = self.tables.name_O[o], self.tables.flags_O[o], self.marks(o)
        if "isreceptacleobject" in flags:
            inner = self.tables.inside_O.get(o, ())
            things = enumerate_names(f"a {self.tables.name_O[i]}" for i in inner)
            return f"This is a normal {name}. In it, you see {things}."
        sliced = " sliced" if marks & SLICED else ""
        clean = "clean" if marks & CLEAN else ""
        warmth = "hot" if marks & HOT else "cool" if marks & COOL else ""
        if warmth == "cool" and not clean and not sliced:
            return f"This is a cold {name}."  # the one place where the games write cold
        if clean or warmth:
            return f"This is a {' and '.join(filter(None, (warmth, clean)))}{sliced} {name}."
        if "toggleable" in flags:
            return f"This {name} is {'on' if marks & TOGGLED else 'off'}."
        return f"This is a sliced {name}." if sliced else f"There's nothing special about {name}."

    def _goal_met(self) -> bool:
        tables, goal = self.tables, self.game.goal
        if goal.toggle_type is not None:
            return self.held in tables.goal_objects and any(
                self.marks(lamp) & TOGGLED and any(lamp in self.contents[r] for r in self.here())
                for lamp in tables.lamps
            )
        wanted = tables.goal_marks
        ready = [o for o in tables.goal_objects if self.marks(o) & wanted == wanted]
        if len(ready) < goal.count:
            return False
        return any(sum(o in self.contents[r] for o in ready) >= goal.count for r in tables.goal_receptacles)


def _pair(text: str, word: str) -> tuple[str, str]:
    first, _, second = text.partition(word)
    return first, second
