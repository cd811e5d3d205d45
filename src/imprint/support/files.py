"""Files that a killed process cannot leave half-written: atomic files, atomic folders, and append-only JSONL.

Each path has one writer at a time (a run's lock sees to that), so what a killed writer left behind under a
temporary name may be removed by the next one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from imprint.errors import CheckpointError, ImprintError

__all__ = [
    "append_jsonl",
    "atomic_folder",
    "atomic_write",
    "clean_leftovers",
    "filter_jsonl",
    "has_broken_end",
    "leftover_of",
    "read_jsonl",
    "read_text",
]

_TEMPORARY, _REPLACED = (
    ".tmp-",
    ".old-",
)  # a leftover is named `.<name>.tmp-<random>` or `.<name>.old-<random>`
_FULL = (errno.ENOSPC, errno.EDQUOT)


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Replace the file at `path` with `data` (text as UTF-8), whole or not at all.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the older file is untouched.
    """
    path = Path(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}{_TEMPORARY}", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            _write(file.fileno(), content)
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())  # mkstemp makes private files
        os.replace(temporary, path)  # noqa: PTH105 - the name is clearer: an older file is replaced
        _sync_folder(path.parent)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            _raise_write_error(error, path, error.errno in _FULL)
        raise


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Fill the folder that is yielded; on leaving the block it becomes `path`, whole or not at all.

    An older folder at `path` stays until the new one is complete on the disk. If the block raises, nothing
    changes. A process killed between the two renames leaves the older folder aside, and `clean_leftovers` (or
    the next `atomic_folder` of the same path) puts it back.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the older folder is untouched.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clean_leftovers(path.parent, path.name)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}{_TEMPORARY}", dir=path.parent))
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        _sync_tree(temporary)
        _swap_folder(temporary, path)
    except BaseException as error:
        # The libraries that write weights hide a full disk in errors of their own, so ask before making room.
        full = isinstance(error, Exception) and _disk_is_full(error, path.parent)
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if full or isinstance(error, OSError):
            _raise_write_error(error, path, full)
        raise


def clean_leftovers(folder: str | Path, name: str | None = None) -> list[str]:
    """Remove what killed writers left in `folder` (only of the file or folder `name`, if given).

    A folder that was set aside and never replaced is put back first.

    Returns:
        The names that were removed or put back, sorted.
    """
    folder, done = Path(folder), []
    for leftover in sorted(folder.iterdir()) if folder.is_dir() else []:
        target, mark = leftover_of(leftover.name)
        if target is None or (name is not None and target != name):
            continue
        if mark == _REPLACED and not (folder / target).exists():
            leftover.rename(folder / target)
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
        done.append(leftover.name)
    return done


def append_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append one line per row and wait until they are on the disk; all of `rows` or none.

    A half-written last line, left by a killed writer, is removed first.

    Raises:
        ImprintError: a row holds what JSON cannot (NaN, infinity, an object).
        CheckpointError: the disk is full or the file cannot be written; the file is as it was before.
    """
    path = Path(path)
    try:
        lines = [json.dumps(dict(row), allow_nan=False, ensure_ascii=False) + "\n" for row in rows]
        data = "".join(lines).encode("utf-8", "backslashreplace")  # a lone surrogate from a model's text
    except (TypeError, ValueError) as error:
        raise ImprintError(
            f"a row cannot be written as JSON: {error}", where=path, hint="write numbers, text, lists or null"
        ) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            size = _hint_tail(file.fileno())
            try:
                _write(file.fileno(), data)
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), size)
                raise
    except OSError as error:
        _raise_write_error(error, path, error.errno in _FULL)


def read_jsonl(path: str | Path, *, missing_ok: bool = False) -> list[dict[str, Any]]:
    """The rows of a JSONL file. One half-written last line (no line end, not JSON) is dropped.

    Raises:
        CheckpointError: no such file (unless `missing_ok`), or any other line is not a JSON object.
    """
    path = Path(path)
    return [row for _, row in _rows(path)] if path.exists() or not missing_ok else []


def has_broken_end(path: str | Path) -> bool:
    """Whether a JSONL file ends in a half-written line, which `read_jsonl` drops and `append_jsonl` removes."""
    path = Path(path)
    tail = path.read_bytes().rpartition(b"\n")[2] if path.exists() else b""
    return bool(tail) and _parse(tail) is None


def filter_jsonl(path: str | Path, keep: Callable[[dict[str, Any]], bool]) -> int:
    """Drop the rows for which `keep` is false; the others stay byte for byte.

    Returns:
        How many rows were dropped. A file that does not exist has none.

    Raises:
        CheckpointError: as `read_jsonl`.
    """
    path = Path(path)
    if not path.exists():
        return 0
    rows = list(_rows(path))
    kept = [line for line, row in rows if keep(row)]
    content = b"".join(line + b"\n" for line in kept)
    if content != path.read_bytes():
        atomic_write(path, content)
    return len(rows) - len(kept)


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        CheckpointError: no such file, or it is not UTF-8.
    """
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot be read: {error}", where=path, hint="check the path") from error


