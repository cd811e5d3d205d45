"""A question to be answered with a search engine, and when an answer counts."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

# SKILL0's four sub-tasks, each with a skill of its own.
DIRECT, MULTI_HOP, ATTRIBUTE, COMPARISON = CATEGORIES = (
    "direct_retrieval",
    "multi_hop_reasoning",
    "entity_attribute_lookup",
    "compare",
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question and all its right answers.

    Attributes:
        id: unique within its split's set.
        text: as it is asked.
        answers: every alias that counts; at least one.
        category: one of `CATEGORIES`.
        source: the published set it comes from (`nq`, `hotpotqa`, ...), or `made`.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    category: str
    source: str = "made"


_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """SQuAD's normalisation (Rajpurkar et al. 2016): small letters, no punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, question: Question) -> bool:
    """Whether `answer` is one of the right ones, both normalised.

    An answer of which nothing is left ("The The") counts if it is one of them as it stands, small letters aside.
    """
    given = normalize(answer)
    if not given:
        return answer.strip().lower() in {alias.strip().lower() for alias in question.answers} - {""}
    return any(given == normalize(alias) for alias in question.answers)
