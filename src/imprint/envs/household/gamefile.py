"""Writes a game as a `game.tw-pddl` document, which both `pddl.py` and TextWorld read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources
from typing import Any

from imprint.envs.household.game import Game, Object, Rules
from imprint.errors import GameError

# The predicates of templates/domain.pddl that a flag may stand for, by their lower-cased name.
_PREDICATES = {
    name.lower(): name
    for name in (
        "cleanable",
        "coolable",
        "heatable",
        "pickupable",
        "sliceable",
        "toggleable",
        "isClean",
        "isCool",
        "isHot",
        "isReceptacleObject",
        "isSliced",
        "isToggled",
    )
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# The domain uses these types, so that every problem has to declare them.
_DOMAIN_RTYPES = ("Sink", "SinkBasin", "Microwave", "Fridge")
_DOMAIN_OTYPES = ("Knife", "ButterKnife")


def game_file(game: Game) -> dict[str, Any]:
    """The JSON document of a game; `pddl.parse_game(document, game.id)` reads it back to an equal game.

    Raises:
        GameError: the game has rules of its own, or a name or flag that the domain cannot express.
    """
    if game.rules != Rules() or game.put_verb != "move":
        raise GameError(
            "a game with rules or commands of its own cannot be written: the domain is fixed",
            where=game.id,
            hint="write the game it was made from",
        )
    return {
        "pddl_domain": _template("domain.pddl"),
        "grammar": _template("grammar.twl2").replace("TASK_SENTENCE", json.dumps(game.sentence)[1:-1]),
        "pddl_problem": problem_text(game),
        "solvable": bool(game.walkthrough),
        "walkthrough": list(game.walkthrough),
    }


def problem_text(game: Game) -> str:
    """The PDDL problem of a game: objects, initial state and goal.

    Raises:
        GameError: a name that is not a PDDL name, or a flag that the domain does not know.
    """
    problem_name = re.sub(r"\W+", "_", game.id)
    declared = [*_declare(game)]
    for line in declared:
        if not _NAME.fullmatch(line.split(" - ")[0]):
            raise GameError(f"{line.split(' - ')[0]!r} is no PDDL name", where=game.id, hint="use letters, digits, _")
    sections = (
        "(:domain alfred)",
        f"(:objects\n{_lines(declared)})",
        f"(:init\n{_lines(_facts(game))})",
        f"(:goal\n{_goal(game)})",
    )
    return f"(define (problem {problem_name})\n" + "\n".join(sections) + "\n)\n"


@cache
def _template(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _lines(items: Iterable[str]) -> str:
    return "".join(f"  {item}\n" for item in items)


def _declare(game: Game) -> Iterator[str]:
    yield "agent1 - agent"
    yield from (f"{r.id} - receptacle" for r in game.receptacles)
    yield from (f"{o.id} - object" for o in game.objects)
    places = {game.start, *(r.location for r in game.receptacles)}
    places |= {place for o in game.objects for place in (o.location, *o.also_at) if place is not None}
    yield from (f"{place} - location" for place in sorted(places))
    rtypes = {*_DOMAIN_RTYPES, *(r.type for r in game.receptacles), *(pair[0] for pair in game.can_contain)}
    rtypes -= {o.type for o in game.objects}  # a sink that is a thing, as published games declare it
    otypes = {*_DOMAIN_OTYPES, *(o.type for o in game.objects), *(pair[1] for pair in game.can_contain)}
    goal = game.goal
    rtypes |= {goal.target_type} if goal.target_type else set()
    otypes |= {goal.object_type} | ({goal.toggle_type} if goal.toggle_type else set())
    # A type of furniture and one of objects may share a name (a sink): a constant can have one kind only.
    yield from (f"{name}Type - rtype" for name in sorted(rtypes))
    yield from (f"{name}Type - otype" for name in sorted(otypes - rtypes))


def _facts(game: Game) -> Iterator[str]:
    yield f"(atLocation agent1 {game.start})"
    for r in game.receptacles:
        yield f"(receptacleType {r.id} {r.type}Type)"
        yield f"(receptacleAtLocation {r.id} {r.location})"
        if r.openable:
            yield f"(openable {r.id})"
        if r.opened:
            yield f"(opened {r.id})"
    for o in game.objects:
        yield from _object_facts(o, game)
    for rtype, otype in sorted(game.can_contain):
        yield f"(canContain {rtype}Type {otype}Type)"


def _object_facts(thing: Object, game: Game) -> Iterator[str]:
    yield f"(objectType {thing.id} {thing.type}Type)"
    for receptacle in (thing.receptacle, *thing.also_in):
        if receptacle is not None:
            yield f"(inReceptacle {thing.id} {receptacle})"
    for place in (thing.location, *thing.also_at):
        if place is not None:
            yield f"(objectAtLocation {thing.id} {place})"
    if thing.inside is not None:
        yield f"(inReceptacleObject {thing.id} {thing.inside})"
    yield from (f"({_predicate(flag, game)} {thing.id})" for flag in sorted(thing.flags))


def _predicate(flag: str, game: Game) -> str:
    if flag not in _PREDICATES:
        known = ", ".join(sorted(_PREDICATES))
        raise GameError(f"the domain has no predicate for {flag!r}", where=game.id, hint=f"use one of: {known}")
    return _PREDICATES[flag]


def _goal(game: Game) -> str:
    goal = game.goal
    if goal.toggle_type is not None:
        return (
            "  (and\n"
            "    (exists (?l - object ?r - receptacle ?a - agent ?p - location)\n"
            f"      (and (objectType ?l {goal.toggle_type}Type) (toggleable ?l) (isToggled ?l)\n"
            "        (inReceptacle ?l ?r) (receptacleAtLocation ?r ?p) (atLocation ?a ?p)))\n"
            "    (exists (?o - object ?a - agent)\n"
            f"      (and (objectType ?o {goal.object_type}Type) (holds ?a ?o))))"
        )
    things = [f"?o{number}" for number in range(1, goal.count + 1)]
    atoms = [f"(receptacleType ?r {goal.target_type}Type)"]
    for number, thing in enumerate(things):
        atoms += [f"(not (= {other} {thing}))" for other in things[:number]]
        atoms += [f"(objectType {thing} {goal.object_type}Type)", f"(inReceptacle {thing} ?r)"]
        atoms += [f"({_predicate(flag, game)} {thing})" for flag in sorted(goal.require)]
    declared = " ".join(f"{thing} - object" for thing in things)
    conditions = "\n      ".join(atoms)
    return f"  (exists (?r - receptacle {declared})\n    (and {conditions}))"
