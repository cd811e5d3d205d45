"""The scripted teacher: it has the text observations of a policy and the recipe, nothing more.

It searches the places in the order in which the first message lists them, opens what is closed, remembers what it
saw, and then carries out the recipe. A policy can imitate it, unlike an expert that knows where things are.

For a second thing it may first go back to where the first one was and continue the search there (`goes_back`): "the
next in the list" is learned sooner than "the first one not looked into yet".
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from imprint.envs.base import Demonstration, Environment
from imprint.envs.household.engine import GameEngine
from imprint.envs.household.game import Game
from imprint.envs.household.random_rules import RandomRules, TaskRecipe
from imprint.skills.skill import Skill
from imprint.types import StepResult, Task

# In the lesson `pairs`, how often a search for the second thing comes to where the first one was placed, to learn to
# leave it there: where that place is next in the list, and elsewhere.
PASSING, STRAYING = 0.7, 0.2
PAGE_WEIGHT = 4.0  # of a command that follows from the skill text or from what was seen, beside 1 for the search

_NAME = re.compile(r"\ban? ([a-z]+ \d+)")
_SEEN = re.compile(r"you see (.*?)\.(?:\s|$)", re.DOTALL)


def demonstrate(rules: RandomRules, seed: int, max_turns: int, slips: float = 0.08) -> Demonstration:
    """Play a game. A share `slips` of the commands is replaced by others with weight 0, to learn recovery from them."""
    rng = random.Random(f"demonstrate/{seed}")

    def choose(engine: GameEngine, teacher: ScriptedTeacher) -> tuple[str, float] | None:
        command = teacher.next_command()
        if command is None:
            return None
        by_page = teacher.holding is not None or command.startswith("take ")
        weight = teacher.weight if by_page or rules.varied else 1.0
        searches = teacher.looks_for_another and command.startswith("go to ")
        if rules.pairs and searches and teacher.here != teacher.goal_place:
            share = PASSING if teacher.comes_next(teacher.goal_place) else STRAYING
            if rng.random() < share:
                return f"go to {teacher.goal_place}", 0.0
        return (_slip(engine, teacher, rng), 0.0) if rng.random() < slips else (command, weight)

    return _played(rules, max_turns, choose)


def _played(
    rules: RandomRules, max_turns: int, choose: Callable[[GameEngine, ScriptedTeacher], tuple[str, float] | None]
) -> Demonstration:
    """A game of commands that `choose` gives, each with its weight, until it gives none or the game is over."""
    engine = GameEngine(rules.game, max_turns=max_turns)
    result = first = engine.reset()
    teacher = teacher_of(rules.game, rules.recipe, first, goes_back=rules.pairs)
    turns: list[tuple[str, StepResult, float]] = []
    while not result.done and (chosen := choose(engine, teacher)) is not None:
        command, weight = chosen
        result = engine.step(command)
        teacher.observe(command, result.observation)
        turns.append((command, result, weight))
    return Demonstration(rules.pages, first, tuple(turns), result.success)


def teacher_of(game: Game, recipe: TaskRecipe, first: StepResult, *, goes_back: bool = False) -> ScriptedTeacher:
    """The teacher of a game, at its start."""
    goal = game.goal
    target = goal.target_type.lower() if goal.target_type else None
    return ScriptedTeacher(first.observation, recipe, goal.object_type.lower(), target, goes_back)


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A game with random rules that a policy begins and the teacher finishes (`envs.base.Practice`).

    Attributes:
        max_turns: of the policy; the teacher has as many again, from wherever it takes over.
    """

    rules: RandomRules
    max_turns: int

    @property
    def pages(self) -> tuple[Skill, ...]:
        return self.rules.pages

    def episode(self) -> Environment:
        return _Unguided(self)

    def finished(self, actions: Sequence[str]) -> Demonstration | None:
        begun = iter(actions)

        def choose(engine: GameEngine, teacher: ScriptedTeacher) -> tuple[str, float] | None:
            if (action := next(begun, None)) is not None:
                return action, 0.0
            command = teacher.next_command()
            return None if command is None else (command, teacher.weight)

        demo = _played(self.rules, len(actions) + self.max_turns, choose)
        return demo if demo.success and demo.turns[-1][2] else None


class _Unguided:
    """An episode of such a game, for a policy."""

    def __init__(self, game: TakenOver) -> None:
        self.engine = GameEngine(game.rules.game, max_turns=game.max_turns)

    def reset(self, task: Task, seed: int) -> StepResult:
        return self.engine.reset()

    def step(self, action: str) -> StepResult:
        return self.engine.step(action)


def _slip(engine: GameEngine, teacher: ScriptedTeacher, rng: random.Random) -> str:
    """A needless command, or an impossible one."""
    if rng.random() < 0.5:
        return rng.choice([c for c in engine.admissible() if c.startswith(("go to", "open", "look", "inv"))])
    place, other = rng.choice(teacher.places), rng.choice(teacher.places)
    thing = teacher.holding or f"{teacher.kind} {rng.randint(1, 3)}"
    command = rng.choice((f"take {thing} from {place}", f"clean {thing} with {place}", f"move {thing} to {place}"))
    # A command that is possible after all would change the household: take one that never is.
    return f"examine {other} {place}" if command in engine.admissible() else command


