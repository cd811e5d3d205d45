"""Text as rows of equal cells, a character in each: what a picture of it shows, before anything is drawn.

Words go to the next row where they do not fit, and those that no row can hold are cut. Nothing is lost: what a cell
cannot show (a control character, one that the font has not, a mark on top of another character) stands there by its
number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from imprint.context.config import Colour

TAB = 4
_WORD = re.compile(" +|[^ ]+")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its characters, and the colour of each; None is the text's own."""

    text: str
    colours: tuple[Colour | None, ...]


def rows(line: str, width: int, marks: Mapping[str, Colour], known: Callable[[str], bool]) -> Iterator[Row]:
    """The rows of one line of text; an empty one is one row.

    Args:
        line: without its line feed.
        width: cells in a row, at least 1.
        marks: literal strings and the colour in which they stand, e.g. `{"[Action]": (255, 0, 0)}`; of two that begin
            at one place the longer counts.
        known: whether the font has a character.
    """
    text, colours = _cells(unicodedata.normalize("NFC", line), marks, known)
    start = end = 0  # of the row
    for word in _WORD.finditer(text):
        if word.end() - start > width and end > start and text[word.start()] != " ":
            yield Row(text[start:end], colours[start:end])
            start = end
        while word.end() - start > width:  # blanks, and a word that no row can hold, are cut where the row ends
            yield Row(text[start : start + width], colours[start : start + width])
            start += width
        end = word.end()
    if end > start or not text:
        yield Row(text[start:end], colours[start:end])


def _cells(
    line: str, marks: Mapping[str, Colour], known: Callable[[str], bool]
) -> tuple[str, tuple[Colour | None, ...]]:
    """What stands in each cell, and in which colour."""
    text: list[str] = []
    colours: list[Colour | None] = []
    for character, colour in zip(line, _colours(line, marks), strict=True):
        if character == "\t":
            shown = " " * (TAB - len(text) % TAB)
        elif character == " " or (_takes_one_cell(character) and known(character)):
            shown = character
        else:
            shown = f"<U+{ord(character):04X}>"
        text += shown
        colours += [colour] * len(shown)
    return "".join(text), tuple(colours)


def _takes_one_cell(character: str) -> bool:
    wide = unicodedata.east_asian_width(character) in ("W", "F")
    return character.isprintable() and not wide and not unicodedata.category(character).startswith("M")


def _colours(line: str, marks: Mapping[str, Colour]) -> list[Colour | None]:
    colours: list[Colour | None] = [None] * len(line)
    for mark in sorted(marks, key=len):  # the longest last, so that it counts
        start = line.find(mark) if mark else -1
        while start >= 0:
            colours[start : start + len(mark)] = [marks[mark]] * len(mark)
            start = line.find(mark, start + len(mark))
    return colours
