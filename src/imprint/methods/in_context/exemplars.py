"""Solved training tasks as exemplars: which are shown, and which skill each step follows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from imprint.envs.base import TeachingWorld, World
from imprint.errors import RecipeError
from imprint.rollout.base import derive_seed
from imprint.skills.library import SkillLibrary
from imprint.types import Exemplar, Task


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
            hint="give the world more training tasks or turns, or ask for fewer exemplars",
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
