"""Find a skill among many by what it is about: BM25 over name, description and body, optionally re-ranked by meaning.

The body is indexed because it holds the words that people ask with: published measurements (SkillRouter,
arXiv 2603.22455) lose 31 to 44 points of Hit@1 without it in a library of 80,000, and `benchmarks/find_skills.py`
shows the same on any folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from imprint.errors import LibraryError
from imprint.retrieval.ranking import Ranker, tokens
from imprint.skills.skill import Skill

POOL = 50  # hits of BM25 that an embedder may put in another order
_FUSION = 60  # reciprocal rank fusion's usual constant


@dataclass(frozen=True, slots=True)
class Hit:
    """A skill that was found; scores of one answer can be compared, those of two answers cannot."""

    skill: Skill
    score: float


class Embedder(Protocol):
    """Texts as vectors of one length, near each other where the texts mean the same."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row a text, each of length 1."""
        ...


class SkillIndex:
    """Skills, ready to be asked for.

    Args:
        embedder: puts the best `POOL` hits of BM25 in an order that both agree on.
        fields: what is indexed of each skill; all of it unless an experiment hides something.

    Raises:
        LibraryError: there are no skills, or no words in what is indexed.
    """

    def __init__(
        self,
        skills: Iterable[Skill],
        embedder: Embedder | None = None,
        *,
        fields: Sequence[str] = ("name", "description", "body"),
    ) -> None:
        self.skills = tuple(sorted(skills, key=lambda skill: skill.name))
        self._texts = ["\n".join(getattr(skill, field) for field in fields) for skill in self.skills]
        try:
            self._ranker = Ranker.of(tokens(text) for text in self._texts)
        except ValueError as error:
            raise LibraryError("there is nothing to search", hint="give skills whose pages hold words") from error
        self._embedder = embedder
        self._vectors: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self.skills)

    def find(self, query: str, k: int = 5) -> list[Hit]:
        """The `k` skills that fit `query` best, best first and ties by name; each shares a word with it."""
        # The skills are in the order of their names, and ties go by place.
        places, scores = self._ranker.best(tokens(query), max(k, POOL if self._embedder else 0))
        if self._embedder is not None and len(places):
            return self._reranked(query, places, self._embedder)[:k]
        return [Hit(self.skills[place], float(score)) for place, score in zip(places, scores, strict=True)]

    def _reranked(self, query: str, places: NDArray[np.intp], embedder: Embedder) -> list[Hit]:
        """By reciprocal rank fusion: scores of two kinds have no common scale, ranks have."""
        missing = [int(place) for place in places if int(place) not in self._vectors]
        rows = embedder.embed([query, *(self._texts[place] for place in missing)])
        self._vectors.update(zip(missing, rows[1:], strict=True))
        near = np.array([float(self._vectors[int(place)] @ rows[0]) for place in places])
        by_meaning = np.empty(len(places), dtype=int)
        by_meaning[np.argsort(-near, kind="stable")] = np.arange(len(places))
        fused = 1 / (_FUSION + 1 + np.arange(len(places))) + 1 / (_FUSION + 1 + by_meaning)
        return [Hit(self.skills[places[rank]], float(fused[rank])) for rank in np.argsort(-fused, kind="stable")]
