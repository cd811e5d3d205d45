"""Front matter that StrictYAML refuses, read as clients read it: ordinary YAML, or else line by line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from imprint.errors import SkillError
from imprint.skills.front import parse_front
from imprint.skills.validate.strict import MAX_CHARACTERS, MAX_VALUES, Value

_ENTRY = re.compile(r"([A-Za-z][\w.-]*)[ \t]*:(?:[ \t]+(.*)|)")


def read_loose(text: str) -> Value | None:
    """The map that the front matter was probably meant to be; None if there is nothing like one.

    Anchors are never followed, as everywhere; `text` is at most as long as strict reading allows.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    try:
        values, lines = parse_front(Path(), text, first_line=1)
    except SkillError:
        return _by_line(text)
    starts = _line_starts(text)
    root = Value("map", 0)
    for key, value in values.items():
        at = starts[min(lines[key] - 1, len(starts) - 1)]
        root.entries[key] = Value(_kind(value), at, value if isinstance(value, str) else "", key_index=at)
    return root


def loose_values(text: str) -> dict[str, Any] | None:
    """The same map as plain values: texts, lists and maps of texts."""
    try:
        return parse_front(Path(), text, first_line=1)[0]
    except SkillError:
        root = _by_line(text[:MAX_CHARACTERS])
        return None if root is None else {key: value.text for key, value in root.entries.items()}


def _kind(value: Any) -> Any:
    return "text" if isinstance(value, str) else "map" if isinstance(value, dict) else "list"


def _by_line(text: str) -> Value | None:
    """Each `key: value` at the start of a line; what is indented below belongs to it, the first of a key counts."""
    found: dict[str, tuple[int, list[str]]] = {}
    at, lines = 0, None
    for line in text.split("\n"):
        if entry := _ENTRY.fullmatch(line):
            lines = [(entry[2] or "").strip()]
            if len(found) < MAX_VALUES:
                found.setdefault(entry[1], (at, lines))
        elif lines is not None and line[:1] in (" ", "\t"):
            lines.append(line.strip())
        at += len(line) + 1
    entries = {key: Value("text", at, _unquoted("\n".join(lines)), key_index=at) for key, (at, lines) in found.items()}
    return Value("map", 0, entries=entries) if entries else None


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer("\n", text))]
