"""Where skills are in a tree of untrusted folders."""

from __future__ import annotations

import os
from pathlib import Path

from imprint.errors import LibraryError
from imprint.skills.skill import FILE_NAMES

MAX_DEPTH = 40
MAX_ENTRIES = 500_000
SKIPPED = frozenset({".git", "node_modules", "__pycache__"})


def find_skills(root: str | Path) -> list[Path]:
    """Every skill folder at or under `root`, in the order of their paths; the root itself if it is one.

    A skill folder holds a SKILL.md, however it is spelt (one that is miswritten should be heard of, not skipped). What
    lies below one belongs to it and is not searched. Linked folders are not entered: what they lead to is found
    where it lies, if it lies under `root`. Dot folders are searched, for clients keep skills in such.

    Raises:
        LibraryError: `root` is no folder, a folder cannot be read, or the tree is too deep or too large.
    """
    root = Path(root)
    found: list[Path] = []
    waiting, entries = [(root, 0)], 0
    while waiting:
        folder, depth = waiting.pop()
        below, is_skill, count = _look(folder)
        entries += count
        if entries > MAX_ENTRIES:
            problem = f"holds over {MAX_ENTRIES:,} files and folders"
            raise LibraryError(problem, where=root, hint="give a folder nearer to the skills")
        if is_skill:
            found.append(folder)
            continue
        if below and depth == MAX_DEPTH:
            problem = f"is nested {MAX_DEPTH} folders deep, and there are more below it"
            raise LibraryError(problem, where=folder, hint="give a folder nearer to the skills")
        waiting += [(entry, depth + 1) for entry in below]
    return sorted(found)


def _look(folder: Path) -> tuple[list[Path], bool, int]:
    """The folders to search in a folder, whether it is a skill, and how many entries were seen."""
    below, is_skill, count = [], False, 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                count += 1
                if count > MAX_ENTRIES:
                    break
                is_skill |= entry.name.lower() == FILE_NAMES[1]
                if entry.name not in SKIPPED and entry.is_dir(follow_symlinks=False):
                    below.append(folder / entry.name)
    except NotADirectoryError as error:
        raise LibraryError("is not a folder", where=folder, hint="give a folder of SKILL.md folders") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LibraryError(f"cannot be read: {reason}", where=folder, hint="check the path") from error
    return below, is_skill, count
