"""What to do on a walk that shall show as much of a game as it can: errands, possible commands, and impossible ones.

A walk explores first and wins afterwards. Half of them follow the game's own walkthrough with other commands in
between; the others run errands, since no random player ever slices an egg or heats what it has just cooled.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from imprint.envs.household.engine import GameEngine
from imprint.envs.household.expert import expert_command

Errand = Iterator[str]
EXPERT, POSSIBLE, IMPOSSIBLE = "expert", "possible", "impossible"


class Walker:
    """Chooses the commands of one walk of a game.

    Args:
        engine: the episode, in the state the next command will meet.
        seed: the same engine and seed give the same commands.
        turns: how many commands to explore for, before going for the win.
    """

    def __init__(self, engine: GameEngine, seed: int | str, turns: int) -> None:
        self.engine = engine
        self.turns = turns
        self.rng = random.Random(f"walk/{seed}")
        self.rehearsal = list(engine.game.walkthrough) if self.rng.random() < 0.5 else []
        self._errand: Errand = iter(())

    def next(self) -> str:
        """The next command; it may or may not be possible."""
        exploring = self.engine.turn < self.turns
        draw = self.rng.random()
        if draw < 0.2:
            return _impossible(self.engine, self.rng)
        if self.rehearsal:
            return self.rehearsal.pop(0) if draw < 0.6 else self._look_about()
        if not exploring:
            return expert_command(self.engine, self.rng) or self._random()
        return self._random() if draw < 0.45 else self._run_errand()

    def _look_about(self) -> str:
        """A possible command that leaves the room as it is, so that the walkthrough continues from the same place."""
        still = ("examine", "look", "inventory", "help")
        return _by_verb([c for c in self.engine.admissible() if c.startswith(still)], self.rng)

    def _random(self) -> str:
        return _by_verb(self.engine.admissible(), self.rng)

    def _run_errand(self) -> str:
        for _ in range(10):
            command = next(self._errand, None)
            if command is not None:
                return command
            self._errand = self.rng.choice(ERRANDS)(self.engine, self.rng)
        return self._random()


def _by_verb(commands: list[str] | tuple[str, ...], rng: random.Random) -> str:
    """A verb, then one of its commands: most of what is possible is to go somewhere, which shows the least."""
    verbs = sorted({command.split()[0] for command in commands})
    verb = rng.choice(verbs)
    return rng.choice([command for command in commands if command.split()[0] == verb])


def _impossible(engine: GameEngine, rng: random.Random) -> str:
    """A command that nearly always is refused: of this game's words, or of a possible command's letters."""
    tables = engine.tables
    thing, place = rng.choice(tables.name_O or ("egg 1",)), rng.choice(tables.name_R)
    possible = rng.choice(engine.admissible())
    first, _, rest = possible.partition(" ")
    return rng.choice(
        (
            f"{rng.choice(('take', 'pick'))} {thing} from {place}",
            f"{rng.choice(('move', 'insert'))} {thing} to {place}",
            f"put {thing} in/on {place}",
            f"{rng.choice(('heat', 'cool', 'clean'))} {thing} with {place}",
            f"slice {thing} with {rng.choice(tables.name_O or ('knife 1',))}",
            f"{rng.choice(('open', 'close', 'go to', 'examine'))} {place}",
            f"{rng.choice(('use', 'examine', 'open', 'toggle'))} {thing}",
            possible.upper(),
            possible.replace(" ", "  ", 1) if rest else f"{possible} around",
            f" {possible}\n",  # white space at the ends counts for nothing: this one is possible
            possible.rstrip("0123456789"),
            f"{possible}.",
            first if rest else "",
            f"go {place}",
            "examine",
            "nothing\x00 to see \N{SNOWMAN}",
        )
    )


# --- errands: each yields command after command, and copes with what other commands do in between ---


def _reach(engine: GameEngine, r: int) -> Errand:
    name = engine.tables.name_R[r]
    if r not in engine.here():
        yield f"go to {name}"
    if not engine.accessible(r):
        yield f"open {name}"


def _hold(engine: GameEngine, rng: random.Random, o: int) -> Errand:
    if engine.held is not None and engine.held != o:
        yield from _drop(engine, rng)
    place = next((r for r, inside in enumerate(engine.contents) if o in inside), None)
    if engine.held is None and place is not None:
        yield from _reach(engine, place)
        yield f"take {engine.tables.name_O[o]} from {engine.tables.name_R[place]}"


def _drop(engine: GameEngine, rng: random.Random) -> Errand:
    o = engine.held
    fitting = engine.tables.can_hold_O[o] if o is not None else ()
    if o is not None and fitting:
        r = rng.choice([r for r in fitting if r in engine.here()] or fitting)
        yield from _reach(engine, r)
        thing, place = engine.tables.name_O[o], engine.tables.name_R[r]
        yield f"put {thing} in/on {place}" if engine.game.put_verb == "put" else f"move {thing} to {place}"


def _treat(engine: GameEngine, rng: random.Random) -> Errand:
    """Heat, cool and clean one thing in some order, with a look at it after each."""
    tables = engine.tables
    wanted = {"cleanable", "heatable", "coolable"}
    things = [o for o in _portable(engine) if wanted & tables.flags_O[o]]
    tools = [(verb, r) for verb, places in tables.tools.items() for r in sorted(places)]
    if things and tools:
        o = rng.choice(things)
        yield from _hold(engine, rng, o)
        for verb, r in rng.sample(tools, min(3, len(tools))):
            if r not in engine.here():
                yield f"go to {tables.name_R[r]}"
            yield f"{verb} {tables.name_O[o]} with {tables.name_R[r]}"
            yield f"examine {tables.name_O[o]}"


def _slice(engine: GameEngine, rng: random.Random) -> Errand:
    """Slice a thing, put the knife away, and look at what was sliced."""
    tables = engine.tables
    knives = [o for o in _portable(engine) if o in tables.knives]
    things = [o for o, flags in enumerate(tables.flags_O) if "sliceable" in flags]
    if knives and things:
        knife, o = rng.choice(knives), rng.choice(things)
        yield from _hold(engine, rng, knife)
        place = next((r for r, inside in enumerate(engine.contents) if o in inside), None)
        if place is not None:
            yield from _reach(engine, place)
        yield f"slice {tables.name_O[o]} with {tables.name_O[knife]}"
        yield from _drop(engine, rng)
        yield from _hold(engine, rng, o)
        yield f"examine {tables.name_O[o]}"


def _carry(engine: GameEngine, rng: random.Random) -> Errand:
    """Put a thing somewhere else, and see how that looks."""
    things = _portable(engine)
    if things:
        yield from _hold(engine, rng, rng.choice(things))
        yield rng.choice(("look", "inventory"))
        yield from _drop(engine, rng)
        yield "look"
        if engine.here():
            yield f"examine {engine.tables.name_R[rng.choice(engine.here())]}"


def _switch(engine: GameEngine, rng: random.Random) -> Errand:
    tables = engine.tables
    lamps = [(o, r) for r, inside in enumerate(engine.contents) for o in inside if "toggleable" in tables.flags_O[o]]
    if lamps:
        o, r = rng.choice(lamps)
        if r not in engine.here():
            yield f"go to {tables.name_R[r]}"
        yield from (f"use {tables.name_O[o]}", f"examine {tables.name_O[o]}", f"use {tables.name_O[o]}")


def _doors(engine: GameEngine, rng: random.Random) -> Errand:
    """Open and close, each also when it is too late for it."""
    if engine.tables.openable:
        r = rng.choice(sorted(engine.tables.openable))
        name = engine.tables.name_R[r]
        if r not in engine.here():
            yield f"go to {name}"
        verbs = ("open", "open", "examine", "close", "examine", "close")
        yield from (f"{verb} {name}" for verb in (verbs if rng.random() < 0.5 else verbs[2:]))


def _portable(engine: GameEngine) -> list[int]:
    return [o for o, flags in enumerate(engine.tables.flags_O) if "pickupable" in flags]


ERRANDS: tuple[Callable[[GameEngine, random.Random], Errand], ...] = (
    _treat,
    _treat,
    _slice,
    _slice,
    _carry,
    _switch,
    _doors,
)
