"""Reads household games as they are stored: `game.tw-pddl` files, and tables of problems that share a domain.

What varies between releases is read from the file itself: which furniture cleans, heats and cools, and which
knives slice, from the domain; the word for putting down, and the task sentence, from the grammar; the family
of the task from its goal. Nothing is taken from a file's name but the name of the game.

Thousands of games may be live at once, and their texts are much the same: equal words and sets are kept once.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from sys import intern
from typing import Any

from imprint.envs.household.documents import DAMAGED, TASK, read_document, read_rows, stored_id, text_of
from imprint.envs.household.game import Game, Goal, Object, Receptacle, Rules
from imprint.errors import GameError

PREFIX = "Your task is to: "
MAX_DEPTH = 100  # real games use about ten levels; a file from elsewhere must not exhaust the stack
_BINARY = frozenset(
    {
        "atlocation",
        "cancontain",
        "inreceptacle",
        "inreceptacleobject",
        "objectatlocation",
        "objecttype",
        "receptacleatlocation",
        "receptacletype",
    }
)
_TOKEN = re.compile(r"[()]|[^\s()]+")
_COMMENT = re.compile(r";[^\n]*")
_PUT = re.compile(r'action\s+PutObject\s*\{\s*template\s*::\s*"(\w+)\s')

Expression = list[Any]  # strings and further expressions


@dataclass(frozen=True, slots=True)
class Template:
    """What the games of one release share: the rules of their domain and the put command of their grammar."""

    rules: Rules = field(default_factory=Rules)
    put_verb: str = "move"


def load_game(path: str | Path) -> Game:
    """The game in a `game.tw-pddl` file; its id is made of the last three folders (split, task, trial).

    Raises:
        GameError: the file cannot be read, is cut short, or does not describe a playable game.
    """
    path = Path(path)
    return parse_game(read_document(path), stored_id(path), where=path)


def load_template(path: str | Path) -> Template:
    """The rules and the put command of the game file at `path`, for problems stored without a domain.

    Raises:
        GameError: as `load_game`.
    """
    game = load_game(path)
    return Template(game.rules, game.put_verb)


def load_rows(path: str | Path, template: Template | None = None, *, limit: int | None = None) -> Iterator[Game]:
    """The games of a `.jsonl.gz` or `.jsonl` table: `path`, `task`, `pddl_problem`, `walkthrough` in a row.

    Raises:
        GameError: the table is cut short, or a row is not a game; names file and line.
    """
    path, template = Path(path), template or Template()
    for line, row in read_rows(path, limit):
        where = f"{path}:{line}"
        sentence = text_of(row, "task", where).strip().removeprefix(PREFIX).strip()
        game_id = stored_id(Path(text_of(row, "path", where)))
        yield _build(row, game_id, sentence, template, where)


def parse_row(row: Mapping[str, Any], game_id: str, template: Template, where: str) -> Game:
    """The game in one row of a table.

    Raises:
        GameError: something is missing or malformed.
    """
    if not isinstance(row.get("task"), str):
        raise GameError("is missing or not text", where=where, key="task", hint="get the table again")
    return _build(row, game_id, row["task"].strip().removeprefix(PREFIX).strip(), template, where)


def parse_game(document: Any, game_id: str, *, where: str | Path | None = None) -> Game:
    """The game in the parsed JSON of a game file (`pddl_domain`, `grammar`, `pddl_problem`, `walkthrough`).

    Raises:
        GameError: something is missing or malformed.
    """
    where = game_id if where is None else where
    grammar = text_of(document, "grammar", where)
    put = _PUT.search(grammar)
    if put is None or put[1] not in ("move", "put"):
        raise GameError(
            "the action PutObject has no template that begins with move or put",
            where=where,
            key="grammar",
            hint=DAMAGED,
        )
    task = TASK.search(grammar)
    if task is None:
        raise GameError(f"there is no sentence {PREFIX!r}", where=where, key="grammar", hint=DAMAGED)
    template = Template(_rules(text_of(document, "pddl_domain", where), where), put[1])
    return _build(document, game_id, _unescape(task[1]).strip(), template, where)


def read_expression(text: str, *, where: str | Path, key: str) -> Expression:
    """The first parenthesised expression of `text` as nested lists, without the `;` comments.

    Raises:
        GameError: a parenthesis is missing, there is none at all, or they are nested absurdly deep.
    """
    if ";" in text:
        text = _COMMENT.sub("", text)
    open_lists: list[Expression] = [[]]
    for token in _TOKEN.findall(text):
        if token == "(":
            if len(open_lists) > MAX_DEPTH:
                raise GameError("the parentheses are nested too deep", where=where, key=key, hint=DAMAGED)
            open_lists.append([])
        elif token != ")":
            open_lists[-1].append(intern(token))
        elif len(open_lists) == 1:
            raise GameError("a parenthesis is closed that was never opened", where=where, key=key, hint=DAMAGED)
        else:
            closed = open_lists.pop()
            open_lists[-1].append(closed)
    if len(open_lists) > 1:
        missing = len(open_lists) - 1
        raise GameError(f"{missing} closing parenthesis(es) missing at the end", where=where, key=key, hint=DAMAGED)
    found = next((item for item in open_lists[0] if isinstance(item, list)), None)
    if found is None:
        raise GameError("there is no PDDL expression", where=where, key=key, hint=DAMAGED)
    return found


# --- the parts of a document ---


def _unescape(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except json.JSONDecodeError:
        return text


def _walkthrough(document: Mapping[str, Any], where: str | Path) -> tuple[str, ...]:
    commands = document.get("walkthrough") or ()
    if not isinstance(commands, list | tuple) or not all(isinstance(command, str) for command in commands):
        raise GameError("is not a list of commands", where=where, key="walkthrough", hint=DAMAGED)
    return tuple(commands)


def _rules(domain: str, where: str | Path) -> Rules:
    try:
        return _rules_of(domain)
    except GameError as error:
        raise GameError(error.problem, where=where, key=error.key, hint=error.hint) from error


@lru_cache(maxsize=16)
def _rules_of(domain: str) -> Rules:
    where = "domain"
    actions: dict[str, Expression] = {}
    for part in read_expression(domain, where=where, key="pddl_domain"):
        if isinstance(part, list) and len(part) > 1 and part[0] == ":action":
            actions[str(part[1]).lower()] = part

    def types(action: str, predicate: str) -> frozenset[str]:
        if action not in actions:
            raise GameError(f"there is no action {action}", where=where, key="pddl_domain", hint=DAMAGED)
        parts = actions[action]
        start = parts.index(":precondition") + 1 if ":precondition" in parts else len(parts)
        atoms = _atoms(parts[start : start + 1])
        return frozenset(_type(atom[2]) for atom in atoms if atom[0].lower() == predicate and len(atom) == 3)

    return Rules(
        clean=types("cleanobject", "receptacletype"),
        heat=types("heatobject", "receptacletype"),
        cool=types("coolobject", "receptacletype"),
        slice=types("sliceobject", "objecttype"),
    )


def _atoms(expression: Expression) -> Iterator[list[str]]:
    """Every innermost list that begins with a name: the atoms, and the typed variables of quantifiers."""
    inner = [item for item in expression if isinstance(item, list)]
    if not inner and expression and isinstance(expression[0], str):
        yield expression
    for item in inner:
        yield from _atoms(item)


def _type(name: str) -> str:
    return intern(name.removesuffix("Type"))


@lru_cache(maxsize=4096)
def _pair(rtype: str, otype: str) -> tuple[str, str]:
    return _type(rtype), _type(otype)


@lru_cache(maxsize=4096)
def _once(flags: frozenset[str]) -> frozenset[str]:
    return flags


# --- the problem ---


class _Facts:
    """The initial state, by predicate (in lower case), and what kind each declared name is of."""

    def __init__(self, problem: str, where: str | Path) -> None:
        self.where = where
        sections = {
            part[0]: part
            for part in read_expression(problem, where=where, key="pddl_problem")
            if isinstance(part, list) and part and isinstance(part[0], str)
        }
        for name in (":objects", ":init", ":goal"):
            if name not in sections:
                raise self.error(f"the section ({name} ...) is missing")
        self.goal: Expression = sections[":goal"]
        self.kinds = self._declarations(sections[":objects"][1:])
        self.by: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
        self.flags: defaultdict[str, set[str]] = defaultdict(set)
        for fact in sections[":init"][1:]:
            self._add(fact)

    def error(self, problem: str) -> GameError:
        return GameError(problem, where=self.where, key="pddl_problem", hint=DAMAGED)

    def _declarations(self, tokens: Expression) -> dict[str, str]:
        kinds: dict[str, str] = {}
        names: list[str] = []
        place = 0
        if not all(isinstance(token, str) for token in tokens):
            raise self.error("the section (:objects ...) has something that is not a name")
        while place < len(tokens):
            if tokens[place] == "-" and place + 1 < len(tokens):
                kinds |= dict.fromkeys(names, str(tokens[place + 1]))
                names, place = [], place + 1
            else:
                names.append(tokens[place])
            place += 1
        if names:
            raise self.error(f"the object {names[0]} is declared without a type")
        return kinds

    def _add(self, fact: Any) -> None:
        if not isinstance(fact, list) or not fact or not all(isinstance(term, str) for term in fact):
            if isinstance(fact, list) and fact and fact[0] == "=":
                return  # distances and costs: of no use to a player
            raise self.error(f"the initial state has a fact that is not a plain atom: {str(fact)[:80]}")
        for term in fact[1:]:
            if term not in self.kinds:
                raise self.error(f"{term} is used but not declared under (:objects ...)")
        predicate = intern(fact[0].lower())
        if predicate in _BINARY and len(fact) != 3:
            raise self.error(f"{fact[0]} takes two terms, not {len(fact) - 1}")
        if len(fact) == 2:
            self.flags[fact[1]].add(predicate)
        self.by[predicate].append(tuple(fact[1:]))

    def grouped(self, predicate: str) -> dict[str, list[str]]:
        """first term -> its second terms, in the file's order, each once."""
        groups: dict[str, list[str]] = {}
        for terms in self.by[predicate]:
            seconds = groups.setdefault(terms[0], [])
            if terms[1] not in seconds:
                seconds.append(terms[1])
        return groups


