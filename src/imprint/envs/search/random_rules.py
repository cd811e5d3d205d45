"""Questions with random rules, on which a base policy is trained.

It should learn to follow the skill text in its context, and not the real routes to an answer. So the volumes of the
encyclopedia have other names for every question, any question may be asked of any volume, and a comparison may want
the larger number or the smaller. Only the skill text explains it. The real name of a volume is never drawn for it.

A few questions with made-up words have a fixed route, shown with and without its skill text, so that the policy also
learns closed-book routes.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from imprint.envs.search.encyclopedia import ALL_VOLUMES, EMBLEM, LINK, ORIGIN, REST, TELLING, YEAR, Encyclopedia, Thing
from imprint.envs.search.made import SENTENCES, MadeQuestion, Route, answers_of, call
from imprint.envs.search.pages import write_pages
from imprint.envs.search.question import CATEGORIES, Question
from imprint.skills.skill import Skill

_OTHER_WORDS = (
    "almanac atlas calendar catalogue census charter chronicle codex diary directory docket folio "
    "glossary guide herald index inventory journal ledger lexicon logbook manual memoir mirror notebook "
    "record roll scroll survey"
)
WORDS = (*ALL_VOLUMES, *_OTHER_WORDS.split())
ONE_NAME = tuple(text for texts in SENTENCES.values() for text in texts if "{1}" not in text)
TWO_NAMES = tuple(text for texts in SENTENCES.values() for text in texts if "{1}" in text)
NONSENSE = ("What is the {word} of {{0}}?", "Who is the {word} of {{0}}?", "Where is the {word} of the {{0}}?")
NONSENSE_PAIR = ("Which is more {word}, {{0}} or {{1}}?", "Who has the {word}, {{0}} or {{1}}?")

# Made-up words with a fixed route, and the names of its volumes.
CLOSED_BOOK: Mapping[str, tuple[Route, tuple[str, ...]]] = {
    "zorby": (Route((ORIGIN,)), ("almanac",)),
    "glim": (Route((REST,)), ("codex",)),
    "plinky": (Route((EMBLEM,), by_kind=True), ("herald",)),
    "drast": (Route((LINK, REST)), ("folio", "census")),
    "veluma": (Route((LINK, ORIGIN)), ("index", "scroll")),
    "krono": (Route((LINK, EMBLEM)), ("ledger", "atlas")),
    "shaly": (Route((YEAR, YEAR), pick="larger"), ("diary", "diary")),
    "tiff": (Route((YEAR, YEAR), pick="smaller"), ("roll", "roll")),
}
OTHER_NONSENSE = ("brall", "cindy", "fopple", "gruv", "hexle", "jomb", "lurt", "mivvy", "nask", "quib")


@dataclass(frozen=True, slots=True)
class Lesson:
    """The distribution that questions are drawn from; with the names of the household's lessons.

    Attributes:
        closed_book: the share with a made-up word, whose route is fixed.
        no_page: the share of those without skill text.
        unread: the share of the others without it.
        wordiness: how much text a skill has beside its steps: 1 is like the real ones, 0 none.
        comparing: more comparisons among the questions, which take the longest to be learned.
    """

    closed_book: float = 0.2
    no_page: float = 0.5
    unread: float = 0.08
    wordiness: float = 1.0
    comparing: bool = False


PLAIN_LESSONS = {"line": Lesson(wordiness=0.0), "terse": Lesson(wordiness=0.3), "full": Lesson()}
LESSONS = PLAIN_LESSONS | {
    f"comparing-{name}": replace(lesson, comparing=True) for name, lesson in PLAIN_LESSONS.items()
}


@dataclass(frozen=True, slots=True)
class RandomRules:
    """A question, the names of all volumes in it (by their real ones), and the skills that explain it."""

    made: MadeQuestion
    words: Mapping[str, str]
    pages: tuple[Skill, ...]


def make_random_rules(seed: int, encyclopedia: Encyclopedia, lesson: Lesson) -> RandomRules:
    """A question, the route to its answer and its skills, drawn from `seed` alone."""
    rng = random.Random(f"dream/{seed}")
    known = rng.random() < lesson.closed_book
    nonsense = rng.choice(sorted(CLOSED_BOOK)) if known else rng.choice(OTHER_NONSENSE)
    route = CLOSED_BOOK[nonsense][0] if known else _draw_route(rng, lesson)
    words = _draw_words(rng, dict(zip(route.volumes, CLOSED_BOOK[nonsense][1], strict=True)) if known else {})
    subjects = _draw_subjects(route, encyclopedia, rng)
    called = tuple(call(thing, by_kind=route.by_kind, rng=rng) for thing in subjects)
    own, made_up = (TWO_NAMES, NONSENSE_PAIR) if route.pick else (ONE_NAME, NONSENSE)
    sentence = rng.choice(made_up).format(word=nonsense) if known or rng.random() < 0.3 else rng.choice(own)
    right = answers_of(encyclopedia, subjects, route)
    question = Question(f"dream/{seed}", sentence.format(*called), right, CATEGORIES[0])
    shows_page = rng.random() >= (lesson.no_page if known else lesson.unread)
    spoken = tuple(words[volume] for volume in route.volumes)
    example = answers_of(encyclopedia, [rng.choice(encyclopedia.things)], Route(route.volumes[-1:]))[0]
    pages = write_pages(route, spoken, example, rng, lesson.wordiness) if shows_page else ()
    return RandomRules(MadeQuestion(question, subjects, called, route), words, pages)


def _draw_route(rng: random.Random, lesson: Lesson) -> Route:
    weights = (15, 18, 30, 37) if lesson.comparing else (20, 20, 35, 25)
    kind = rng.choices(("one", "by kind", "two", "both"), weights=weights)[0]
    if kind == "both":
        return Route((YEAR, YEAR), pick="smaller" if rng.random() < 0.5 else "larger")
    if kind == "two":
        return Route((LINK, rng.choice([volume for volume in TELLING if volume != LINK])))
    return Route((rng.choice(TELLING),), by_kind=kind == "by kind")


def _draw_words(rng: random.Random, fixed: Mapping[str, str]) -> dict[str, str]:
    """A name for each volume, all of them different and none its own."""
    words = dict(fixed)
    for volume in ALL_VOLUMES:
        if volume not in words:
            words[volume] = rng.choice([word for word in WORDS if word != volume and word not in words.values()])
    return words


def _draw_subjects(route: Route, encyclopedia: Encyclopedia, rng: random.Random) -> tuple[Thing, ...]:
    while True:
        one, two = rng.sample(encyclopedia.things, 2)
        if not route.pick and (route.by_kind or one.name not in encyclopedia.clashing):
            return (one,)
        if (
            route.pick
            and one.sort == two.sort
            and one.facts[YEAR] != two.facts[YEAR]
            and not ({one.name, two.name} & encyclopedia.clashing)
        ):
            return one, two