def _rows(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", where=path, hint="check the path") from error
    for number, line in enumerate(lines, start=1):
        last = number == len(lines)  # what follows the last line end: nothing, or a half-written line
        if last and not line:
            continue
        row = _parse(line)
        if row is not None:
            yield line, row
        elif not last:
            raise CheckpointError(
                "this line is not a JSON object",
                where=path,
                line=number,
                hint="the file was damaged or edited by hand; remove the line or restore the file",
            )


def _parse(line: bytes) -> dict[str, Any] | None:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        row = json.loads(line.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _hint_tail(handle: int) -> int:
    """Make the file end in a line end, dropping a half-written last line; gives the new size in bytes."""
    size = os.fstat(handle).st_size
    if size == 0 or os.pread(handle, 1, size - 1) == b"\n":
        return size
    start, tail = size, b""
    while start > 0 and b"\n" not in tail:
        start = max(0, start - 65536)
        tail = os.pread(handle, size - start, start)
    line = tail[tail.rfind(b"\n") + 1 :]
    if _parse(line) is not None:  # whole, only its line end is missing
        _write(handle, b"\n")
        return size + 1
    os.ftruncate(handle, size - len(line))
    return size - len(line)


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _swap_folder(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        _sync_folder(path.parent)
        return
    aside = path.with_name(new.name.replace(_TEMPORARY, _REPLACED))
    path.rename(aside)
    try:
        new.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    _sync_folder(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def leftover_of(name: str) -> tuple[str | None, str]:
    """The name that a killed writer's temporary file or folder was to have, and its kind; None for others."""
    if not name.startswith("."):
        return None, ""
    for mark in (_TEMPORARY, _REPLACED):
        target, found, rest = name[1:].rpartition(mark)
        if found and target and rest and "." not in rest:
            return target, mark
    return None, ""


def _sync_tree(folder: Path) -> None:
    for base, _, names in os.walk(folder):
        for name in names:
            with (Path(base) / name).open("rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(base))


def _sync_folder(folder: Path) -> None:
    """Make renames in `folder` last; some file systems cannot, and then the rename is still atomic."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def _disk_is_full(error: Exception, folder: Path) -> bool:
    if (isinstance(error, OSError) and error.errno in _FULL) or os.strerror(errno.ENOSPC) in str(error):
        return True
    return not isinstance(error, ImprintError) and folder.is_dir() and shutil.disk_usage(folder).free < 4096


def _raise_write_error(error: BaseException, path: Path, full: bool) -> NoReturn:
    if full:
        raise CheckpointError(
            "the disk is full; what was there before is untouched",
            where=path,
            hint="free some space (older checkpoints are the largest files of a run), then resume",
        ) from error
    raise CheckpointError(
        f"cannot be written: {error}", where=path, hint="check the path and its permissions"
    ) from error
