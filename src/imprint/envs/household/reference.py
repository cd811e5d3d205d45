"""ALFWorld's own engine, TextWorld, behind the same Environment: thousands of times slower, and the measure of ours.

It comes with the extra `imprint[alfworld]` and is set up as ALFWorld's `AlfredTWEnv` does it: TextWorld's PDDL
environment with won and admissible commands, its wrapper for the turn limit, and ALFWorld's own demangler of names.

TextWorld evaluates the expressions in a game's grammar as Python. A game's text is not trusted here: a grammar that
asks for more than the names of things is refused before anything of it is evaluated.

Nearly all of a step's time is spent on the words of every possible command, derived again although nothing that
changes takes part in them. `remember` keeps them, which makes long comparisons bearable; TextWorld is as it is without.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from imprint.envs.household.engine import WELCOME
from imprint.errors import GameError, ImprintError
from imprint.types import StepResult, Task

_SAFE = (ast.Expression, ast.BinOp, ast.Add, ast.BoolOp, ast.Or, ast.Constant, ast.Name, ast.Attribute, ast.Load)
_PREDICATE = re.compile(r"(\w+)\(")
_FIXED = frozenset({"receptacleatlocation"})  # no action moves furniture
_FIELDS = frozenset({"name", "id", "indefinite", "definite"})


class ReferenceEngine:
    """One episode at a time of one game, in TextWorld; load the next game into the same engine, which saves memory.

    Args:
        max_turns: the turn after which an episode is truncated; None is no limit.
        remember: derive the words of a command once a game.

    Attributes:
        full_intro: the first text with TextWorld's banner above it.

    Raises:
        ImprintError: the extra is not installed.
    """

    def __init__(self, max_turns: int | None = None, *, remember: bool = False) -> None:
        self.full_intro = ""
        self.remember = remember
        self._admissible: tuple[str, ...] = ()
        self._name = ""
        self._env = _build(max_turns)

    def load(self, document: Mapping[str, Any], name: str = "game") -> None:
        """Take the game in the JSON of a `game.tw-pddl`; `reset` starts it.

        Raises:
            GameError: TextWorld cannot read it, or its grammar asks for the evaluation of foreign code.
        """
        self._name = name
        with _kept_arguments(), _told(name, "cannot be loaded by TextWorld"):
            self._env.load(document)
        logic = self._env.unwrapped._logic
        _refuse_code(logic, name)
        if self.remember:
            logic.grammar = _Remembering(logic)

    def reset(self) -> StepResult:
        """Restart the loaded game."""
        with _kept_arguments(), _told(self._name, "cannot be started by TextWorld"):
            state = self._env.reset()
        self.full_intro = str(state.feedback)
        self._admissible = tuple(state["admissible_commands"])
        return StepResult(self.full_intro.removeprefix(WELCOME), admissible=self._admissible)

    def step(self, command: str) -> StepResult:
        """Act once. The reward is TextWorld's score: 1 in every state where the goal holds."""
        valid = command.strip() in self._admissible
        with _told(self._name, "cannot be played by TextWorld"):
            state, score, done = self._env.step(command)
        self._admissible = tuple(state["admissible_commands"])
        won = bool(state["won"])
        return StepResult(
            observation=str(state.feedback),
            reward=float(score),
            terminated=won,
            truncated=bool(done) and not won,
            success=won,
            valid=valid,
            admissible=self._admissible,
        )

    def admissible(self) -> tuple[str, ...]:
        """Every command that is possible now, in TextWorld's order."""
        return self._admissible


class ReferenceEnvironment:
    """`Environment` over the reference engine.

    Args:
        document: gives the JSON of a task's game.
        max_turns: an episode ends after this many.
    """

    def __init__(self, document: Callable[[Task], Mapping[str, Any]], max_turns: int | None) -> None:
        self.document = document
        self.engine = ReferenceEngine(max_turns)
        self._loaded: str | None = None

    def reset(self, task: Task, seed: int) -> StepResult:
        """Start `task`. The game is deterministic: `seed` changes nothing."""
        if self._loaded != task.id:
            self.engine.load(self.document(task), task.id)
            self._loaded = task.id
        return self.engine.reset()

    def step(self, action: str) -> StepResult:
        if self._loaded is None:
            raise GameError("step before reset", hint="call reset(task, seed) first")
        return self.engine.step(action)


