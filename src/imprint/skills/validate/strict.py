"""Front matter as the reference library reads it: StrictYAML, a subset of YAML in which every scalar is text.

Read event by event, so that the cost is bounded by the length and nothing is built that the rules do not ask for. The
scanner is PyYAML's; what StrictYAML does otherwise is in `_Events`, and the differential test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from imprint.skills.front import printable

# The reference needs minutes for texts of such a size and overflows its stack a little below such a depth.
MAX_CHARACTERS = 200_000
MAX_VALUES = 10_000
MAX_NESTING = 200
_MERGE = "<<"


@dataclass(slots=True)
class Value:
    """A value: a text, a list (its items are not kept), a map, or a sign that YAML has for itself (`=`, `<<`)."""

    kind: Literal["text", "list", "map", "sign"]
    index: int
    text: str = ""
    entries: dict[str, Value] = field(default_factory=dict)
    key_index: int = 0  # where its key stands, in the same text


class StrictError(Exception):
    """What the reference refuses, at a character of the text; `limit` if it is we who refuse."""

    def __init__(self, problem: str, index: int, hint: str, *, limit: bool = False) -> None:
        super().__init__(problem)
        self.problem, self.index, self.hint, self.limit = problem, index, hint, limit


def read_strict(text: str) -> Value:
    """The map that the front matter is; the lines of `text` end in line feeds.

    Raises:
        StrictError: it is none, it is YAML that StrictYAML refuses, or it is over one of the limits.
    """
    if len(text) > MAX_CHARACTERS:
        problem = f"the front matter is over {MAX_CHARACTERS:,} characters"
        raise StrictError(problem, 0, "move long texts to the page below it", limit=True)
    try:
        root = _compose(_events(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        index = int(mark.index if mark is not None else getattr(error, "position", 0))
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        hint = "quote values that hold ': ', '#', tabs or quotes, and indent with spaces"
        raise StrictError(f"broken YAML: {printable(str(what))}", min(index, len(text)), hint) from error
    except (ValueError, OverflowError) as error:  # an escape that is no character
        raise StrictError(f"broken YAML: {printable(str(error))}", 0, "fix the escapes in quotes") from error
    if root is None or root.kind != "map":
        raise StrictError("the front matter is not keys with values", 0, "write `name: ...`")
    return root


class _Events(Reader, Scanner, Parser):
    """PyYAML's events, with what StrictYAML does otherwise: the lines of YAML 1.2, empty keys, some tabs."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)

    def forward(self, length: int = 1) -> None:
        """As PyYAML's, but only line feeds end a line."""
        passed = self.buffer[self.pointer : self.pointer + length]
        self.pointer += length
        self.index += length
        if "\n" in passed:
            self.line += passed.count("\n")
            self.column, passed = 0, passed.rpartition("\n")[2]
        self.column += len(passed) - passed.count("\ufeff")

    def parse_block_mapping_key(self) -> Any:
        """As PyYAML's, but a key may be empty: `: value`."""
        if not self.check_token(yaml.ValueToken):
            return super().parse_block_mapping_key()  # type: ignore[no-untyped-call]
        self.state = self.parse_block_mapping_value
        return self.process_empty_scalar(self.peek_token().start_mark)  # type: ignore[no-untyped-call]

    def parse_document_start(self) -> Any:
        """As PyYAML's, but a second `...` is a second document."""
        if self.check_token(yaml.DocumentEndToken):
            raise StrictError("a second document follows", self.peek_token().start_mark.index, "keep one of them")  # type: ignore[no-untyped-call]
        return super().parse_document_start()  # type: ignore[no-untyped-call]

    def scan_to_next_token(self) -> None:
        """As PyYAML's, but tabs are blank space too where they follow an empty line."""
        if self.index == 0 and self.peek() == "\ufeff":
            self.forward()
        while True:
            while self.peek() == " ":
                self.forward()
            if self.peek() == "#":
                while self.peek() not in "\0\r\n\x85\u2028\u2029":
                    self.forward()
                while self.scan_line_break():  # type: ignore[no-untyped-call]
                    self._new_line()
            elif self.scan_line_break():  # type: ignore[no-untyped-call]
                self._new_line()
                if self.peek() == "\n":
                    while self.scan_line_break() or self._blank():  # type: ignore[no-untyped-call]
                        pass
            else:
                return

    def _new_line(self) -> None:
        if not self.flow_level:
            self.allow_simple_key = True

    def _blank(self) -> bool:
        blank = self.peek() in "\t "
        if blank:
            self.forward()
        return blank


