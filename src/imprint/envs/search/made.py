"""Questions on a made encyclopedia, in four categories, and the way to each answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from imprint.envs.search.encyclopedia import EMBLEM, LINK, ORIGIN, REST, YEAR, Encyclopedia, Thing
from imprint.envs.search.question import ATTRIBUTE, CATEGORIES, COMPARISON, DIRECT, MULTI_HOP, Question
from imprint.errors import RecipeError

Pick = Literal["", "smaller", "larger"]
# The tenths of the things that a split asks about: nothing asked in one is asked in another.
TENTHS: Mapping[str, tuple[int, ...]] = {"train": (0, 1, 2, 3, 4, 5), "validation": (6,), "test": (7, 8, 9)}

SENTENCES = {
    (DIRECT, "person"): ("Where does {0} come from?",),
    (DIRECT, "work"): ("Where was {0} written?",),
    (DIRECT, "place"): ("Which river is {0} on?",),
    (DIRECT, "event"): ("Where did people meet for the {0}?",),
    (ATTRIBUTE, ""): ("Which sign has the {0}?", "What is the sign of the {0}?"),
    (MULTI_HOP, "person"): ("Where is the grave of the teacher of {0}?",),
    (MULTI_HOP, "work"): ("Where is the grave of the author of {0}?",),
    (MULTI_HOP, "place"): ("Where is the grave of the founder of {0}?",),
    (MULTI_HOP, "event"): ("Where is the grave of the leader of the {0}?",),
    (COMPARISON, "person"): ("Who is older, {0} or {1}?",),
    (COMPARISON, ""): ("Which is older, {0} or {1}?", "Which came first, {0} or {1}?"),
}


@dataclass(frozen=True, slots=True)
class Route:
    """How an answer is found.

    Attributes:
        volumes: those to search, one after the other: each for what the one before it named, or, in a comparison, the
            same for each thing.
        by_kind: the search names the kind of the thing: `novel The Silver Lamp`.
        pick: the answer is the thing with the smaller or larger number; "": the fact of the last article.
    """

    volumes: tuple[str, ...]
    by_kind: bool = False
    pick: Pick = ""


# The routes, which only the skills explain.
ROUTES: Mapping[str, Route] = {
    DIRECT: Route((ORIGIN,)),
    MULTI_HOP: Route((LINK, REST)),
    ATTRIBUTE: Route((EMBLEM,), by_kind=True),
    COMPARISON: Route((YEAR, YEAR), pick="smaller"),
}


@dataclass(frozen=True, slots=True)
class MadeQuestion:
    """A question, what it asks about, and the way to its answer.

    Attributes:
        subjects: the things that it names.
        called: their names in the question, in the same order; those to search for.
    """

    question: Question
    subjects: tuple[Thing, ...]
    called: tuple[str, ...]
    route: Route


def make_questions(
    encyclopedia: Encyclopedia, split: str, count: int, seed: int, answerable: Callable[[MadeQuestion], bool]
) -> list[MadeQuestion]:
    """`count` different questions, the categories in turn.

    Args:
        answerable: whether a question may be asked; for one that may not, another is drawn.

    Raises:
        RecipeError: the encyclopedia has too few things for so many.
    """
    rng = random.Random(f"questions/{seed}/{split}")
    things = [thing for thing in encyclopedia.things if thing.number % 10 in TENTHS[split]]
    rng.shuffle(things)
    subjects = {category: _subjects(category, things, encyclopedia, rng) for category in CATEGORIES}
    made: list[MadeQuestion] = []
    while len(made) < count:
        category = CATEGORIES[len(made) % len(CATEGORIES)]
        if not subjects[category]:
            raise RecipeError(
                f"{len(encyclopedia.things)} things give too few questions: {len(made)} of {count} for {split!r}",
                key=f"env.{split}",
                hint="ask for fewer questions, or raise env.things",
            )
        one = _ask(f"made/{split}/{len(made)}", category, subjects[category].pop(), encyclopedia, rng)
        if answerable(one):
            made.append(one)
    return made


def answers_of(encyclopedia: Encyclopedia, subjects: Sequence[Thing], route: Route) -> tuple[str, ...]:
    """The right answers of a question that is answered by `route`."""
    if route.pick:
        best = min if route.pick == "smaller" else max
        chosen = best(subjects, key=lambda thing: int(thing.facts[route.volumes[0]]))
        return (chosen.name, chosen.alias) if chosen.alias else (chosen.name,)
    thing = subjects[0]
    for volume in route.volumes[:-1]:
        assert volume == LINK, "only a link leads to another thing"
        thing = encyclopedia.things[thing.link]
    value = thing.facts[route.volumes[-1]]
    alias = _place_aliases(encyclopedia).get(value, "")
    return (value, alias) if alias else (value,)


def _subjects(
    category: str, things: Sequence[Thing], encyclopedia: Encyclopedia, rng: random.Random
) -> list[tuple[Thing, ...]]:
    """What questions of a category can be asked about, the last first."""
    clear = [thing for thing in things if thing.name not in encyclopedia.clashing]
    if category == ATTRIBUTE:  # mostly names that only the kind distinguishes
        clashing = [thing for thing in things if thing.name in encyclopedia.clashing]
        return [(thing,) for thing in rng.sample(clear, len(clear)) + clashing]
    if category != COMPARISON:
        return [(thing,) for thing in rng.sample(clear, len(clear))]
    pairs = []
    for sort in sorted({thing.sort for thing in clear}):
        alike = [thing for thing in clear if thing.sort == sort]
        couples = zip(rng.sample(alike, len(alike)), rng.sample(alike, len(alike)), strict=True)
        pairs += [(one, two) for one, two in couples if one.facts[YEAR] != two.facts[YEAR]]
    rng.shuffle(pairs)
    return [(one, two) for one, two in pairs]


def _ask(
    name: str, category: str, subjects: tuple[Thing, ...], encyclopedia: Encyclopedia, rng: random.Random
) -> MadeQuestion:
    route = ROUTES[category]
    called = tuple(call(thing, by_kind=route.by_kind, rng=rng) for thing in subjects)
    sentences = SENTENCES.get((category, subjects[0].sort)) or SENTENCES[category, ""]
    text = rng.choice(sentences).format(*called)
    question = Question(name, text, answers_of(encyclopedia, subjects, route), category)
    return MadeQuestion(question, subjects, called, route)


def call(thing: Thing, *, by_kind: bool, rng: random.Random) -> str:
    """How a question calls a thing: by one of its names, with its kind where there may be another of that name."""
    name = rng.choice([thing.name, thing.alias]) if thing.alias else thing.name
    return f"{thing.kind} {name}" if by_kind else name


@cache
def _place_aliases(encyclopedia: Encyclopedia) -> Mapping[str, str]:
    return {thing.name: thing.alias for thing in encyclopedia.things if thing.sort == "place" and thing.alias}
