"""Texts as vectors, by a local model or by a server: what `imprint.skills.find` re-ranks with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imprint.errors import PolicyError, RecipeError
from imprint.models.served.config import EndpointConfig
from imprint.models.served.endpoint import Connection, Endpoint
from imprint.models.served.server import ContextFullError, FilteredError, TransientError

Vectors = NDArray[np.float32]
LONGEST = 2000  # characters sent of a text: about the 512 tokens that most embedding models read
BATCH = 64  # texts in one request


class LocalEmbedder:
    """A sentence-transformers model: a folder or a hub name.

    Raises:
        RecipeError: the extra is not installed.
        PolicyError: it cannot be loaded.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise RecipeError(
                "a local embedding model needs sentence-transformers, which is not installed",
                key="--rerank",
                hint="pip install 'imprint[find]', or give --endpoint for a served model",
            ) from error
        try:
            self._model: Any = SentenceTransformer(name, device=device)
        except Exception as error:  # the library's errors have no common kind
            raise PolicyError(
                f"the embedding model cannot be loaded: {error}",
                where=name,
                hint="give the folder of a sentence-transformers model, or its hub name",
            ) from error

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(rows, dtype=np.float32)


class ServedEmbedder:
    """A model behind an OpenAI-compatible `/v1/embeddings`, with the limits and retries of `config`."""

    def __init__(self, config: EndpointConfig, model: str) -> None:
        self.endpoint = Endpoint(config, model)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text, each of length 1; of long texts only the beginning is sent.

        Raises:
            PolicyError: the server refuses, or gives no vectors however often it is asked.
        """
        return asyncio.run(self._embed([text[:LONGEST].strip() or "-" for text in texts]))

    async def _embed(self, texts: list[str]) -> Vectors:
        batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        async with self.endpoint.connect() as chat:
            found = [await self._persist(chat, batch) for batch in batches]
        if len({part.shape[1] for part in found}) != 1:
            raise PolicyError(
                "the server gives vectors of different lengths",
                where=self.endpoint.config.base_url,
                hint="name an embedding model",
            )
        return np.concatenate(found)

    async def _persist(self, chat: Connection, batch: list[str]) -> Vectors:
        try:
            return await chat.persist(lambda: self._ask(chat, batch))
        except (ContextFullError, FilteredError) as error:
            raise PolicyError(
                f"the server does not take these texts: {error}",
                where=self.endpoint.config.base_url,
                key="model",
                hint="name an embedding model that reads 512 tokens",
            ) from error

    async def _ask(self, chat: Connection, batch: list[str]) -> Vectors:
        """One try."""
        body = {"model": self.endpoint.model, "input": batch, **self.endpoint.config.extra}
        response = await chat.post("embeddings", body, characters=sum(map(len, batch)))
        if response.status_code != 200:
            self.endpoint.refuse(response, chat.served)
        return read_vectors(response.content, len(batch))


def read_vectors(body: bytes, count: int) -> Vectors:
    """The vectors in the body of a 200, in the order of the texts and of length 1.

    Raises:
        TransientError: it does not hold `count` vectors of one length.
    """
    try:
        content: Any = json.loads(body)
        rows: list[Any] = [None] * count
        for place, entry in enumerate(content["data"]):
            rows[_place(entry, place)] = [float(value) for value in entry["embedding"]]
        vectors = np.array(rows, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] == 0 or not np.isfinite(vectors).all():
            raise ValueError("not vectors")
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise TransientError(f"the answer does not hold {count} vectors") from error
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def _place(entry: Mapping[str, Any], place: int) -> int:
    found = entry.get("index", place)
    if not isinstance(found, int) or found < 0:
        raise ValueError("no index")
    return found
