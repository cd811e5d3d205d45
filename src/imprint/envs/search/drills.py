"""The first lessons in following a page: many lines of it in one episode, and no search that could fail.

An episode has a handful of things to look up in the page among hundreds of other words; here every action is one. What
a policy learns in minutes from these takes hours to learn from episodes alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from imprint.envs.base import Demonstration
from imprint.envs.search.encyclopedia import GOSSIP, TELLING, VOLUMES, YEAR, Encyclopedia, Thing
from imprint.envs.search.made import Pick, Route, answers_of
from imprint.envs.search.names import PEOPLE, PLACES, WORKS
from imprint.envs.search.pages import ANSWER, EXAMPLES, PICK, SEARCH
from imprint.envs.search.random_rules import ONE_NAME, TWO_NAMES, WORDS
from imprint.envs.search.tags import answer, information, search
from imprint.retrieval.base import Hit
from imprint.skills.skill import Skill
from imprint.types import StepResult

MOST_SEARCHES = 8
ANSWERS = 5
COMPARISONS = 10


def carry_out_orders(seed: int) -> Demonstration:
    """Up to eight searches for one name with the words of a page, in turn; from `seed` alone."""
    dice = random.Random(f"orders/{seed}")
    name = dice.choice(dice.choice((PEOPLE, PLACES, WORKS)))
    words = dice.sample(WORDS, dice.randint(1, MOST_SEARCHES))
    lines = [dice.choice(SEARCH).format(word=word, query=search(f"{dice.choice(EXAMPLES)} {word}")) for word in words]
    turns = tuple((search(f"{name} {word}"), StepResult(""), 1.0) for word in words)
    page = Skill("search-question", "", "\n".join(lines))
    return Demonstration((page,), StepResult(f"Question: {name}"), turns, success=True)


def compare_numbers(seed: int, encyclopedia: Encyclopedia) -> Demonstration:
    """Ten pairs of things with a year each, of which one is to be named, as the page says; from `seed` alone."""
    dice = random.Random(f"numbers/{seed}")
    pick: Pick = "larger" if dice.random() < 0.9 else "smaller"
    line = dice.choice(PICK[pick]).format(answer=answer(dice.choice(EXAMPLES)))
    pairs = [dice.sample(encyclopedia.things, 2) for _ in range(COMPARISONS)]
    told = [[encyclopedia.article(thing, YEAR).contents.partition("\n") for thing in pair] for pair in pairs]
    seen = ["".join(f"\n{text}" for _, _, text in pair) for pair in told]
    said = [answers_of(encyclopedia, pair, Route((YEAR, YEAR), pick=pick))[0] for pair in pairs]
    return _answered(line, list(zip(seen, said, strict=True)))


def read_out(seed: int, encyclopedia: Encyclopedia) -> Demonstration:
    """Five questions, each with what a search found, to be answered as the page says; from `seed` alone."""
    dice = random.Random(f"read/{seed}")
    picks: tuple[Pick, ...] = ("", "smaller", "larger")
    pick = dice.choice(picks)
    example = answer(dice.choice(EXAMPLES))
    line = dice.choice(PICK[pick] if pick else ANSWER).format(answer=example)
    rounds = [_compare(encyclopedia, pick, dice) if pick else _look_up(encyclopedia, dice) for _ in range(ANSWERS)]
    return _answered(line, rounds)


def _answered(line: str, rounds: Sequence[tuple[str, str]]) -> Demonstration:
    """What is seen and what is to be answered, round after round, under a page of one line."""
    seen = [*(StepResult(text) for text, _ in rounds[1:]), StepResult("")]
    turns = tuple((answer(said), after, 1.0) for (_, said), after in zip(rounds, seen, strict=True))
    return Demonstration((Skill("search-question", "", line),), StepResult(rounds[0][0]), turns, success=True)


def _look_up(encyclopedia: Encyclopedia, dice: random.Random) -> tuple[str, str]:
    """A question about one thing with what was found, and its answer."""
    thing, other = dice.sample(encyclopedia.things, 2)
    volume = dice.choice(TELLING)
    found = [(thing, volume), (thing, dice.choice(GOSSIP)), (other, dice.choice(VOLUMES))]
    return _asked(encyclopedia, dice.choice(ONE_NAME), (thing,), found, dice), thing.facts[volume]


def _compare(encyclopedia: Encyclopedia, pick: Pick, dice: random.Random) -> tuple[str, str]:
    """A question about two things with the numbers of both, and its answer."""
    one, two = dice.sample(encyclopedia.things, 2)
    found = [(one, YEAR), (two, YEAR)]
    name = answers_of(encyclopedia, (one, two), Route((YEAR, YEAR), pick=pick))[0]
    return _asked(encyclopedia, dice.choice(TWO_NAMES), (one, two), found, dice), name


def _asked(
    encyclopedia: Encyclopedia,
    sentence: str,
    things: tuple[Thing, ...],
    found: list[tuple[Thing, str]],
    dice: random.Random,
) -> str:
    dice.shuffle(found)
    hits = [Hit(encyclopedia.article(thing, volume, dice.choice(WORDS)), 0.0) for thing, volume in found]
    return f"Question: {sentence.format(*(thing.name for thing in things))}\n{information(hits)}"
