"""A scripted expert with access to the whole state: the next command in any household game that can be won."""

from __future__ import annotations

import random
from collections.abc import Iterable

from imprint.envs.household.engine import GameEngine
from imprint.envs.household.tables import TOGGLED, TREATMENTS


def expert_command(engine: GameEngine, rng: random.Random | None = None) -> str | None:
    """The next command towards the goal from the state `engine` is in.

    Ties between equally good choices go to the first in reading order, or are broken by `rng`. Returns None
    where the game offers no way on (no such object, nowhere to put it, nothing to treat it with).
    """
    if engine.game.goal.toggle_type is not None:
        return _light(engine, rng)
    target = _target(engine, rng)
    if target is None:
        return None
    if engine.held is None:
        return _fetch(engine, [o for o in engine.tables.goal_objects if not _done(engine, o, target)], rng)
    if not _useful(engine, engine.held):
        return _put_away(engine, rng)
    if engine.tables.goal_marks & ~engine.marks(engine.held):
        return _treat(engine, engine.held, rng)
    fitting = engine.tables.can_hold_O[engine.held]
    return _put(engine, target, rng) if target in fitting else _put_away(engine, rng)


def solve(engine: GameEngine, limit: int = 50, rng: random.Random | None = None) -> list[str]:
    """Play `engine` on with the expert until it is won, stuck, or has had `limit` commands; returns them."""
    commands: list[str] = []
    while not engine.won and len(commands) < limit:
        command = expert_command(engine, rng)
        if command is None:
            break
        engine.step(command)
        commands.append(command)
    return commands


def _light(engine: GameEngine, rng: random.Random | None) -> str | None:
    tables = engine.tables
    if engine.held is None:
        return _fetch(engine, tables.goal_objects, rng)
    if engine.held not in tables.goal_objects:
        return _put_away(engine, rng)
    lamps = {o: r for r, inside in enumerate(engine.contents) for o in inside if o in tables.lamps}
    receptacle = _choose(engine, lamps.values(), rng)
    if receptacle is None:
        return None
    if receptacle not in engine.here():
        return f"go to {tables.name_R[receptacle]}"
    ready = [o for o, r in lamps.items() if r in engine.here() and not engine.marks(o) & TOGGLED]
    return f"use {tables.name_O[ready[0]]}" if ready else "look"


def _target(engine: GameEngine, rng: random.Random | None) -> int | None:
    """The receptacle to fill: the one that holds most already, then the one at hand."""
    tables = engine.tables
    usable = [r for r in tables.goal_receptacles if any(r in tables.can_hold_O[o] for o in tables.goal_objects)]
    if engine.held is not None and _useful(engine, engine.held):
        usable = [r for r in usable if r in tables.can_hold_O[engine.held]]
    if not usable:
        return None
    placed = {r: sum(_done(engine, o, r) for o in tables.goal_objects) for r in usable}
    most = max(placed.values())
    return _choose(engine, [r for r in usable if placed[r] == most], rng)


def _done(engine: GameEngine, o: int, target: int) -> bool:
    wanted = engine.tables.goal_marks
    return o in engine.contents[target] and engine.marks(o) & wanted == wanted


def _useful(engine: GameEngine, o: int) -> bool:
    return o in engine.tables.goal_objects


def _fetch(engine: GameEngine, wanted: Iterable[int], rng: random.Random | None) -> str | None:
    tables = engine.tables
    takeable = {o for o in wanted if "pickupable" in tables.flags_O[o]}
    places = [r for r, inside in enumerate(engine.contents) if takeable.intersection(inside)]
    receptacle = _choose(engine, places, rng)
    if receptacle is None:
        return None
    way = _reach(engine, receptacle)
    if way is not None:
        return way
    thing = _pick(sorted(takeable.intersection(engine.contents[receptacle])), rng)
    return f"take {tables.name_O[thing]} from {tables.name_R[receptacle]}"


def _treat(engine: GameEngine, o: int, rng: random.Random | None) -> str | None:
    """The way to the next treatment that `o` lacks; None when nothing here can give it."""
    tables = engine.tables
    missing = tables.goal_marks & ~engine.marks(o)
    for verb, (needed, gained, _) in TREATMENTS.items():
        tool = _choose(engine, tables.tools[verb], rng) if missing & gained else None
        if tool is None or needed not in tables.flags_O[o]:
            continue
        name = tables.name_R[tool]
        return f"{verb} {tables.name_O[o]} with {name}" if tool in engine.here() else f"go to {name}"
    return None


def _put_away(engine: GameEngine, rng: random.Random | None) -> str | None:
    """Get rid of a thing that does not help; not into a goal receptacle if another will do."""
    held = engine.held
    assert held is not None
    fitting = engine.tables.can_hold_O[held]
    receptacle = _choose(engine, set(fitting) - set(engine.tables.goal_receptacles) or fitting, rng)
    return None if receptacle is None else _put(engine, receptacle, rng)


def _put(engine: GameEngine, receptacle: int, rng: random.Random | None) -> str:
    way = _reach(engine, receptacle)
    if way is not None:
        return way
    assert engine.held is not None
    thing, place = engine.tables.name_O[engine.held], engine.tables.name_R[receptacle]
    return f"put {thing} in/on {place}" if engine.game.put_verb == "put" else f"move {thing} to {place}"


def _reach(engine: GameEngine, receptacle: int) -> str | None:
    """The step that is still missing before the hand can go into `receptacle`."""
    name = engine.tables.name_R[receptacle]
    if receptacle not in engine.here():
        return f"go to {name}"
    return None if engine.accessible(receptacle) else f"open {name}"


def _choose(engine: GameEngine, receptacles: Iterable[int], rng: random.Random | None) -> int | None:
    """The receptacle that takes the fewest steps to reach into."""
    here = engine.here()
    cost = {r: (r not in here) + (not engine.accessible(r)) for r in sorted(receptacles)}
    if not cost:
        return None
    least = min(cost.values())
    return _pick([r for r, price in cost.items() if price == least], rng)


def _pick(choices: list[int], rng: random.Random | None) -> int:
    return choices[0] if rng is None else rng.choice(choices)
