"""Skill text for questions with random rules: how to find an answer, in random wording like that of the real skills.

The real skills (`imprint/skills/search`) are written in the same sentences, with contents that are never drawn.
"""

from __future__ import annotations

import random

from imprint.envs.search.made import Route
from imprint.envs.search.names import PEOPLE, WORKS
from imprint.envs.search.tags import answer, search
from imprint.skills.skill import Skill

INTROS = (
    "Use this page for a question of this kind.",
    "This is how to find the answer.",
    "It takes these steps.",
    "Follow these steps in this order.",
    "Do these steps one after the other.",
    "The steps are always the same.",
)
SEARCH = (
    "Search the name with the word {word}: {query}",
    "Search the name and the word {word}, for example: {query}",
    "First search the name together with {word}: {query}",
    "Look the name up in the {word}: {query}",
)
BY_KIND = (
    "Search what it is, its name and the word {word}: {query}",
    "Several things may share the name: search what it is, the name and {word}: {query}",
    "Look it up in the {word}, with what it is before the name: {query}",
)
THEN = (
    "The passage names another. Search that name with the word {word}: {query}",
    "Then search the name that you found with the word {word}: {query}",
    "Now look up the name in that passage in the {word}: {query}",
    "What it names is what to search next, with the word {word}: {query}",
)
BOTH = (
    "Then search the other name with the word {word} too: {query}",
    "Do the same for the other name: {query}",
    "Now the second name, again with {word}: {query}",
)
ANSWER = (
    "Answer with what the passage says at its end: {answer}",
    "Then answer with what that passage says: {answer}",
    "The last words of the passage are the answer: {answer}",
    "Say only what the passage ends with: {answer}",
)
PICK = {
    "smaller": (
        "Answer with the name that has the smaller number: {answer}",
        "The one with the smaller number is the answer: {answer}",
        "Compare the numbers. Say the name with the smaller one: {answer}",
    ),
    "larger": (
        "Answer with the name that has the larger number: {answer}",
        "The one with the larger number is the answer: {answer}",
        "Compare the numbers. Say the name with the larger one: {answer}",
    ),
}
TIPS = (
    "Search before you answer.",
    "Read only the passage that has the right name in its title.",
    "Passages that talk of many things do not help.",
    "The name alone finds only talk: add the word.",
    "If the title has another name, search again.",
    "There are four turns: do not waste one.",
    "Write each name as the question has it.",
    "One search or one answer a turn.",
    "Do not guess.",
    "Do not search for the same thing twice.",
    "Answer in few words, without a sentence around them.",
    "When a search finds nothing, check the spelling.",
    "The word is the last word of the title.",
    "Answer as soon as you know.",
)
GENERAL_INTROS = (
    "These rules help with every question.",
    "Some rules for all questions.",
    "Keep these rules in mind.",
    "General advice for any question.",
)
EXAMPLES = (*PEOPLE, *(WORKS * 15))  # names of the things that pages search for: as many works as people


def write_pages(
    route: Route, words: tuple[str, ...], example: str, rng: random.Random, wordiness: float
) -> tuple[Skill, ...]:
    """The skills of a question: its own, mostly after a general one.

    Args:
        words: what the route's volumes are called.
        example: an answer of the right sort, of another question.
    """
    pages = [_own_page(route, words, example, rng, wordiness)]
    if rng.random() < 0.85 * wordiness:
        pages.insert(0, _general_page(rng))
    return tuple(pages)


def _own_page(route: Route, words: tuple[str, ...], example: str, rng: random.Random, wordiness: float) -> Skill:
    names = rng.sample(EXAMPLES, 2)
    kind = "novel " if route.by_kind else ""
    queries = [search(f"{kind}{name} {word}") for name, word in zip(names, (*words, words[0]), strict=False)]
    first = rng.choice(BY_KIND if route.by_kind else SEARCH)
    steps = [first.format(word=words[0], query=queries[0])]
    if len(words) > 1:
        steps.append(rng.choice(BOTH if route.pick else THEN).format(word=words[1], query=queries[1]))
    last = PICK[route.pick] if route.pick else ANSWER
    steps.append(rng.choice(last).format(answer=answer(names[0] if route.pick else example)))
    sentences = steps
    if wordiness >= rng.random():
        sentences = [rng.choice(INTROS), *steps, *rng.sample(TIPS, rng.randint(0, 3))]
    description = rng.choice(INTROS) if rng.random() < wordiness else ""
    return Skill("search-question", description, _layout(sentences, rng))


def _general_page(rng: random.Random) -> Skill:
    sentences = [rng.choice(GENERAL_INTROS), *rng.sample(TIPS, rng.randint(4, 8))]
    return Skill("search-general", f"{rng.choice(GENERAL_INTROS)} {rng.choice(TIPS)}", _layout(sentences, rng))


def _layout(sentences: list[str], rng: random.Random) -> str:
    style = rng.random()
    if style < 0.3:
        return "\n".join(f"- {sentence}" for sentence in sentences)
    if style < 0.7:
        return "\n".join(f"{number}. {sentence}" for number, sentence in enumerate(sentences, start=1))
    return "\n".join(sentences)
