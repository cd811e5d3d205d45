"""What a skill folder holds, as one line a file and one hash: the same files give the same hash on every machine."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from imprint.errors import TrustError
from imprint.skills.front import printable

MAX_FILES = 20_000
MAX_BYTES = 1_000_000_000
Files = dict[str, str]  # path in the folder -> what is there


def files_of(folder: Path) -> Files:
    """Every file below `folder`, hidden ones too, by its path: `file SHA256`, `executable SHA256` or `link TARGET`.

    Links are not followed, so that one that leads out cannot bring in what may change elsewhere; only the folder itself
    may be a link.

    Raises:
        TrustError: something cannot be read, is neither file nor link, or there is too much.
    """
    root = Path(folder).resolve()
    found: Files = {}
    waiting, total = [root], 0
    try:
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                        continue
                    if len(found) == MAX_FILES:
                        raise TrustError(f"holds over {MAX_FILES:,} files", where=folder, hint="keep a skill small")
                    status = entry.stat(follow_symlinks=False)
                    total += status.st_size
                    if total > MAX_BYTES:
                        raise TrustError(f"is over {MAX_BYTES:,} bytes", where=folder, hint="keep a skill small")
                    found[path.relative_to(root).as_posix()] = _line(path, status.st_mode)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        at_fault = getattr(error, "filename", None) or folder
        raise TrustError(f"cannot be read: {reason}", where=at_fault, hint="check the path") from error
    return dict(sorted(found.items()))


def fingerprint(files: Mapping[str, str]) -> str:
    """One hash of all the lines."""
    text = json.dumps(files, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is different, one phrase a file: `scripts/run.sh changed`, `a.py added`, `b.py missing`."""
    kinds = {path: "added" for path in now if path not in before}
    kinds |= {path: "missing" for path in before if path not in now}
    kinds |= {path: _how(before[path], now[path]) for path in before if path in now and before[path] != now[path]}
    return [f"{printable(path)} {kinds[path]}" for path in sorted(kinds)]


def _line(path: Path, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return f"link {os.readlink(path)}"  # noqa: PTH115 - the text of the link, as it is
    if not stat.S_ISREG(mode):
        raise TrustError("is neither a file nor a link", where=path, hint="take it out of the skill")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{'executable' if mode & stat.S_IXUSR else 'file'} {digest}"


def _how(before: str, now: str) -> str:
    kind, _, digest = now.partition(" ")
    return f"is {kind} now" if before.partition(" ")[2] == digest else "changed"
