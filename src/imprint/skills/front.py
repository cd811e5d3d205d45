"""The front matter of a SKILL.md: a flat, strict and cheap subset of YAML in which every scalar is text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from imprint.errors import SkillError

MAX_CHARACTERS = 32_000  # the YAML library takes about 20 s for a megabyte of small values
MAX_NESTING = 20
_MERGE = "<<"


def parse_front(path: Path, front: str, first_line: int) -> tuple[dict[str, Any], dict[str, int]]:
    """The values of the front matter, and the line of each key (`metadata.tasks` for a nested one).

    `1`, `no` and `2020-01-01` are texts, as the specification's reference library has them, and no value is "". Anchors
    and aliases are refused (a page of them can unfold to gigabytes, and no skill needs one), and so are tags, deep
    nesting, keys given twice and merged maps.

    Args:
        path: the file, for errors.
        front: the text between the two `---` lines.
        first_line: the 1-based line of the file on which `front` starts.

    Raises:
        SkillError: with the line at fault.
    """
    if len(front) > MAX_CHARACTERS:
        problem = f"the front matter is over {MAX_CHARACTERS:,} characters"
        raise SkillError(problem, where=path, line=first_line, hint="move long texts to the page below it")
    try:
        loader = _StrictLoader(front)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise SkillError(
                "the front matter is not keys with values", where=path, line=first_line, hint="write `name: ...`"
            )
        marks = _marks(node)
        values = {key.value: loader.construct_object(value, deep=True) for key, value in node.value}
    except (ValueError, OverflowError) as error:  # an escape that is no character
        raise SkillError(
            f"broken YAML: {printable(str(error))}", where=path, line=first_line, hint="fix the escapes in quotes"
        ) from error
    except _RefusedError as error:
        line = _line(front, first_line, error.index)
        raise SkillError(error.problem, where=path, line=line, key=error.key, hint=error.hint) from error
    except yaml.YAMLError as error:
        line = _line(front, first_line, _position(error))
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        raise SkillError(
            f"broken YAML: {what}", where=path, line=line, hint="quote values that hold ': ', '#' or quotes"
        ) from error
    return values, {key: _line(front, first_line, index) for key, index in marks.items()}


def printable(text: str, longest: int = 80) -> str:
    """Untrusted text as a message may show it: short, and without characters that a terminal obeys."""
    text = text if len(text) <= longest else text[:longest] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]


class _RefusedError(Exception):
    """Sound YAML that has no place in front matter, at a character of the text."""

    def __init__(self, problem: str, mark: Any, hint: str, key: str | None = None) -> None:
        super().__init__(problem)
        self.problem, self.index, self.hint, self.key = problem, int(mark.index), hint, key


class _StrictLoader(yaml.BaseLoader):
    """Refuses while it reads, so that hostile text costs no more than its length."""

    nesting = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:  # an alias event has one too
            raise _RefusedError("aliases and anchors are not allowed", event.start_mark, "write the value out")
        if getattr(event, "tag", None) is not None:
            raise _RefusedError("tags are not allowed", event.start_mark, "leave the tag away: every value is text")
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise _RefusedError("is nested too deeply", event.start_mark, "keep the values flat")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.nesting -= 1
        return node


def _marks(node: yaml.MappingNode, prefix: str = "") -> dict[str, int]:
    """Where each key stands, as an index into the text; keys of nested maps with a dot."""
    marks: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _RefusedError("a key is not a word", key.start_mark, "write `name: ...`")
        name = prefix + key.value
        if key.value == _MERGE and key.style is None:
            raise _RefusedError("merged maps are not allowed", key.start_mark, "write the values out", printable(name))
        if name in marks:
            raise _RefusedError("is given twice", key.start_mark, "keep one of them", printable(name))
        marks[name] = key.start_mark.index
        if isinstance(value, yaml.MappingNode):
            marks |= _marks(value, f"{name}.")
    return marks


def _position(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None)
    return int(mark.index if mark is not None else getattr(error, "position", 0))


def _line(front: str, first_line: int, index: int) -> int:
    # Counted here, because YAML ends lines at U+0085 and U+2028 too, and editors do not.
    return first_line + front.count("\n", 0, index)
