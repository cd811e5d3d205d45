"""BM25 over texts: what skills and passages are found by."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]
Scores = NDArray[np.float32]

# Chinese and Japanese put no space between words: there, a character is a word.
_ALONE = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")
# Possessive and never begun inside a word, so that a page that is one long word costs no more than its length.
_COMPOUND = re.compile(r"(?<![^\W_])[^\W_]++(?:[-_.][^\W_]++)++")


def tokens(text: str) -> list[str]:
    """The words of `text` in small letters; what is held together by `-`, `_` or `.` counts whole as well.

    No stemming: it helps only where the body is hidden, and costs a dependency and the exactness of names.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    words: list[str] = _WORD.findall(text)
    return words + _COMPOUND.findall(text)


class Ranker:
    """Texts, each known by its place, ranked by bm25s (Lucene's formula, k1 = 1.5, b = 0.75).

    bm25s could be compiled by numba; that gained 6% at 100,000 passages, for a second of compiling in every process.
    """

    def __init__(self, ranker: Any) -> None:
        self._ranker = ranker

    @property
    def count(self) -> int:
        """How many texts there are."""
        return int(self._ranker.scores["num_docs"])

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]]) -> Self:
        """An index of texts that are given as their words.

        Raises:
            ValueError: there is no word in them.
        """
        import bm25s

        words: dict[str, int] = {}
        # Numbered as they come, so that the index does not depend on the hash seed; a tenth of the memory of words.
        ids = [array("i", [words.setdefault(word, len(words)) for word in text]) for text in texts]
        if not words:
            raise ValueError("no words")
        ranker = bm25s.BM25(backend="numpy")
        ranker.index((ids, words), create_empty_token=False, show_progress=False)
        return cls(ranker)

    def best(self, words: Sequence[str], k: int) -> tuple[Places, Scores]:
        """The `k` texts that fit `words` best and their scores, best first and ties by place; each shares a word."""
        known = self._ranker.get_tokens_ids(words)
        scores: Scores = self._ranker.get_scores_from_ids(known)
        places = top(scores, k)
        return places, scores[places]

    def save(self, folder: Path) -> None:
        """Write it into `folder`; nothing in it is a pickle."""
        self._ranker.save(folder, show_progress=False)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """One that was saved. The scores are memory-mapped, the words are read."""
        import bm25s

        ranker = bm25s.BM25.load(folder, mmap=True, show_progress=False, verbosity=0, backend="auto")
        # Plain views: numba compiles for arrays, not for numpy's subclass.
        ranker.scores = {
            name: np.asarray(value) if isinstance(value, np.ndarray) else value for name, value in ranker.scores.items()
        }
        return cls(ranker)


def top(scores: NDArray[np.floating[Any]], k: int) -> Places:
    """The places of the `k` best scores above 0, best first, ties by place."""
    places = np.flatnonzero(scores > 0)
    if len(places) > k:
        found = scores[places]
        places = places[found >= np.partition(found, -k)[-k]]  # and all that tie with the last
    return places[np.argsort(-scores[places], kind="stable")[:k]]
