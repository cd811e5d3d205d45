"""Playing what a command measures: on which tasks, under which conditions, with progress."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from imprint.commands.console import say
from imprint.errors import RecipeError

if TYPE_CHECKING:
    from imprint.engine.base import Engine
    from imprint.measurement.conditions import Condition
    from imprint.skills.library import SkillLibrary
    from imprint.types import Episode, Task


BOTH = "both"
REAL_TURNS = 50  # of an episode of ALFWorld, by its published protocol
REAL_SPLIT = "valid_seen"  # of ALFWorld's published games; the methods' figures are on it


def on_games(games: Path | None, overrides: Sequence[str]) -> list[str]:
    """The overrides of a recipe that is to play stored games, by their published protocol unless told otherwise."""
    if games is None:
        return list(overrides)
    chosen = [f"env.games={json.dumps(str(games))}", "env.splits=as-stored"]
    return [f"env.max_turns={REAL_TURNS}", *overrides, *chosen]


def spread(engine: Engine, split: str, count: int | None) -> list[Task]:
    """`count` tasks of a split, the families in turn: the games of a folder are sorted by family.

    Raises:
        RecipeError: there are fewer.
    """
    engine.tasks(split, count)
    tasks, ranks = engine.tasks(split), Counter[str]()
    order = []
    for place, task in enumerate(tasks):
        order.append((ranks[task.category], place))
        ranks[task.category] += 1
    return [tasks[place] for place in sorted(place for _, place in sorted(order)[:count])]


def conditions_of(text: str, library: SkillLibrary) -> list[Condition]:
    """The conditions that `--condition` names: `with`, `without`, `both`, or skills to be shown alone; with commas
    between.

    Raises:
        RecipeError: a name is none of these, or is given twice.
    """
    from imprint.measurement.conditions import WITH, WITHOUT, only, safe_name

    known = {WITH.name: WITH, WITHOUT.name: WITHOUT} | {name: only(safe_name(name), [name]) for name in library.names}
    names = [WITH.name, WITHOUT.name] if text == BOTH else [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        raise RecipeError(
            f"no condition is called {unknown[0]!r}" if unknown else f"{text!r} names a condition twice",
            key="--condition",
            hint=f"choose with, without or both, or of the skills: {', '.join(library.names)}",
        )
    # `without` last: where there are two, the difference is what the other adds.
    return sorted((known[name] for name in names), key=lambda one: one.name == WITHOUT.name)


def play_conditions(
    engine: Engine, tasks: Sequence[Task], conditions: Sequence[Condition], title: str, quiet: bool
) -> dict[str, list[Episode]]:
    """The episodes of each condition by its name, in the order of `tasks`."""
    evaluator = engine.evaluator
    count = len({(task.id, one.show(task, evaluator.library).key) for one in conditions for task in tasks})
    with playing(engine, title, count, quiet) as advance:
        return evaluator.conditions(tasks, conditions, advance)


@contextmanager
def playing(engine: Engine, title: str, episodes: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar: call what it gives with an episode's turns. An endpoint's use is reported at the end."""
    from imprint.support.progress import Progress

    meter = engine.meter
    with Progress(title, quiet=quiet) as progress:
        progress.begin(episodes)
        try:
            yield lambda turns: progress.advance(
                f"{turns} turns in the last episode" if meter is None else meter.line()
            )
        except KeyboardInterrupt as error:
            store = engine.kept_in
            kept = "nothing is kept: a local model's episodes are played again"
            if store is not None:
                kept = f"the same command resumes: finished episodes are in {store}"
            raise KeyboardInterrupt(f"stopped; {kept}") from error
        finally:
            if meter is not None:
                say(meter.sentences(), stderr=True)


def parse_seeds(text: str) -> list[int]:
    """`0,1,5-7` as [0, 1, 5, 6, 7].

    Raises:
        RecipeError: it reads otherwise.
    """
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError as error:
        raise RecipeError(f"cannot read {text!r}", key="--seeds", hint="write 0,1,2 or 0-4") from error
    if not seeds:
        raise RecipeError(f"{text!r} names no seed", key="--seeds", hint="write 0,1,2 or 0-4")
    return seeds