def _build(document: Mapping[str, Any], game_id: str, sentence: str, template: Template, where: str | Path) -> Game:
    facts = _Facts(text_of(document, "pddl_problem", where), where)
    start = [place for _, place in facts.by["atlocation"]]
    if len(start) != 1:
        raise facts.error(f"the agent is at {len(start)} locations instead of one")
    goal, family = _goal(facts)
    return Game(
        id=game_id,
        family=family,
        sentence=sentence,
        receptacles=_receptacles(facts),
        objects=_objects(facts),
        start=start[0],
        can_contain=frozenset(_pair(rtype, otype) for rtype, otype in facts.by["cancontain"]),
        goal=goal,
        rules=template.rules,
        put_verb=template.put_verb,
        walkthrough=_walkthrough(document, where),
    )


def _receptacles(facts: _Facts) -> tuple[Receptacle, ...]:
    types, places = facts.grouped("receptacletype"), facts.grouped("receptacleatlocation")
    found = []
    for name in sorted({*types, *places}, key=str.lower):
        if name not in places:
            raise facts.error(f"the receptacle {name} has no location")
        flags = facts.flags[name]
        kind = _type(types[name][0]) if name in types else ""
        found.append(Receptacle(name, kind, places[name][0], "openable" in flags, "opened" in flags))
    if not found:
        raise facts.error("there is no receptacle")
    return tuple(found)


