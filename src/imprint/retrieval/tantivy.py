"""BM25 by tantivy: an index of any size, built with bounded memory; see docs/manual/retrieval.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from imprint.errors import RecipeError, RetrievalError
from imprint.retrieval.base import Hit
from imprint.retrieval.corpus import OnBad, PassageFile, damaged, stop
from imprint.retrieval.index import Progress, building, counted, open_passages, read_facts
from imprint.retrieval.ranking import tokens

KIND = "tantivy"
HEAP = 256 << 20  # bytes that the writer fills before it writes a segment
_FOLDER = "tantivy"
_WORDS, _PLACE, _SPLIT = "words", "place", "imprint"
_LONGEST = 60_000  # bytes of a word; tantivy drops longer ones
_DIGITS = 4  # of a score: the order of its terms' sum may differ between passages of the same words
_MORE = 32  # passages asked for beyond the wanted ones, for ties


class Tantivy:
    """Passages that are found by their words, the same words as in `Bm25`.

    Scores differ a little from bm25s's: Lucene's k1 = 1.2, and lengths that are kept in a byte.
    """

    def __init__(self, passages: PassageFile, index: Any) -> None:
        self.passages = passages
        self._index = index
        self._searcher = index.searcher()

    @staticmethod
    def build(
        corpus: str | Path, folder: str | Path, *, on_bad: OnBad = stop, progress: Progress | None = None
    ) -> None:
        """Index a corpus of JSON lines into `folder`; it takes the writer's memory and 16 bytes a passage.

        Raises:
            RetrievalError: the corpus cannot be read or holds no words, or the folder cannot be written.
            RecipeError: the extra is not installed.
        """
        tantivy = _library()
        with building(Path(corpus), Path(folder), KIND, {}, on_bad=on_bad, progress=progress) as (passages, made):
            (made / _FOLDER).mkdir()
            # One thread, so that the passages are in their order.
            writer = _register(tantivy, tantivy.Index(_schema(tantivy), path=str(made / _FOLDER))).writer(HEAP, 1)
            empty = True
            for place, passage in enumerate(counted(passages, progress)):
                words = _words(passage.contents)
                empty = empty and not words
                document = tantivy.Document()
                document.add_text(_WORDS, " ".join(words))
                document.add_unsigned(_PLACE, place)
                writer.add_document(document)
            if empty:
                raise RetrievalError("there are no words in it", where=corpus, hint="give another corpus")
            writer.commit()
            writer.wait_merging_threads()

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """An index on disk; nothing of it is read before it is needed.

        Raises:
            RetrievalError: it is missing, damaged, or of another version or kind.
            RecipeError: the extra is not installed.
        """
        folder = Path(folder)
        passages = open_passages(folder, read_facts(folder, KIND))
        tantivy = _library()
        try:
            index = _register(tantivy, tantivy.Index.open(str(folder / _FOLDER)))
            found = cls(passages, index)
        except (OSError, ValueError) as error:
            raise damaged(folder, error) from error
        if found._searcher.num_docs != len(passages):
            raise damaged(folder, f"it ranks {found._searcher.num_docs:,} of {len(passages):,} passages")
        return found

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` hits of each query, best first, ties by place; each shares a word with it."""
        return [self._search(query, k) for query in queries]

    def _search(self, query: str, k: int) -> list[Hit]:
        tantivy, words = _library(), _words(query)
        if not words:
            return []
        terms = [
            (tantivy.Occur.Should, tantivy.Query.term_query(self._index.schema, _WORDS, word, index_option="freq"))
            for word in words
        ]
        ranked = self._ranked(tantivy.Query.boolean_query(terms), k)
        return [Hit(self.passages[place], -score) for score, place in ranked]

    def _ranked(self, query: Any, k: int) -> list[tuple[float, int]]:
        """The best `k` as (negative score, place), sorted. Asks for more while there may be ties with the last."""
        wanted = min(k, len(self.passages))
        limit = wanted + _MORE
        while True:
            try:
                hits = self._searcher.search(query, limit, count=False).hits
            except (OSError, ValueError) as error:
                raise RetrievalError(f"tantivy cannot search: {error}", where=self.passages.path.parent) from error
            scores = [round(score, _DIGITS) for score, _ in hits]
            if len(hits) < limit or scores[-1] < scores[wanted - 1]:
                break
            limit = min(8 * limit, len(self.passages) + 1)
        places = self._searcher.fast_field_values(_PLACE, [where for _, where in hits])
        return sorted((-score, place) for score, place in zip(scores, places, strict=True))[:k]


def _words(text: str) -> list[str]:
    return [word for word in tokens(text) if len(word.encode()) <= _LONGEST]


def _schema(tantivy: ModuleType) -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(_WORDS, stored=False, tokenizer_name=_SPLIT, index_option="freq")
    builder.add_unsigned_field(_PLACE, stored=False, fast=True)
    return builder.build()


def _register(tantivy: ModuleType, index: Any) -> Any:
    """The texts are words with spaces between them: how they are found is not tantivy's to say."""
    index.register_tokenizer(_SPLIT, tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())
    return index


def _library() -> ModuleType:
    try:
        import tantivy
    except ImportError as error:
        raise RecipeError("tantivy is not installed", hint="pip install 'imprint[search]'") from error
    module: ModuleType = tantivy
    return module
