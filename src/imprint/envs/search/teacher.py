"""The scripted teacher: it has the results of its searches and the route to the answer, nothing more."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from imprint.envs.base import Demonstration
from imprint.envs.search.encyclopedia import ALL_VOLUMES, Encyclopedia
from imprint.envs.search.episode import SearchEpisode
from imprint.envs.search.made import MadeQuestion
from imprint.envs.search.random_rules import RandomRules
from imprint.envs.search.tags import answer, search
from imprint.retrieval.base import Hit, Retriever
from imprint.types import StepResult

SLIPS = 0.08
ANSWER_WEIGHT = 3.0  # of imitating an answer, beside 1 for a search: it occurs once, and success depends on it


class Renamed:
    """A search engine over an encyclopedia whose volumes have other names: their own find nothing."""

    def __init__(self, retriever: Retriever, encyclopedia: Encyclopedia, words: Mapping[str, str]) -> None:
        self.retriever = retriever
        self.encyclopedia = encyclopedia
        self.words = words
        self.volumes = {word: volume for volume, word in words.items()}

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [
            [self._renamed(hit) for hit in hits] for hits in self.retriever.search(list(map(self._own, queries)), k)
        ]

    def _own(self, query: str) -> str:
        """The query with the index's own names."""
        words = (self.volumes.get(word) or ("" if word in ALL_VOLUMES else word) for word in query.split())
        return " ".join(filter(None, words))

    def _renamed(self, hit: Hit) -> Hit:
        thing, volume = self.encyclopedia.found(hit.passage)
        return Hit(self.encyclopedia.article(thing, volume, self.words[volume]), hit.score)


class ScriptedTeacher:
    """Follows the route to an answer: call `next_action`, then `observe` with the results of a search.

    Args:
        words: the names of the volumes.
    """

    def __init__(self, made: MadeQuestion, encyclopedia: Encyclopedia, words: Mapping[str, str]) -> None:
        self.made = made
        self.encyclopedia = encyclopedia
        self.words = words
        self.read: list[str] = []  # the answers in the articles so far
        self.lost = False

    def next_action(self) -> str:
        """The next search of the route, or the answer at its end."""
        volumes, called = self.made.route.volumes, self.made.called
        place = len(self.read)
        if place == len(volumes):
            return answer(self._conclusion())
        name = called[min(place, len(called) - 1)] if self.made.route.pick or place == 0 else self.read[-1]
        return search(f"{name} {self.words[volumes[place]]}")

    def observe(self, hits: Sequence[Hit]) -> None:
        """Read the results of the last search."""
        place = len(self.read)
        wanted = self._wanted(place)
        for hit in hits:
            thing, volume = self.encyclopedia.found(hit.passage)
            if (thing.number, volume) == (wanted, self.made.route.volumes[place]):
                self.read.append(thing.facts[volume])
                return
        self.lost = True

    def _wanted(self, place: int) -> int:
        """The number of the thing that is searched for: a reader knows it by the title."""
        if self.made.route.pick:
            return self.made.subjects[place].number
        return self.made.subjects[0].number if place == 0 else self.made.subjects[0].link

    def _conclusion(self) -> str:
        if not self.made.route.pick:
            return self.read[-1]
        best = min if self.made.route.pick == "smaller" else max
        return self.made.called[self.read.index(best(self.read, key=int))]


def play(
    made: MadeQuestion,
    encyclopedia: Encyclopedia,
    words: Mapping[str, str],
    episode: SearchEpisode,
    rng: random.Random | None = None,
) -> Iterator[tuple[str, StepResult, float]]:
    """The turns of the scripted teacher; with `rng`, a share `SLIPS` of its searches is for another volume.

    Slips have weight 0: they are there to learn recovery from them. A teacher that is lost stops without success.
    """
    teacher = ScriptedTeacher(made, encyclopedia, words)
    spare = episode.max_turns - len(made.route.volumes) - 1
    while not teacher.lost:
        action = teacher.next_action()
        if rng is not None and spare > 0 and action.startswith("<search>") and rng.random() < SLIPS:
            spare -= 1
            other = rng.choice([word for word in words.values() if f"{word}</search>" not in action])
            slip = f"{action.rpartition(' ')[0]} {other}</search>"
            yield slip, episode.step(slip), 0.0
            continue
        result = episode.step(action)
        yield action, result, ANSWER_WEIGHT if result.done else 1.0
        if result.done:
            return
        teacher.observe(episode.found)


def demonstrate(rules: RandomRules, encyclopedia: Encyclopedia, episode: SearchEpisode, seed: int) -> Demonstration:
    """A question with random rules, answered; `episode` asks it with the names of its own volumes."""
    first = episode.reset()
    turns = tuple(play(rules.made, encyclopedia, rules.words, episode, random.Random(f"demonstrate/{seed}")))
    return Demonstration(rules.pages, first, turns, turns[-1][1].success)
