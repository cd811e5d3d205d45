"""Passages at rest: a corpus as JSON lines is read as a stream and kept as a file that is mapped, not read."""

from __future__ import annotations

import gzip
import hashlib
import json
import mmap
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, overload

import numpy as np

from imprint.errors import RetrievalError
from imprint.retrieval.base import Passage

PASSAGES, OFFSETS = "passages.jsonl", "offsets.npy"
LONGEST_LINE = 16 << 20  # bytes; a longer one is no passage
Progress = Callable[[int, int], None]  # how much is done, of how much
OnBad = Callable[[RetrievalError], None]


def stop(error: RetrievalError) -> None:
    """What is done about a bad row by default."""
    raise error


def read_corpus(path: Path, *, on_bad: OnBad = stop, progress: Progress | None = None) -> Iterator[Passage]:
    """The passages of a file of JSON lines, `{"id": ..., "contents": ...}` as wiki-18 has them; `.gz` is unpacked.

    No more than one line is in memory.

    Args:
        on_bad: gets each row that is no passage, with file and line; the row is left out if it does not raise.
        progress: gets the bytes read and the size of the file, from time to time.

    Raises:
        RetrievalError: the file cannot be read, or `on_bad` raises it.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as raw, _unpacked(raw, path) as file:
            for number, line in enumerate(_lines(file), start=1):
                passage = _passage(line, path, number, on_bad)
                if passage is not None:
                    yield passage
                if progress is not None and number % 1000 == 0:
                    progress(raw.tell(), size)
        if progress is not None:
            progress(size, size)
    except (OSError, EOFError, zlib.error) as error:
        raise RetrievalError(f"the corpus cannot be read: {error}", where=path, hint="give a whole file") from error


@contextmanager
def _unpacked(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".gz":
        with gzip.open(raw, "rb") as file:
            yield file  # type: ignore[misc]
    else:
        yield raw


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Its lines; of one that is too long only the beginning, which no longer is JSON."""
    while line := file.readline(LONGEST_LINE):
        yield line
        while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)


def _passage(line: bytes, path: Path, number: int, on_bad: OnBad) -> Passage | None:
    if not line.strip():
        return None
    try:
        return parse_passage(line)
    except ValueError as error:
        hint = 'a row is {"id": "0", "contents": "\\"Title\\"\\ntext"}; leave such rows out with --skip-bad'
        on_bad(RetrievalError(f"this row is no passage: {error}", where=path, line=number, hint=hint))
        return None


def parse_passage(line: bytes) -> Passage:
    """The passage in a line.

    Raises:
        ValueError: it holds none, and why.
    """
    if len(line) >= LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE >> 20} MiB")
    try:
        row: Any = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    name, contents = row.get("id"), row.get("contents")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    for key, value in (("id", name), ("contents", contents)):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"`{key}` is missing or no text")
        if not _encodable(value):
            raise ValueError(f"`{key}` holds half a character (a lone surrogate)")
    return Passage(str(name), str(contents))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class PassageFile(Sequence[Passage]):
    """The passages of an index's folder, by place; the file is mapped, a passage is read when it is asked for.

    Raises:
        RetrievalError: the files are missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / PASSAGES
        try:
            self._offsets = np.load(folder / OFFSETS, mmap_mode="r", allow_pickle=False)
            with self.path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, EOFError, ValueError) as error:
            raise damaged(folder, error) from error
        if self._offsets.dtype != np.uint64 or self._offsets.ndim != 1 or self._offsets[-1] != len(self._bytes):
            raise damaged(folder, "the passages are not those of the offsets")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, place: int) -> Passage: ...
    @overload
    def __getitem__(self, place: slice) -> list[Passage]: ...
    def __getitem__(self, place: int | slice) -> Passage | list[Passage]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        return self._passage(self._bytes[int(self._offsets[place]) : int(self._offsets[place + 1])], place)

    def __iter__(self) -> Iterator[Passage]:
        """All of them, read as a stream: a map that is gone through stays in memory while there is room."""
        with self.path.open("rb") as file:
            for place, line in enumerate(file):
                yield self._passage(line, place)

    def _passage(self, line: bytes, place: int) -> Passage:
        try:
            name, contents = json.loads(line)
        except ValueError as error:
            raise damaged(self.path.parent, f"passage {place} is not JSON") from error
        return Passage(name, contents)


def write_passages(passages: Iterable[Passage], folder: Path, source: Path) -> tuple[int, str]:
    """Keep the `passages` of the corpus `source` in `folder`; gives their number and the SHA-256 of the file.

    What is in memory is 16 bytes a passage.

    Raises:
        RetrievalError: there are none, or two have one id.
    """
    offsets, names, digest, end = array("Q", [0]), array("Q"), hashlib.sha256(), 0
    with (folder / PASSAGES).open("wb") as file:
        for passage in passages:
            line = json.dumps([passage.id, passage.contents], ensure_ascii=False).encode() + b"\n"
            file.write(line)
            digest.update(line)
            end += len(line)
            offsets.append(end)
            names.append(int.from_bytes(hashlib.blake2b(passage.id.encode(), digest_size=8).digest()))
    if not names:
        raise RetrievalError("there are no passages", where=source, hint="give a corpus with at least one")
    np.save(folder / OFFSETS, np.frombuffer(offsets, dtype=np.uint64), allow_pickle=False)
    _check_ids(PassageFile(folder), source, np.frombuffer(names, dtype=np.uint64))
    return len(names), digest.hexdigest()


def _check_ids(passages: PassageFile, source: Path, hashes: np.ndarray[Any, np.dtype[np.uint64]]) -> None:
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    for place in same:
        first, second = sorted((int(order[place]), int(order[place + 1])))
        name = passages[first].id
        if name == passages[second].id:
            raise RetrievalError(
                f"passages {first + 1} and {second + 1} have the same id {name!r}",
                where=source,
                key="id",
                hint="give each passage its own id",
            )


def damaged(folder: Path, why: object) -> RetrievalError:
    """The error of an index that does not open."""
    return RetrievalError(f"the index is damaged: {why}", where=folder, hint="build it again: `imprint search build`")
