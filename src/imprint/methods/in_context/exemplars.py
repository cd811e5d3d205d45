"""Solved training tasks as exemplars: which are shown, which skill each step follows, and what all have in common."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import and_

from imprint.envs.base import TeachingWorld, World
from imprint.errors import RecipeError
from imprint.rollout.base import derive_seed
from imprint.skills.library import SkillLibrary
from imprint.skills.skill import Skill
from imprint.types import Episode, Exemplar, Task

Needs = Mapping[str, Counter[str]]  # what a step serves -> kinds of command, and how often each is needed


def draw_exemplars(
    world: World,
    library: SkillLibrary,
    tasks: Sequence[Task],
    category: str,
    count: int,
    seed: int,
    *,
    least: int | None = None,
) -> tuple[Exemplar, ...]:
    """`count` solved tasks of `category` out of `tasks`, in an order drawn from `seed`; every step names its skill.

    Raises:
        RecipeError: the world shows no solutions, or fewer than `least` (by default `count`).
    """
    if not isinstance(world, TeachingWorld):
        raise RecipeError(
            f"the world {world.name!r} does not show how its tasks are done",
            key="env.name",
            hint="use a world that has `exemplar` (docs/manual/worlds.md), or a method that needs none",
        )
    order = [task for task in tasks if task.category == category]
    random.Random(derive_seed(seed, "exemplars", category)).shuffle(order)
    found: list[Exemplar] = []
    for task in order:
        if len(found) == count:
            break
        exemplar = world.exemplar(task)
        if exemplar is not None:
            found.append(with_skills(exemplar, library))
    needed = count if least is None else least
    if len(found) < needed:
        raise RecipeError(
            f"of {len(order)} training tasks of {category!r} {len(found)} are solved: too few for {needed} exemplars",
            key="env",
            hint="give the world more training tasks or turns, or ask for fewer exemplars (skic.exemplars)",
        )
    return tuple(found)


def with_skills(exemplar: Exemplar, library: SkillLibrary) -> Exemplar:
    """The exemplar, with the names of the skills that each step follows."""
    serving = library.serving(exemplar.task.category)
    steps = [
        replace(step, skill=", ".join(skill.name for skill in serving if step.serves in skill.tasks))
        for step in exemplar.steps
    ]
    return replace(exemplar, steps=tuple(steps))


def needs_of(exemplars: Sequence[Exemplar]) -> Needs:
    """For all that steps serve, the kinds of command (first words) that every exemplar has, at least so often."""
    served = {step.serves for exemplar in exemplars for step in exemplar.steps}
    return {
        serves: reduce(and_, (_kinds(step.command for step in e.steps if step.serves == serves) for e in exemplars))
        for serves in sorted(served)
    }


def missing_skills(skills: Sequence[Skill], episode: Episode, needs: Needs) -> tuple[str, ...]:
    """The names of the skills that `episode` does not show: a kind of command that they need it said too rarely.

    A command that was not understood or not possible shows nothing.
    """
    shown = _kinds(turn.action for turn in episode.turns if turn.valid)
    return tuple(
        skill.name for skill in skills if any(need - shown for serves, need in needs.items() if serves in skill.tasks)
    )


def _kinds(commands: Iterable[str]) -> Counter[str]:
    return Counter(words[0] for command in commands if (words := command.split()))