def require_reference() -> None:
    """Make sure that the reference engine can be used.

    Raises:
        ImprintError: the extra is not installed.
    """
    _modules()


@cache
def _modules() -> tuple[Any, Any, Any, Any]:
    data, arguments = os.environ.get("ALFWORLD_DATA"), sys.argv[:]
    try:
        import fast_downward  # noqa: F401  (TextWorld does without it until the first game)
        import textworld
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
        from textworld.envs.pddl import PddlEnv
        from textworld.envs.wrappers import Limit
    except ImportError as error:
        raise ImprintError(
            f"the reference engine is not installed ({error})",
            hint="pip install 'imprint[alfworld]'; it compiles a planner, which needs g++ and cmake",
        ) from error
    finally:
        sys.argv[:] = arguments
        if data is None:  # importing alfworld sets it, which would change where games are looked for
            os.environ.pop("ALFWORLD_DATA", None)
    return textworld, PddlEnv, Limit, AlfredDemangler


def _build(max_turns: int | None) -> Any:
    textworld, pddl_env, limit, demangler = _modules()
    env = pddl_env(textworld.EnvInfos(won=True, admissible_commands=True, feedback=True))
    return demangler(env if max_turns is None else limit(env, max_episode_steps=max_turns))


@contextmanager
def _kept_arguments() -> Iterator[None]:
    arguments = sys.argv[:]
    try:
        yield
    finally:
        sys.argv[:] = arguments  # Fast Downward puts its own there


@contextmanager
def _told(name: str, problem: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:  # its parsers raise whatever they like, and its planner exits
        raise GameError(
            f"{problem}: {type(error).__name__}: {str(error)[:200]}", where=name, hint="check the game's PDDL"
        ) from error


class _Remembering:
    """A game's grammar that derives a command's words once, where nothing takes part that a game can change."""

    def __init__(self, logic: Any) -> None:
        self._grammar = logic.grammar
        self._known: dict[tuple[object, ...], str] = {}
        self._templates = {
            action.template
            for action in logic.actions.values()
            if "#" not in action.template and set(_PREDICATE.findall(action.template)) <= _FIXED
        }

    def derive(self, start: str, context: Mapping[str, Any]) -> str:
        if start not in self._templates:
            return str(self._grammar.derive(start, context))
        key = (start, *((holder.name, thing.name) for holder, thing in context["mapping"].items()))
        if key not in self._known:
            self._known[key] = str(self._grammar.derive(start, context))
        return self._known[key]


def _refuse_code(logic: Any, name: str) -> None:
    """Refuse a grammar whose expressions do anything but put together the names of things."""
    parse = sys.modules["textworld.envs.pddl.textgen"]._parse_and_convert
    symbols = [symbol for rules in logic.grammar._rules.values() for rule in rules for symbol in rule.rhs]
    for action in logic.actions.values():
        for text in (action.template, action.feedback_rule):
            symbols += parse(text, rule_name="symbols")
    while symbols:
        symbol = symbols.pop()
        inner = getattr(symbol, "symbol", None)
        if isinstance(getattr(symbol, "expression", None), str):
            _refuse_expression(symbol.expression, name)
        symbols += [part for part in (inner, getattr(symbol, "expression", None)) if hasattr(part, "symbol")]


def _refuse_expression(text: str, name: str) -> None:
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        nodes = []
    fields = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    if not nodes or not all(isinstance(node, _SAFE) for node in nodes) or fields - _FIELDS:
        raise GameError(
            f"the grammar wants Python to be run: {text[:80]!r}",
            where=name,
            key="grammar",
            hint="play games from ALFWorld or the maker only",
        )
