"""What a search engine must offer: passages for queries, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a corpus that is found as a whole.

    Attributes:
        id: unique within the corpus.
        contents: the title's line and the text below it, as wiki-18 and Search-R1's servers have it.
    """

    id: str
    contents: str

    @property
    def title(self) -> str:
        """The first line, without the quotes that wiki-18 puts around it."""
        return self.contents.partition("\n")[0].strip().strip('"')


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found. Scores of one answer can be compared, those of two engines cannot."""

    passage: Passage
    score: float


@runtime_checkable
class Retriever(Protocol):
    """A search engine. The same queries over the same corpus always give the same hits, ties by the passage's place."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` hits of each query, best first; a query that nothing fits has none.

        Raises:
            RetrievalError: the engine cannot answer. It is never an empty answer.
        """
        ...
