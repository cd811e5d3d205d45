"""What the reference library does not look at in a page: its characters, its length, the files that it names."""

from __future__ import annotations

import re
from pathlib import Path

from imprint.skills.validate.issue import Issue, issue
from imprint.skills.validate.references import check_references

MAX_LINES = 500
MAX_TOKENS = 5_000
CHARACTERS_PER_TOKEN = 4  # about, for English

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# What reorders or hides text: marks of direction, spaces of no width, tags; not the joiners that scripts need.
_INVISIBLE = re.compile(
    r"[\u00ad\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e007f]"
)

_CHARACTERS = (
    ("control-character", _CONTROL, "control character"),
    ("invisible-character", _INVISIBLE, "invisible character"),
)


def check_characters(text: str, page: Path) -> list[Issue]:
    """Line ends, byte order marks, and characters that no reader sees; `text` is the file as it was decoded."""
    issues = []
    if text.startswith("\ufeff"):
        issues.append(issue("encoding", "starts with a byte order mark", page, 1, hint="save it as UTF-8 without one"))
    if "\r" in text:
        line = text.count("\n", 0, text.index("\r")) + 1
        issues.append(issue("encoding", "has line ends of Windows or old systems", page, line, hint="save it with LF"))
    for rule, pattern, what in _CHARACTERS:
        if pattern is _INVISIBLE and text.isascii():
            continue
        found = pattern.search(text, 1 if text.startswith("\ufeff") else 0)
        if found:
            count = sum(1 for _ in pattern.finditer(text, found.start()))
            others = f", the first of {count:,}" if count > 1 else ""
            line = text.count("\n", 0, found.start()) + 1
            problem = f"holds the {what} U+{ord(found[0]):04X}{others}"
            issues.append(issue(rule, problem, page, line, hint="remove it"))
    return issues


def check_body(body: str, first_line: int, page: Path, folder: Path) -> list[Issue]:
    """An empty page, a long one, and the problems of the files it names."""
    if not body.strip():
        hint = "write what to do below the front matter"
        return [issue("body-empty", "the page is empty", page, first_line, hint=hint)]
    issues = []
    lines, tokens = body.strip().count("\n") + 1, len(body) // CHARACTERS_PER_TOKEN
    if lines > MAX_LINES or tokens > MAX_TOKENS:
        problem = f"the page has {lines:,} lines and about {tokens:,} tokens, over {MAX_LINES} or {MAX_TOKENS:,}"
        issues.append(issue("body-long", problem, page, first_line, hint="move long material to references/"))
    return issues + check_references(body, first_line, page, folder)
