"""BM25 by bm25s: exact, quick to build, and fast while the scores fit the memory; see docs/manual/retrieval.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from imprint.errors import RetrievalError
from imprint.retrieval.base import Hit, Passage
from imprint.retrieval.corpus import OnBad, damaged, stop
from imprint.retrieval.index import Progress, building, counted, open_passages, read_facts
from imprint.retrieval.ranking import Ranker, tokens

KIND = "bm25s"


class Bm25:
    """Passages that are found by their words; title and text count alike."""

    def __init__(self, passages: Sequence[Passage], ranker: Ranker) -> None:
        self.passages = passages
        self._ranker = ranker

    @classmethod
    def of(cls, passages: Sequence[Passage]) -> Self:
        """An index in memory.

        Raises:
            RetrievalError: there is no word in the passages.
        """
        try:
            return cls(passages, Ranker.of(tokens(passage.contents) for passage in passages))
        except ValueError as error:
            raise RetrievalError("there is nothing to search", hint="give passages that hold words") from error

    @staticmethod
    def build(
        corpus: str | Path, folder: str | Path, *, on_bad: OnBad = stop, progress: Progress | None = None
    ) -> None:
        """Index a corpus of JSON lines into `folder`. It takes about 40 bytes of memory a word of the corpus.

        Args:
            on_bad: see `read_corpus`.
            progress: gets what is being done, how much is done, and of how much.

        Raises:
            RetrievalError: the corpus cannot be read or holds no words, or the folder cannot be written.
        """
        with building(Path(corpus), Path(folder), KIND, {}, on_bad=on_bad, progress=progress) as (passages, made):
            try:
                ranker = Ranker.of(tokens(passage.contents) for passage in counted(passages, progress))
            except ValueError as error:
                raise RetrievalError("there are no words in it", where=corpus, hint="give another corpus") from error
            ranker.save(made)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """An index on disk; passages and scores are mapped, not read.

        Raises:
            RetrievalError: it is missing, damaged, or of another version or kind.
        """
        folder = Path(folder)
        passages = open_passages(folder, read_facts(folder, KIND))
        try:
            ranker = Ranker.open(folder)
        except (OSError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise damaged(folder, error) from error
        if ranker.count != len(passages):
            raise damaged(folder, f"it ranks {ranker.count:,} of {len(passages):,} passages")
        return cls(passages, ranker)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` hits of each query, best first, ties by place; each shares a word with it."""
        return [self._search(query, k) for query in queries]

    def _search(self, query: str, k: int) -> list[Hit]:
        places, scores = self._ranker.best(tokens(query), k)
        return [Hit(self.passages[place], score) for place, score in zip(places.tolist(), scores.tolist(), strict=True)]
