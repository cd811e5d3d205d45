"""An index on disk: a folder whose `index.json`, written last, describes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from imprint.errors import CheckpointError, RetrievalError
from imprint.retrieval.base import Passage
from imprint.retrieval.corpus import OnBad, PassageFile, damaged, read_corpus, stop, write_passages
from imprint.support.files import atomic_folder, atomic_write, read_text

NAME = "index.json"
VERSION = 1
Progress = Callable[[str, int, int], None]  # what is being done, how much is done, of how much


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What `index.json` holds.

    Attributes:
        kind: the engine, a key of `imprint.retrieval.open.BACKENDS`.
        passages: how many.
        corpus: SHA-256 of the passages: two indexes of the same hash are of the same corpus.
        settings: the engine's own.
    """

    kind: str
    passages: int
    corpus: str
    settings: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION


def read_facts(folder: Path, kind: str | None = None) -> IndexFacts:
    """What the index in `folder` is.

    Raises:
        RetrievalError: no index is there, it is of another version or kind, or damaged.
    """
    build = "build it: `imprint search build CORPUS.jsonl FOLDER`"
    if not (folder / NAME).is_file():
        raise RetrievalError(f"no index is here (no {NAME})", where=folder, hint=build)
    try:
        content = json.loads(read_text(folder / NAME))
        version = content["version"]
        if version != VERSION:
            raise RetrievalError(
                f"the index is of version {version!r}, this Imprint reads {VERSION}", where=folder, hint=build
            )
        facts = IndexFacts(**content)
        if not (isinstance(facts.passages, int) and isinstance(facts.kind, str) and isinstance(facts.settings, dict)):
            raise TypeError("wrong types")
    except (CheckpointError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise damaged(folder, f"{NAME} does not say what it is") from error
    if kind is not None and facts.kind != kind:
        raise RetrievalError(f"the index is for {facts.kind!r}, not {kind!r}", where=folder, hint=build)
    return facts


def open_passages(folder: Path, facts: IndexFacts) -> PassageFile:
    """The passages of an index.

    Raises:
        RetrievalError: they are missing, damaged or of another number.
    """
    passages = PassageFile(folder)
    if len(passages) != facts.passages:
        raise damaged(folder, f"{len(passages):,} passages where {NAME} has {facts.passages:,}")
    return passages


@contextmanager
def building(
    corpus: Path,
    folder: Path,
    kind: str,
    settings: dict[str, Any],
    *,
    on_bad: OnBad = stop,
    progress: Progress | None = None,
) -> Iterator[tuple[PassageFile, Path]]:
    """The passages of `corpus`, for an engine to add its files to the folder that is yielded.

    On leaving the block the folder becomes `folder`, whole or not at all; an older index there stays until then.

    Raises:
        RetrievalError: the corpus cannot be read, a row is bad, or `folder` holds something else than an index.
    """
    _check_target(folder)

    def reading(done: int, size: int) -> None:
        if progress is not None:
            progress("reading", done, size)

    try:
        with atomic_folder(folder) as made:
            count, digest = write_passages(read_corpus(corpus, on_bad=on_bad, progress=reading), made, corpus)
            yield PassageFile(made), made
            facts = IndexFacts(kind, count, digest, settings)
            atomic_write(made / NAME, json.dumps(asdict(facts), indent=1) + "\n")
    except CheckpointError as error:  # of the files' module, whose other users are runs
        raise RetrievalError(
            error.problem, where=error.where, hint="free some space, or name another folder"
        ) from error


def counted(passages: PassageFile, progress: Progress | None, every: int = 1000) -> Iterator[Passage]:
    """`passages`, reporting how many were taken."""
    total = len(passages)
    for place, passage in enumerate(passages):
        yield passage
        if progress is not None and ((place + 1) % every == 0 or place + 1 == total):
            progress("indexing", place + 1, total)


def _check_target(folder: Path) -> None:
    """A folder that is replaced must be an index: a mistaken path must not cost the user's files."""
    if folder.exists() and not (folder / NAME).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise RetrievalError(
            "something else than an index is here", where=folder, hint="name a new folder, or that of an older index"
        )
