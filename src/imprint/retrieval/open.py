"""Open a search engine by what a recipe names: a folder with an index, or the address of a server."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from imprint.errors import RetrievalError
from imprint.retrieval.base import Retriever
from imprint.retrieval.client import SearchClient
from imprint.retrieval.corpus import OnBad
from imprint.retrieval.index import Progress, read_facts


class IndexBackend(Protocol):
    """What is common to the search engines with an index on disk; some take more options."""

    def build(
        self, corpus: Path, folder: Path, *, on_bad: OnBad = ..., progress: Progress | None = ..., **options: Any
    ) -> None: ...

    def open(self, folder: Path, **options: Any) -> Retriever: ...


BACKENDS = {
    "bm25s": "imprint.retrieval.bm25:Bm25",
    "tantivy": "imprint.retrieval.tantivy:Tantivy",
    "dense": "imprint.retrieval.dense:Dense",
}


def index_backend(kind: str) -> IndexBackend:
    """The engine that `index.json` names.

    Raises:
        RetrievalError: there is none of this name.
    """
    if kind not in BACKENDS:
        raise RetrievalError(
            f"there is no engine {kind!r}; there are {', '.join(BACKENDS)}",
            hint="build the index again: `imprint search build`",
        )
    module, name = BACKENDS[kind].split(":")
    return cast(IndexBackend, getattr(import_module(module), name))


def open_retriever(
    source: str | Path, *, shape: str = "query", timeout: float = 60.0, attempts: int = 10, device: str = "cpu"
) -> Retriever:
    """The search engine at `source`: a folder with an index, or `http://...`, several separated by commas.

    Args:
        shape: of requests to servers, as `timeout` and `attempts`; see `SearchClient`.
        device: where a dense index's encoder runs.

    Raises:
        RetrievalError: no index is there, or it is damaged or of another version.
        RecipeError: an address or option is wrong, or an extra is not installed.
    """
    if is_address(source):
        return SearchClient(str(source), shape=shape, timeout=timeout, attempts=attempts)
    folder = _folder(source)
    kind = read_facts(folder).kind
    return index_backend(kind).open(folder, **({"device": device} if kind == "dense" else {}))


def _folder(source: str | Path) -> Path:
    folder = Path(source)
    if not folder.is_dir():
        raise RetrievalError(
            "no such folder",
            where=folder,
            hint="give a folder with an index (`imprint search build`), or the address of a server, as http://...",
        )
    return folder


def check_retriever(source: str | Path, k: int, *, shape: str = "query") -> None:
    """See that the search engine at `source` is there, without loading an index; servers are asked once.

    Raises:
        RetrievalError: no index is there, it is of another version, or no server gives `k` passages.
        RecipeError: an address is wrong, or an extra is not installed.
    """
    if is_address(source):
        client = SearchClient(str(source), shape=shape)
        try:
            client.check(k)
        finally:
            client.close()
    else:
        index_backend(read_facts(_folder(source)).kind)


def is_address(source: str | Path) -> bool:
    """Whether `source` names servers, not a folder."""
    return str(source).lstrip().lower().startswith(("http://", "https://"))
