"""The files that a page names, and whether they are there; and links in a skill's folder that lead elsewhere.

Paths are walked one part at a time and links are read, not followed, so that nothing outside the folder is read.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from imprint.skills.front import printable
from imprint.skills.validate.issue import Issue, issue

MAX_LISTED = 20  # of one kind
MAX_MENTIONS, MAX_REFERENCES = 20_000, 2_000
MAX_ENTRIES = 20_000
MAX_LINKS = 40
USUAL = ("scripts", "references", "assets")
Place = Literal["there", "missing", "outside"]

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LINK = re.compile(r"\]\([ \t]*<?([^()\s<>\"]{1,1000})")
_PATH = re.compile(rf"(?<![\w./\\-])(?:\./)?((?:{'|'.join(USUAL)})/[\w./-]{{1,1000}})")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//|#|\?")
_PLACEHOLDER = re.compile(r"[{}<>$*|\\]|\.\.\.")


def check_references(body: str, first_line: int, page: Path, folder: Path) -> list[Issue]:
    """The problems of the files that a page links to, or names in the usual folders."""
    issues: list[Issue] = []
    counts: dict[str, int] = {}
    for path, at in _references(body, folder):
        found = _problem(path, folder)
        if found is None:
            continue
        rule, problem, hint = found
        counts[rule] = counts.get(rule, 0) + 1
        if counts[rule] <= MAX_LISTED:
            issues.append(issue(rule, problem, page, first_line + body.count("\n", 0, at), hint=hint))
    return issues


def check_links(folder: Path) -> list[Issue]:
    """The symbolic links in a skill's folder, and whether it holds more than can be checked."""
    issues: list[Issue] = []
    waiting, seen = [folder], 0
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MAX_ENTRIES:
                        problem = f"holds over {MAX_ENTRIES:,} files, and they were not all checked"
                        return [*issues, issue("folder-large", problem, folder, hint="a skill is a few files")]
                    if entry.is_symlink():
                        issues += _link(Path(entry.path), folder) if len(issues) < MAX_LISTED else []
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
        except OSError as error:
            problem = f"cannot be looked into: {error.strerror}"
            issues.append(issue("folder-large", problem, here, hint="check its permissions"))
    return issues


def place_of(path: str, folder: Path) -> Place:
    """Where a path leads, seen from a folder: to something in it, to nothing, or out of it."""
    root = os.path.realpath(folder)
    waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    here, links = root, 0
    while waiting:
        part = waiting.pop()
        here = os.path.dirname(here) if part == ".." else os.path.join(here, part)  # noqa: PTH118, PTH120
        if here != root and not here.startswith(root.rstrip("/") + "/"):
            return "outside"
        try:
            target = os.readlink(here) if os.path.islink(here) else None  # noqa: PTH114, PTH115
        except (OSError, ValueError):
            return "missing"
        if target is not None:
            links += 1
            if links > MAX_LINKS:
                return "missing"
            if target.startswith("/"):
                if target != root and not target.startswith(root.rstrip("/") + "/"):
                    return "outside"
                target, here = target[len(root) :], root
            else:
                here = os.path.dirname(here)  # noqa: PTH120
            waiting += [piece for piece in reversed(target.split("/")) if piece not in ("", ".")]
    try:
        return "there" if os.path.lexists(here) else "missing"
    except (OSError, ValueError):
        return "missing"


def _references(body: str, folder: Path) -> Iterator[tuple[str, int]]:
    """Each path once, with the place of its first mention; what stands in code blocks is an example."""
    prose = _without_code(body)
    own: set[str] = set()
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        own = {entry.name for entry in entries if entry.name in USUAL and entry.is_dir(follow_symlinks=False)}
    seen: set[str] = set()
    for pattern in (_LINK, _PATH):
        for match in islice(pattern.finditer(prose), MAX_MENTIONS):
            path = match[1]
            if pattern is _PATH:
                path = path.rstrip(".-/")
                if path.partition("/")[0] not in own:  # then it is of the user's project, and not of the skill
                    continue
            elif _SCHEME.match(path):
                continue
            path = re.split(r"[?#]", path, maxsplit=1)[0] if pattern is _LINK else path
            if path in seen or _PLACEHOLDER.search(path) or len(seen) >= MAX_REFERENCES:
                continue
            seen.add(path)
            yield path, match.start(1)


def _without_code(body: str) -> str:
    """The page with blanks for the lines of its code blocks, so that places stay what they were."""
    if "```" not in body and "~~~" not in body:
        return body
    lines, fence = body.split("\n"), ""
    for number, line in enumerate(lines):
        mark = _FENCE.match(line)
        if fence or mark:
            lines[number] = " " * len(line)
        if not fence and mark:
            fence = mark[1]
        elif fence and mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
            fence = ""
    return "\n".join(lines)


def _problem(path: str, folder: Path) -> tuple[str, str, str] | None:
    name = unquote(path)
    normal = posixpath.normpath(name)
    quoted = f"'{printable(path)}'"
    if "\0" in name:
        return "reference-missing", f"{quoted} is no path", "fix the path"
    if normal.startswith(("/", "~", "../")) or normal == "..":
        return "reference-outside", f"{quoted} leads out of the skill", "copy the file into the skill and name it there"
    place = place_of(name, folder)
    if place == "outside":
        return "reference-outside", f"{quoted} leads out of the skill over a link", "put the file itself there"
    if place == "missing":
        return "reference-missing", f"{quoted} is not there", "add the file or fix the path"
    if normal.count("/") > 1:
        return "reference-deep", f"{quoted} is over one folder deep", "keep the files that the page names one deep"
    return None


def _link(path: Path, folder: Path) -> list[Issue]:
    place = place_of(str(path.relative_to(folder)).replace(os.sep, "/"), folder)
    if place == "outside":
        return [issue("link-outside", "is a link that leads out of the skill", path, hint="put the file itself here")]
    problem = "is a link" if place == "there" else "is a link that leads nowhere"
    return [issue("link", problem, path, hint="put the file itself here")]
