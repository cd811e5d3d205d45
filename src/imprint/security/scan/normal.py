"""Unicode tricks undone: what a model reads in a text, and what a person looking at it would not have seen."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MIN_HIDDEN_RUN = 12  # zero-width characters in a row that can only be a message
MIN_BLANK_LINES = 60
MIN_BLANK_SPACES = 200


@dataclass(frozen=True, slots=True)
class Hidden:
    """A trick in a text, and what it hides; `kind` is one of tags, zero-width, bidi, terminal, homoglyph, padding."""

    kind: str
    line: int
    text: str


# Letters of other scripts that look like Latin ones.
_ALIKE_LETTERS = "аесорхуіѕјԁԛԝһӏАВЕКМНОРСТХУІЅЈΑΒΕΖΗΙΚΜΝΟΡΤΥΧοανιρυɡѵ"
_ALIKE = re.compile(f"[{_ALIKE_LETTERS}]")
_LOOKALIKES = str.maketrans(_ALIKE_LETTERS, "aecopxyisjdqwhlABEKMHOPCTXYISJABEZHIKMNOPTYXoavipugv")
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]{0,40}[ -/]{0,10}[@-~]|\][^\x07\x1b\n]{0,300}(?:\x07|\x1b\\)|.)")
_ZERO_WIDTH = re.compile("[\u200b-\u200f\u2060-\u2064\ufeff\u00ad\u180e\u034f\u061c]+")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_TAGS = re.compile("[\U000e0001-\U000e007f]+")
_SELECTORS = re.compile("[\U000e0100-\U000e01ef]{4,}|[\ufe00-\ufe0e]{4,}")
_MIXED = re.compile(r"[^\W\d_]+")
_BLANK = r"[ \t\u00a0\u3000]"
_PADDING = re.compile(rf"\n(?:[ \t\r]*+\n){{{MIN_BLANK_LINES},}}+|(?<!{_BLANK}){_BLANK}{{{MIN_BLANK_SPACES},}}+(?=\S)")


def normalise(text: str) -> tuple[str, list[Hidden]]:
    """The text as a reader of its meaning has it, line for line, and the tricks found in it."""
    hidden = [
        Hidden("padding", _line(text, found.end()), text[found.end() : found.end() + 200].strip())
        for found in _PADDING.finditer(text)
        if text[found.end() :].strip()
    ]
    if "\x1b" in text:
        hidden += [
            Hidden("terminal", _line(text, found.start()), found.group())
            for found in list(_TERMINAL.finditer(text))[:20]
        ]
        text = _TERMINAL.sub("", text)
    if text.isascii():
        return text, hidden
    text = _without_tags(text, hidden)
    for found in _SELECTORS.finditer(text):
        hidden.append(Hidden("tags", _line(text, found.start()), _selected(found.group())))
    for found in _ZERO_WIDTH.finditer(text):
        before, after = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
        inside = (
            before.isascii()
            and before.isalpha()
            and after.isascii()
            and after.isalpha()
            and "\u00ad" not in found.group()
        )
        if inside or len(found.group()) >= MIN_HIDDEN_RUN:
            hidden.append(Hidden("zero-width", _line(text, found.start()), _around(text, found.start())))
    text = _ZERO_WIDTH.sub("", text)
    for found in _BIDI.finditer(text):
        if found.group() in "\u202d\u202e":
            hidden.append(Hidden("bidi", _line(text, found.start()), _around(text, found.start())))
    text = _BIDI.sub("", text)
    if not unicodedata.is_normalized("NFKC", text):
        text = "\n".join(unicodedata.normalize("NFKC", line) for line in text.split("\n"))
    if not _ALIKE.search(text):
        return text, hidden
    return _MIXED.sub(lambda found: _latin(found, text, hidden), text), hidden


def _without_tags(text: str, hidden: list[Hidden]) -> str:
    """Tag characters are invisible ASCII; they become visible, unless they are a flag's."""
    out, last = [], 0
    for found in _TAGS.finditer(text):
        hidden_text = "".join(chr(ord(c) - 0xE0000) for c in found.group() if 0xE0020 <= ord(c) < 0xE007F)
        out.append(text[last : found.start()])
        last = found.end()
        if text[found.start() - 1 : found.start()] != "\U0001f3f4":
            hidden.append(Hidden("tags", _line(text, found.start()), hidden_text))
            out.append(f" {hidden_text} ")
    return "".join([*out, text[last:]])


def _selected(run: str) -> str:
    """Variation selectors can carry a byte each."""
    data = bytes((ord(c) - 0xE0100 + 16) & 0xFF if ord(c) > 0xFFFF else ord(c) - 0xFE00 for c in run)
    return data.decode("utf-8", "replace")


def _latin(found: re.Match[str], text: str, hidden: list[Hidden]) -> str:
    """A word of Latin letters and lookalikes is meant as Latin."""
    word = found.group()
    if word.isascii():
        return word
    plain = word.translate(_LOOKALIKES)
    if not plain.isascii() or not any(c.isascii() for c in word) or len(word) < 3:
        return word
    hidden.append(Hidden("homoglyph", _line(text, found.start()), f"{word} for {plain}"))
    return plain


def _line(text: str, index: int) -> int:
    return text.count("\n", 0, index) + 1


def _around(text: str, index: int) -> str:
    return text[max(0, index - 40) : index + 40].replace("\n", " ")
