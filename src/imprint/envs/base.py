"""What a world must offer so that skills can be practised in it: tasks, and environments that play them.

A third party adds a world by one class with this shape and one entry point in the group `imprint.envs`:

    [project.entry-points."imprint.envs"]
    my-world = "my_package:MyWorld"

or by a Python file, which a recipe names as `env: {name: "my_world.py:MyWorld"}`.

The class is called with the keyword arguments of the recipe's `env` section (less `name`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from imprint.envs.answers import parse_folded
from imprint.envs.stepping import Answer
from imprint.errors import RecipeError
from imprint.skills.skill import Skill
from imprint.support import plugins
from imprint.types import Exemplar, StepResult, Task

SPLITS = ("train", "validation", "test")
GROUP = "imprint.envs"
ParseAnswer = Callable[[str], tuple[str, bool]]  # of a response: the action, and whether it keeps the format


@runtime_checkable
class Environment(Protocol):
    """One live episode, in the manner of Gymnasium with text in and text out.

    Both methods may be coroutine functions: a batch of episodes then awaits them together.
    """

    def reset(self, task: Task, seed: int) -> Answer:
        """Start `task`; the same task, seed and actions always give the same episode."""
        ...

    def step(self, action: str) -> Answer:
        """Act once. An action that is not understood is no error: `valid` is False and a turn is spent."""
        ...


@runtime_checkable
class World(Protocol):
    """A source of tasks and of the environments that play them.

    With a true attribute `folds_answers`, the commands of chat models are lower-cased (`imprint.envs.answers`).
    """

    name: str
    categories: tuple[str, ...]  # every category a task may have
    max_turns: int

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of `split`, in a fixed order; splits are disjoint."""
        ...

    def environment(self) -> Environment:
        """A fresh environment; cheap, one per episode in flight."""
        ...


@runtime_checkable
class TeachingWorld(World, Protocol):
    """A world with exemplars of its tasks; optional, and methods that need them check for it."""

    def exemplar(self, task: Task) -> Exemplar | None:
        """`task` solved from a policy's observations, every step marked with what it serves; None if it failed."""
        ...


@runtime_checkable
class AnsweringWorld(World, Protocol):
    """A world with an answer format of its own. Of other worlds, a chat model's command stands between <action> tags.

    Such a world also has `templates`, a folder whose `chat/first.j2` explains the format to the model.
    """

    def parse_answer(self, response: str) -> tuple[str, bool]:
        """The action in a chat model's response ("" if there is none), and whether the response keeps the format."""
        ...


@runtime_checkable
class FingerprintedWorld(World, Protocol):
    """A world whose tasks can change their content under the same id. Of others, a task's `source` is its content."""

    def fingerprint(self, task: Task) -> str:
        """What a stored episode of `task` depends on, beside its id."""
        ...