def _objects(facts: _Facts) -> tuple[Object, ...]:
    types, places = facts.grouped("objecttype"), facts.grouped("objectatlocation")
    holders, outer = facts.grouped("inreceptacle"), facts.grouped("inreceptacleobject")
    mentioned = {term for group in facts.by.values() for terms in group for term in terms}
    found = []
    # A declared object that no fact mentions is not in the room, and is not counted when things are numbered.
    for name in sorted((n for n in mentioned if facts.kinds[n] == "object"), key=str.lower):
        receptacles, locations = holders.get(name, []), places.get(name, [])
        found.append(
            Object(
                id=name,
                type=_type(types[name][0]) if name in types else "",
                receptacle=receptacles[0] if receptacles else None,
                location=locations[0] if locations else None,
                flags=_once(frozenset(facts.flags[name])),
                inside=outer[name][0] if name in outer else None,
                also_in=tuple(receptacles[1:]),
                also_at=tuple(locations[1:]),
            )
        )
    return tuple(found)


def _goal(facts: _Facts) -> tuple[Goal, str]:
    """The goal and the family that it makes."""
    types: dict[str, str] = {}
    targets: set[str] = set()
    flags: defaultdict[str, set[str]] = defaultdict(set)
    placed: dict[str, None] = {}
    held: list[str] = []
    for atom in _atoms(facts.goal[1:]):
        match [atom[0].lower(), *atom[1:]]:
            case ["objecttype", variable, kind]:
                types[variable] = _type(kind)
            case ["receptacletype", _, kind]:
                targets.add(_type(kind))
            case ["inreceptacle", variable, _]:
                placed[variable] = None
            case ["holds", _, variable]:
                held.append(variable)
            case [flag, variable]:
                flags[variable].add(flag)
    if len(held) == 1 and held[0] in types:
        lamp = next((v for v, own in flags.items() if "istoggled" in own and v in types), None)
        if lamp is not None:
            return Goal(types[held[0]], toggle_type=types[lamp]), "look_at_obj_in_light"
    kinds = {types.get(variable) for variable in placed}
    if held or len(kinds) != 1 or len(targets) != 1 or not all(kinds):
        raise facts.error("the goal is of none of the six known families")
    require = frozenset(flag for variable in placed for flag in flags[variable])
    goal = Goal(types[next(iter(placed))], targets.pop(), len(placed), require)
    return goal, _family(goal)


def _family(goal: Goal) -> str:
    if goal.count > 1:
        return "pick_two_obj_and_place"
    for flag, verb in (("ishot", "heat"), ("iscool", "cool"), ("isclean", "clean")):
        if flag in goal.require:
            return f"pick_{verb}_then_place_in_recep"
    return "pick_and_place_simple"