def _events(text: str) -> Iterator[Any]:
    """The events of the only document, without what stands around it."""
    source = _Events(text)
    while source.check_event():
        event = source.get_event()  # type: ignore[no-untyped-call]
        at = event.start_mark.index
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise StrictError("aliases and anchors are not allowed", at, "write the value out, or put it in quotes")
        if getattr(event, "tag", None) is not None:
            raise StrictError("tags are not allowed", at, "leave the tag away: every value is text")
        if getattr(event, "flow_style", False):
            raise StrictError("lists in [ ] and maps in { } are not allowed", at, "write one entry a line, or quote it")
        if isinstance(event, yaml.CollectionEndEvent | yaml.NodeEvent):
            yield event
        elif isinstance(event, yaml.DocumentEndEvent):
            following = source.peek_event()  # type: ignore[no-untyped-call]
            if not isinstance(following, yaml.StreamEndEvent):
                raise StrictError("a second document follows", following.start_mark.index, "keep one of them")


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come; in a map, `key` waits for its value."""

    value: Value
    only_maps: bool = False  # a list of what is merged
    key: tuple[str, int] | None = None
    merging: bool = False  # the key that waits is a merge
    merges: int = 0
    column: int | None = None  # of the maps that are values in it


def _compose(events: Iterator[Any]) -> Value | None:
    root: Value | None = None
    stack: list[_Open] = []
    for number, event in enumerate(events):
        if number > 2 * MAX_VALUES:
            problem = f"the front matter holds over {MAX_VALUES:,} values"
            raise StrictError(problem, event.start_mark.index, "keep it short", limit=True)
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
            continue
        value = _value(event)
        merged = bool(stack) and _place(stack[-1], value, event)
        root = root or value
        if value.kind in ("list", "map"):
            stack.append(_Open(value, only_maps=merged and value.kind == "list"))
            if len(stack) > MAX_NESTING:
                raise StrictError("is nested too deeply", value.index, "keep the values flat", limit=True)
    return root


def _value(event: Any) -> Value:
    at = event.start_mark.index
    if isinstance(event, yaml.ScalarEvent):
        sign = event.implicit[0] and event.value in ("=", _MERGE)  # for StrictYAML no text, where it is a value
        return Value("sign" if sign else "text", at, event.value)
    return Value("map" if isinstance(event, yaml.MappingStartEvent) else "list", at)


def _place(parent: _Open, value: Value, event: Any) -> bool:
    """Put a value where it belongs in the collection around it; whether it is one to be merged."""
    if parent.value.kind == "list":
        if parent.only_maps and value.kind != "map":
            raise StrictError("only maps can be merged", value.index, "write the values out")
        return False
    if parent.key is None:
        parent.key = _key(parent, value, event)
        return False
    (name, value.key_index), parent.key = parent.key, None
    if parent.merging:  # the reference takes it in, and then shows nothing of it at the top
        parent.merging = False
        if value.kind not in ("list", "map"):
            raise StrictError("only maps can be merged", value.index, "write the values out")
        return True
    parent.value.entries[name] = value
    if value.kind == "map":
        column = event.start_mark.column
        if parent.column not in (None, column):
            raise StrictError("is indented otherwise than the map before it", value.index, "indent both alike")
        parent.column = column
    return False


def _key(parent: _Open, key: Value, event: Any) -> tuple[str, int]:
    if key.kind not in ("text", "sign"):
        raise StrictError("a key is not a word", key.index, "write `name: ...`")
    parent.merging = key.text == _MERGE and event.implicit[0]
    parent.merges += parent.merging
    if parent.merges > 1 if parent.merging else key.text in parent.value.entries:
        raise StrictError(f"'{printable(key.text)}' is given twice", key.index, "keep one of them")
    return key.text, key.index