@runtime_checkable
class OutsideWorld(World, Protocol):
    """A world that rests on something outside, as a server or a folder."""

    def check_ready(self) -> None:
        """Check quickly that it is there; called before a model is loaded.

        Raises:
            ImprintError: it is not; names the key of the recipe (`env....`).
        """
        ...


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One played episode to imitate.

    Attributes:
        pages: the skills that were shown.
        turns: (action, its result, weight of imitating the action).
    """

    pages: tuple[Skill, ...]
    first: StepResult
    turns: tuple[tuple[str, StepResult, float], ...]
    success: bool


@runtime_checkable
class TeachableWorld(World, Protocol):
    """A world that can also make demonstrations with random rules, to pre-train a base policy on.

    `phrases` are the fixed parts of its sentences, worth a token each; `lessons` name its kinds of demonstrations, from
    easy to real.
    """

    phrases: tuple[str, ...]
    lessons: tuple[str, ...]

    def demonstration(self, seed: int, *, lesson: str) -> Demonstration | None:
        """A demonstration drawn from `seed`, or None where it did not succeed."""
        ...

    def language(self) -> Iterator[str]:
        """Texts to train a tokenizer on."""
        ...


class Practice(Protocol):
    """A game with random rules that a policy may begin, and the teacher finish."""

    pages: tuple[Skill, ...]  # the skills to show

    def episode(self) -> Environment:
        """A fresh episode of it; the task and the seed of `reset` change nothing."""
        ...

    def finished(self, actions: Sequence[str]) -> Demonstration | None:
        """The demonstration that begins with `actions`, which weigh nothing, and goes on as the teacher does from
        there; None if nothing is left to do, or it does not succeed."""
        ...


@runtime_checkable
class PractisableWorld(TeachableWorld, Protocol):
    """A teachable world whose teacher can take over where a policy has come to."""

    def practice(self, seed: int, *, lesson: str) -> Practice | None:
        """What `demonstration` would play for the same seed and lesson; None where nothing can be begun."""
        ...


DreamWorld = TeachableWorld  # the old name, importable for one more release


def goal_of(world: World) -> Callable[[str], str] | None:
    """The world's function from a task's first observation to its goal (`goal`), if it has one."""
    goal: Callable[[str], str] | None = getattr(world, "goal", None)
    return goal


def goal_text(world: World, first: str) -> str:
    """The goal of a task, on one line: as its world extracts it, else all of the first observation."""
    goal = goal_of(world)
    return " ".join((goal(first) if goal else first).split())


def own_format(world: World) -> tuple[Path | None, ParseAnswer | None]:
    """The templates and the reading of answers that a world brings along; None for what it leaves to Imprint.

    Those of a world with the attribute `folds_answers` are read by `parse_folded`.
    """
    folded = parse_folded if getattr(world, "folds_answers", False) else None
    parse = world.parse_answer if isinstance(world, AnsweringWorld) else folded
    return getattr(world, "templates", None), parse


def world_names() -> list[str]:
    """The worlds that are installed."""
    return plugins.names(GROUP)


def world_kind(name: str) -> Any:
    """What makes the world registered as `name`, or the class that `path/to/file.py:Class` names.

    Raises:
        RecipeError: no such world, or its package or file cannot be loaded.
    """
    loaded = plugins.load_file(name, "world", "env.name") if plugins.in_file(name) else None
    return loaded or plugins.load(GROUP, "world", name, "env.name")


def make_world(name: str, **options: Any) -> World:
    """Build the world registered as `name`, or the class that `path/to/file.py:Class` names.

    Raises:
        RecipeError: no such world, its package or file cannot be loaded, an option is missing, it does not take one
            of `options`, or not with this value (what the annotations of its constructor say, pydantic's included).
    """
    kind = world_kind(name)
    _check_options(kind, name, options)
    world: World = kind(**_checked_values(kind, options))
    return world


def make_ready_world(name: str, **options: Any) -> World:
    """`make_world`, with a look at what the world rests on.

    Raises:
        ImprintError: the world cannot be made, or what it rests on is not there.
    """
    world = make_world(name, **options)
    if isinstance(world, OutsideWorld):
        world.check_ready()
    return world


def _check_options(kind: Any, name: str, options: Mapping[str, Any]) -> None:
    known = signature(kind).parameters
    missing = [
        parameter.name
        for parameter in known.values()
        if parameter.default is Parameter.empty
        and parameter.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
        and parameter.name not in options
    ]
    if missing:
        raise RecipeError(
            f"the world {name!r} needs the option {missing[0]!r}",
            key=f"env.{missing[0]}",
            hint=f"add `{missing[0]}: ...` to the section env",
        )
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    unknown = [option for option in options if option not in known]
    if unknown:
        near = get_close_matches(unknown[0], list(known), n=1)
        raise RecipeError(
            f"the world {name!r} has no option {unknown[0]!r}",
            key=f"env.{unknown[0]}",
            hint=f"did you mean {near[0]!r}?" if near else f"its options are: {', '.join(known)}",
        )


def _checked_values(kind: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the constructor's annotations want them."""
    try:
        parameters = signature(kind, eval_str=True).parameters
    except NameError:  # annotations that only a type checker can resolve are not checked
        return dict(options)
    checked = {}
    for option, value in options.items():
        try:
            kind_of = parameters[option].annotation if option in parameters else Parameter.empty
            checked[option] = value if kind_of is Parameter.empty else TypeAdapter(kind_of).validate_python(value)
        except ValidationError as error:
            raise RecipeError(
                f"{error.errors()[0]['msg']} (given: {value!r})", key=f"env.{option}", hint="correct the value"
            ) from error
    return checked
