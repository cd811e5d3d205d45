"""The first lessons in following skill text: many lines of it in one episode, and no search that could fail.

An episode has a handful of things to look up in the skill text among hundreds of other words; here every action is
one. What a policy learns in minutes from these takes hours to learn from episodes alone.
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
    """Up to eight searches for one name with the words of the skill text, in turn; from `seed` alone."""
    rng = random.Random(f"orders/{seed}")
    name = rng.choice(rng.choice((PEOPLE, PLACES, WORKS)))
    words = rng.sample(WORDS, rng.randint(1, MOST_SEARCHES))
    lines = [rng.choice(SEARCH).format(word=word, query=search(f"{rng.choice(EXAMPLES)} {word}")) for word in words]
    turns = tuple((search(f"{name} {word}"), StepResult(""), 1.0) for word in words)
    page = Skill("search-question", "", "\n".join(lines))
    return Demonstration((page,), StepResult(f"Question: {name}"), turns, success=True)


def compare_numbers(seed: int, encyclopedia: Encyclopedia, larger: float) -> Demonstration:
    """Ten pairs of things with a year each, of which the skill text asks for one; from `seed` alone.

    Args:
        larger: the share of the texts that ask for the larger one.
    """
    rng = random.Random(f"numbers/{seed}")
    pick: Pick = "larger" if rng.random() < larger else "smaller"
    line = rng.choice(PICK[pick]).format(answer=answer(rng.choice(EXAMPLES)))
    pairs = [rng.sample(encyclopedia.things, 2) for _ in range(COMPARISONS)]
    articles = [[encyclopedia.article(thing, YEAR).contents.partition("\n") for thing in pair] for pair in pairs]
    texts = ["".join(f"\n{text}" for _, _, text in pair) for pair in articles]
    answers = [answers_of(encyclopedia, pair, Route((YEAR, YEAR), pick=pick))[0] for pair in pairs]
    return _answered(line, list(zip(texts, answers, strict=True)))


def read_out(seed: int, encyclopedia: Encyclopedia) -> Demonstration:
    """Five questions, each with what a search found, to be answered as the skill text asks; from `seed` alone."""
    rng = random.Random(f"read/{seed}")
    picks: tuple[Pick, ...] = ("", "smaller", "larger")
    pick = rng.choice(picks)
    example = answer(rng.choice(EXAMPLES))
    line = rng.choice(PICK[pick] if pick else ANSWER).format(answer=example)
    rounds = [_compare(encyclopedia, pick, rng) if pick else _look_up(encyclopedia, rng) for _ in range(ANSWERS)]
    return _answered(line, rounds)


def _answered(line: str, rounds: Sequence[tuple[str, str]]) -> Demonstration:
    """Observations and their answers, round after round, with skill text of one line."""
    results = [*(StepResult(text) for text, _ in rounds[1:]), StepResult("")]
    turns = tuple((answer(right), result, 1.0) for (_, right), result in zip(rounds, results, strict=True))
    return Demonstration((Skill("search-question", "", line),), StepResult(rounds[0][0]), turns, success=True)


def _look_up(encyclopedia: Encyclopedia, rng: random.Random) -> tuple[str, str]:
    """A question about one thing with what was found, and its answer."""
    thing, other = rng.sample(encyclopedia.things, 2)
    volume = rng.choice(TELLING)
    found = [(thing, volume), (thing, rng.choice(GOSSIP)), (other, rng.choice(VOLUMES))]
    return _asked(encyclopedia, rng.choice(ONE_NAME), (thing,), found, rng), thing.facts[volume]


def _compare(encyclopedia: Encyclopedia, pick: Pick, rng: random.Random) -> tuple[str, str]:
    """A question about two things with the numbers of both, and its answer."""
    one, two = rng.sample(encyclopedia.things, 2)
    found = [(one, YEAR), (two, YEAR)]
    name = answers_of(encyclopedia, (one, two), Route((YEAR, YEAR), pick=pick))[0]
    return _asked(encyclopedia, rng.choice(TWO_NAMES), (one, two), found, rng), name


def _asked(
    encyclopedia: Encyclopedia,
    sentence: str,
    things: tuple[Thing, ...],
    found: list[tuple[Thing, str]],
    rng: random.Random,
) -> str:
    rng.shuffle(found)
    hits = [Hit(encyclopedia.article(thing, volume, rng.choice(WORDS)), 0.0) for thing, volume in found]
    return f"Question: {sentence.format(*(thing.name for thing in things))}\n{information(hits)}"
