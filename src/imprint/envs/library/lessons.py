"""Demonstrations with made packages, on which a base policy is trained.

It should learn to look functions up in the documentation in its context, and not the names of the real package. So
every demonstration is about another package: its functions have new names, which are never those of the real one, the
pages are written in other words and another order, and the sentences of tasks are drawn from all there are.

Two packages whose names never change are shown with and without documentation, so that the policy also learns what it
is to know a package.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imprint.envs.base import Demonstration
from imprint.envs.library.chains import FRAMES, THEN, Chain, draw_chain, draw_step
from imprint.envs.library.documentation import area_page, documentation
from imprint.envs.library.operations import AREAS, BY_AREA, OPERATIONS, Operation
from imprint.envs.library.package import PACKAGES, REAL, WELL_KNOWN, Package, draw_package
from imprint.envs.library.written import ASK, BETWEEN
from imprint.skills.skill import Skill
from imprint.types import StepResult


@dataclass(frozen=True, slots=True)
class Lesson:
    """The distribution that demonstrations are drawn from.

    Attributes:
        asked: tasks about one package, one after the other: many things to look up in one text.
        longest: functions in a task, at most.
        one_area: the documentation of one area alone, and its functions.
        known: the share about a package that is known.
        no_page: the share of those without documentation.
        verbatim: tasks are asked for in the words of the documentation.
        writing: tasks are to be written, each with its program.
    """

    asked: int = 8
    longest: int = 1
    one_area: bool = False
    known: float = 0.15
    no_page: float = 0.5
    verbatim: bool = False
    writing: bool = False


FAMILIAR = 0.15  # of the demonstrations, where a part of the real package is known


LESSONS: Mapping[str, Lesson] = {
    "lines": Lesson(asked=24, one_area=True, known=0.0, verbatim=True),
    "area": Lesson(asked=24, one_area=True, known=0.0),
    "pages": Lesson(asked=16),
    "chains": Lesson(longest=3, asked=5),
    "full": Lesson(longest=3, asked=1),
    "writing": Lesson(known=0.0, asked=6, writing=True),
}


def familiar_functions(share: float) -> tuple[Operation, ...]:
    """A share of the real package's functions; a larger share contains a smaller one."""
    shuffled = random.Random("library/familiar").sample(list(OPERATIONS.values()), len(OPERATIONS))
    return tuple(shuffled[: round(share * len(shuffled))])


def demonstrate(seed: int, lesson: Lesson, known: float = 0.0) -> Demonstration:
    """Tasks about one package with a right program each, drawn from `seed` alone.

    Args:
        known: a share of the real package's functions that some demonstrations are about, without documentation: for a
            base policy that knows a part of what it is to learn.
    """
    rng = random.Random(f"library/demonstration/{seed}")
    familiar = familiar_functions(known)
    if familiar and not lesson.writing and rng.random() < FAMILIAR:
        return _recalled(familiar, lesson, rng)
    return _about_a_made_up_one(lesson, rng)


def _recalled(operations: Sequence[Operation], lesson: Lesson, rng: random.Random) -> Demonstration:
    """Functions of the real package, without documentation."""
    chains = [Chain((draw_step(rng, operations),)) for _ in range(lesson.asked)]
    return _demonstration((), REAL, chains, [chain.asked for chain in chains], rng)


def _about_a_made_up_one(lesson: Lesson, rng: random.Random) -> Demonstration:
    known = rng.random() < lesson.known
    package = rng.choice(WELL_KNOWN) if known else _made_up(rng)
    area = rng.choice(AREAS) if lesson.one_area else None
    said = {key: rng.randrange(len(operation.says)) for key, operation in OPERATIONS.items()}
    shown = not known or rng.random() >= lesson.no_page
    pages = () if not shown else _pages(package, area, said, rng)
    chains = [_chain(lesson, area, rng) for _ in range(lesson.asked)]
    asked = [_asked(chain, said if lesson.verbatim else None) for chain in chains]
    if lesson.writing:
        texts = [ASK.format(package=package.name)] * len(chains)
        return _answered(pages, texts, [f"{one.asked}{BETWEEN}{one.program(package)}" for one in chains])
    return _demonstration(pages, package, chains, asked, rng)


def _demonstration(
    pages: tuple[Skill, ...], package: Package, chains: Sequence[Chain], asked: Sequence[str], rng: random.Random
) -> Demonstration:
    """Each chain asked for in its words, and programmed."""
    texts = [rng.choice(FRAMES).format(package=package.name, asked=words) for words in asked]
    return _answered(pages, texts, [chain.program(package) for chain in chains])


def _answered(pages: tuple[Skill, ...], texts: Sequence[str], actions: Sequence[str]) -> Demonstration:
    results = [*(StepResult(text) for text in texts[1:]), StepResult("", 1.0, terminated=True, success=True)]
    turns = tuple((action, result, 1.0) for action, result in zip(actions, results, strict=True))
    return Demonstration(pages, StepResult(texts[0]), turns, success=True)


def _asked(chain: Chain, said: Mapping[str, int] | None) -> str:
    """What is to be done: in the words of tasks, or as the documentation has it."""
    if said is None:
        return chain.asked
    return THEN.join(
        re.sub(r"\bn\b", str(step.number), step.operation.says[said[step.operation.key]]) for step in chain.steps
    )


def _made_up(rng: random.Random) -> Package:
    """With any package's name, the real one's too: a word that is never said is not learned to be said."""
    return draw_package(rng, rng.choice(PACKAGES), without=REAL.names.values())


def _pages(package: Package, area: str | None, said: Mapping[str, int], rng: random.Random) -> tuple[Skill, ...]:
    return documentation(package, said, rng) if area is None else (area_page(package, area, said, rng),)


def _chain(lesson: Lesson, area: str | None, rng: random.Random) -> Chain:
    if area is not None:
        return Chain((draw_step(rng, BY_AREA[area]),))
    return draw_chain(rng, rng.randint(1, lesson.longest))
