"""The first lesson in reading a page: a list of searches, carried out line by line, whatever they find."""

from __future__ import annotations

import random

from imprint.envs.search.dreams import WORDS
from imprint.envs.search.names import PEOPLE, PLACES, WORKS
from imprint.envs.search.pages import EXAMPLES, SEARCH
from imprint.envs.search.searcher import Demonstration
from imprint.envs.search.tags import search
from imprint.skills.skill import Skill
from imprint.types import StepResult

MOST = 8


def carry_out_orders(seed: int) -> Demonstration:
    """Up to eight searches for one name with the words of a page, in turn; from `seed` alone."""
    dice = random.Random(f"orders/{seed}")
    name = dice.choice(dice.choice((PEOPLE, PLACES, WORKS)))
    words = dice.sample(WORDS, dice.randint(1, MOST))
    lines = [dice.choice(SEARCH).format(word=word, query=search(f"{dice.choice(EXAMPLES)} {word}")) for word in words]
    turns = tuple((search(f"{name} {word}"), StepResult(""), 1.0) for word in words)
    page = Skill("search-question", "", "\n".join(lines))
    return Demonstration((page,), StepResult(f"Question: {name}"), turns, success=True)