@dataclass
class ScriptedTeacher:
    """Plays one game: call `next_command`, then `observe` with its result.

    Args:
        first: the first message, with all the places.
        recipe: what to do.
        kind: the type of the object in the goal, in lower case.
        target: the type of the place in the goal, in lower case (None when the recipe ends with a lamp).
        goes_back: an interrupted search continues where it was left.
    """

    first: str
    recipe: TaskRecipe
    kind: str
    target: str | None
    goes_back: bool = False
    places: list[str] = field(init=False)
    seen: dict[str, list[str]] = field(init=False, default_factory=dict)  # contents of the places looked into
    closed: set[str] = field(init=False, default_factory=set)
    here: str | None = field(init=False, default=None)
    holding: str | None = field(init=False, default=None)
    placed: int = field(init=False, default=0)
    treated: int = field(init=False, default=0)  # treatments done to the object in hand
    goal_place: str | None = field(init=False, default=None)
    source: str | None = field(init=False, default=None)  # where what is held was
    back_to: str | None = field(init=False, default=None)  # where an interrupted search continues
    searching: bool = field(init=False, default=False)  # whether the last command was to find something

    def __post_init__(self) -> None:
        self.places = things_seen(self.first)

    def next_command(self) -> str | None:
        """The next command, or None when there is nothing left to try."""
        self.searching = False
        if self.holding is None:
            return self._fetch(self.kind)
        if self.holding.rsplit(" ", 1)[0] != self.kind:  # taken by another hand
            return self._move_to(self.source)
        if self.treated < len(self.recipe.treatments):
            verb, tool = self.recipe.treatments[self.treated]
            place = self._first_place(tool.lower())
            if place is None:
                return None
            return f"{verb} {self.holding} with {place}" if self.here == place else f"go to {place}"
        if self.recipe.lamp is not None:
            return self._use(self.recipe.lamp.lower())
        return self._move_to(self.goal_place or self._first_place(self.target or ""))

    @property
    def weight(self) -> float:
        """Of imitating the last command."""
        first = self.searching and self.holding is None and not (self.goes_back and self.looks_for_another)
        return 1.0 if first else PAGE_WEIGHT

    @property
    def looks_for_another(self) -> bool:
        """Whether a thing is placed, and none is held."""
        return self.goal_place is not None and self.holding is None

    def comes_next(self, place: str | None) -> bool:
        """Whether `place` follows the one at hand in the list."""
        return self.here is not None and self.places[self.places.index(self.here) + 1 :][:1] == [place]

    def _move_to(self, place: str | None) -> str | None:
        """Bring what is held to `place`."""
        if place is None:
            return None
        if self.here != place:
            return f"go to {place}"
        return f"open {place}" if place in self.closed else f"move {self.holding} to {place}"

    def observe(self, command: str, observation: str) -> None:
        """What `command` led to."""
        if observation.startswith("Nothing happens"):
            place = command.removeprefix("go to ")
            if place in self.places:  # already there: both share one position
                self.here = place
            return
        verb, _, rest = command.partition(" ")
        if verb == "go":
            place = rest.removeprefix("to ")
            self._go(place)
            self._look_into(place, observation)
        elif verb in ("open", "examine"):
            self._look_into(rest, observation)
        elif verb == "close":
            self.closed.add(rest)
        elif verb == "take":
            self.holding, _, source = rest.partition(" from ")
            self.source, self.treated = source, 0
            if self.holding in self.seen.get(source, []):
                self.seen[source].remove(self.holding)
        elif verb == "move":
            thing, _, place = rest.partition(" to ")
            self.holding = None
            self.seen.setdefault(place, []).append(thing)
            if place.rsplit(" ", 1)[0] == self.target and thing.rsplit(" ", 1)[0] == self.kind:
                self.placed, self.goal_place = self.placed + 1, place
                self.back_to = self.source if self.goes_back else None
        elif verb in ("heat", "cool", "clean") and self.treated < len(self.recipe.treatments):
            wanted, tool = self.recipe.treatments[self.treated]
            self.treated += verb == wanted and f" with {tool.lower()} " in command

    def _go(self, place: str) -> None:
        """Where the search is left for the place of what is placed, it continues there."""
        strays = self.goes_back and self.looks_for_another and self.back_to is None and place == self.goal_place
        if strays and not self.comes_next(place):
            self.back_to = self.here
        self.here = place
        if self.back_to == place:
            self.back_to = None

    def _look_into(self, place: str, observation: str) -> None:
        if "is closed" in observation:
            self.closed.add(place)
            self.seen.setdefault(place, [])
            return
        self.closed.discard(place)
        self.seen[place] = things_seen(observation)

    def _fetch(self, kind: str) -> str | None:
        """Take a `kind`: from where it was seen (but not from where it belongs), or continue the search."""
        for place, things in self.seen.items():
            found = [thing for thing in things if thing.rsplit(" ", 1)[0] == kind]
            if place == self.goal_place or not found or place in self.closed:
                continue
            return f"take {found[0]} from {place}" if self.here == place else f"go to {place}"
        return self._search()

    def _use(self, kind: str) -> str | None:
        for place, things in self.seen.items():
            found = [thing for thing in things if thing.rsplit(" ", 1)[0] == kind]
            if found:
                return f"use {found[0]}" if self.here == place else f"go to {place}"
        return self._search()

    def _search(self) -> str | None:
        """Open the place at hand if it is closed, else go back to where the search was left, else to the first place
        not looked into."""
        self.searching = True
        if self.here in self.closed:
            return f"open {self.here}"
        if self.back_to is not None:
            return f"go to {self.back_to}"
        for place in self.places:
            if place not in self.seen or place in self.closed:
                if self.here == place:
                    return f"examine {place}"
                return f"go to {place}"
        return None

    def _first_place(self, kind: str) -> str | None:
        return next((place for place in self.places if place.rsplit(" ", 1)[0] == kind), None)


def things_seen(text: str) -> list[str]:
    """The names in the (first) list of what is seen in `text`."""
    match = _SEEN.search(text)
    return _NAME.findall(match.group(1)) if match else []
