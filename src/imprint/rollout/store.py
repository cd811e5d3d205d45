"""Finished episodes on disk, so that none is paid twice: one append-only JSONL file per server and model.

Several processes may write one file: every append takes a lock, and is on the disk when it returns.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

from imprint.errors import CheckpointError
from imprint.models.served.usage import Usage
from imprint.support.files import append_jsonl, has_broken_end, read_jsonl
from imprint.types import Episode

Stored = tuple[Episode, Usage]


class EpisodeStore:
    """The finished episodes of one model, by key (`episode_key`).

    Attributes:
        path: the file.
        note: what was wrong with the file, for the user; "" if nothing.

    Raises:
        CheckpointError: the file is damaged elsewhere than at its end, or cannot be read.
    """

    def __init__(self, folder: str | Path, base_url: str, model: str) -> None:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", model).strip(".-")[-60:] or "model"
        self.path = Path(folder) / f"{name}-{_digest(base_url, model)[:8]}.jsonl"
        self.note = ""
        if has_broken_end(self.path):
            self.note = f"{self.path}: the last line was cut off by a crash; its episode was played again"
        self._rows = {row["key"]: row for row in read_jsonl(self.path, missing_ok=True) if "key" in row}

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: str) -> Stored | None:
        """The episode under `key` and what it took; None if there is none.

        Raises:
            CheckpointError: the row is not an episode's.
        """
        row = self._rows.get(key)
        if row is None:
            return None
        try:
            return Episode.from_record(row["episode"]), Usage(**row["usage"])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"the row with the key {key} is not an episode: {error}",
                where=self.path,
                hint="the file was edited or is of another version; remove the line, or name another endpoint.store",
            ) from error

    def add(self, key: str, episode: Episode, usage: Usage) -> None:
        """Keep a finished episode.

        Raises:
            CheckpointError: the disk is full, or the file cannot be written.
        """
        row = {"key": key, "usage": asdict(usage), "episode": episode.to_record()}
        with self._lock():
            append_jsonl(self.path, [row])
        self._rows[key] = row

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise CheckpointError(
                f"cannot be written: {error.strerror}", where=lock.parent, key="endpoint.store", hint="check the path"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def episode_key(**parts: Any) -> str:
    """A key for an episode from everything that decides it; the parts are JSON."""
    return _digest(json.dumps(parts, sort_keys=True))


def _digest(*parts: str) -> str:
    return blake2b("\n".join(parts).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
