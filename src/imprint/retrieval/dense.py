"""Dense retrieval: passages near a query in the space of an encoder, by FAISS's exact inner product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np

from imprint.errors import RecipeError, RetrievalError
from imprint.retrieval.base import Hit, Passage
from imprint.retrieval.corpus import OnBad, PassageFile, damaged, stop
from imprint.retrieval.encoder import Encoder
from imprint.retrieval.index import Progress, building, counted, open_passages, read_facts

KIND = "dense"
_FILE = "vectors.faiss"
_CHUNK = 32  # batches that are sorted by length together
_DIGITS = 5  # of a score: the seventh depends on what else an encoder reads in the same batch
_MORE = 32  # passages asked for beyond the wanted ones, for ties
_NEAR = 0.999  # the cosine of a passage's vector then and now, if the encoder is the same


class Dense:
    """Passages that are found by what they mean; scores are cosines, and every query has hits but an empty one."""

    def __init__(self, passages: PassageFile, index: Any, encoder: Encoder) -> None:
        self.passages = passages
        self.encoder = encoder
        self._index = index

    @staticmethod
    def build(
        corpus: str | Path,
        folder: str | Path,
        *,
        model: str,
        device: str = "cpu",
        batch: int = 64,
        query_prefix: str = "query: ",
        passage_prefix: str = "passage: ",
        on_bad: OnBad = stop,
        progress: Progress | None = None,
    ) -> None:
        """Index a corpus of JSON lines into `folder`. All vectors are in memory meanwhile, 4 bytes a dimension, and
        up to three times as much while FAISS makes room.

        Args:
            model: the encoder, a folder or hub name.

        Raises:
            RetrievalError: the corpus or the encoder cannot be read, or the folder cannot be written.
            RecipeError: the extra is not installed.
        """
        faiss = _library()
        name = str(Path(model).resolve()) if Path(model).is_dir() else model
        settings = {"model": name, "query_prefix": query_prefix, "passage_prefix": passage_prefix}
        encoder = Encoder(**settings, device=device, batch=batch)
        with building(Path(corpus), Path(folder), KIND, settings, on_bad=on_bad, progress=progress) as (passages, made):
            index = faiss.IndexFlatIP(encoder.dimension)
            for chunk in _chunks(counted(passages, progress, every=batch), batch * _CHUNK):
                index.add(encoder.passages([passage.contents for passage in chunk]))
            faiss.write_index(index, str(made / _FILE))

    @classmethod
    def open(cls, folder: str | Path, *, device: str = "cpu", batch: int = 64) -> Self:
        """An index on disk; passages and vectors are mapped, the encoder is loaded.

        Raises:
            RetrievalError: it is missing, damaged, of another version or kind, or its encoder is not what it was.
            RecipeError: the extra is not installed.
        """
        folder, faiss = Path(folder), _library()
        facts = read_facts(folder, KIND)
        passages = open_passages(folder, facts)
        try:
            index = faiss.read_index(str(folder / _FILE), faiss.IO_FLAG_MMAP_IFC)
            encoder = Encoder(**facts.settings, device=device, batch=batch)
        except (RuntimeError, TypeError) as error:
            raise damaged(folder, (str(error).splitlines() or [""])[0]) from error
        if index.ntotal != len(passages):
            raise damaged(folder, f"{index.ntotal:,} vectors of {len(passages):,} passages")
        found = cls(passages, index, encoder)
        found._check_encoder(folder)
        return found

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The `k` nearest passages of each query, nearest first, ties by place; an empty query has none."""
        asked = [place for place, query in enumerate(queries) if query.strip()]
        found: list[list[Hit]] = [[] for _ in queries]
        if asked:
            vectors = self.encoder.queries([queries[place] for place in asked])
            scores, places = self._index.search(vectors, min(k + _MORE, len(self.passages)))
            for place, row in zip(asked, zip(scores, places, strict=True), strict=True):
                found[place] = self._hits(*row, k)
        return found

    def _hits(self, scores: Any, places: Any, k: int) -> list[Hit]:
        rounded = [round(score, _DIGITS) for score in scores.tolist()]
        ranked = sorted(zip((-score for score in rounded), places.tolist(), strict=True))[:k]
        return [Hit(self.passages[place], -score) for score, place in ranked]

    def _check_encoder(self, folder: Path) -> None:
        """That the first passage still has its vector: weights in a folder may have been trained on."""
        then = self._index.reconstruct(0)
        if then.shape == (self.encoder.dimension,):
            now = self.encoder.passages([self.passages[0].contents])[0]
            if float(np.dot(then, now)) > _NEAR:
                return
        raise RetrievalError(
            f"the encoder {self.encoder.model!r} is not the one that the index was built with",
            where=folder,
            hint="put the encoder back, or build the index again",
        )


def _chunks(passages: Iterator[Passage], size: int) -> Iterator[list[Passage]]:
    while chunk := list(islice(passages, size)):
        yield chunk


def _library() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise RecipeError("faiss is not installed", hint="pip install 'imprint[dense]'") from error
    module: ModuleType = faiss
    return module
