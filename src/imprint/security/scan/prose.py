"""Rules over sentences, and whether a sentence orders, forbids or describes what it names."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from imprint.security.scan.documents import Document
from imprint.security.scan.report import Finding, evidence
from imprint.security.scan.rules import context, load_rules

MAX_CHARACTERS = 1_000_000
_NEAR = r"(?:\W+\w+){0,6}\W*$"
NEAR = 800  # characters of a sentence on either side of a match
_BREAK = re.compile(r"(?<=[.!?:;])[)\"'*_]{0,8}\s++(?=[A-Z*_`\"'(\d-])|\n(?=[ \t]*(?:[-*+>#|]|\d+[.)]\s|\n|$))")


def scan_prose(document: Document) -> Iterator[Finding]:
    """What the sentences of a document say, as far as a rule asks."""
    source = document.text[:MAX_CHARACTERS]
    text = sentences(source)
    lower = text.lower()
    places = Places(source)
    for rule in load_rules()["prose"]:
        if rule.pattern is None or (rule.roles and document.role not in rule.roles):
            continue
        for found in rule.candidates(text, lower):
            begin, sentence = _sentence(text, found)
            before = text[begin : found.start()]
            if rule.unless is not None and rule.unless.search(sentence):
                continue
            if rule.negatable and context("negation", _NEAR).search(before):
                continue
            lost = 0 if document.role == "comment" else _lost(places.heading(found.start()), before, sentence, found)
            severity = rule.severity_in(document.role).lowered(lost)
            line = document.line + places.line(found.start())
            yield Finding(rule.id, severity, document.file, line, evidence(sentence), rule.why)


class Places:
    """Lines and headings of a text by index, found without reading it again."""

    def __init__(self, text: str) -> None:
        self._lines = [found.start() for found in re.finditer("\n", text)]
        headings = list(re.finditer(r"^#{1,6} (.*)$", text, re.MULTILINE))
        self._headings, self._titles = [found.start() for found in headings], [found.group(1) for found in headings]

    def line(self, index: int) -> int:
        """How many lines lie before."""
        return bisect_left(self._lines, index)

    def heading(self, index: int) -> str:
        """The heading under which an index lies, empty before the first."""
        place = bisect_right(self._headings, index)
        return self._titles[place - 1] if place else ""


def _sentence(text: str, found: re.Match[str]) -> tuple[int, str]:
    """Where the sentence around a match begins, and the sentence; of a very long one, what is near."""
    begin = max(text.rfind("\n", max(0, found.start() - NEAR), found.start()) + 1, found.start() - NEAR, 0)
    end = text.find("\n", found.end(), found.end() + NEAR)
    return begin, text[begin : end if end >= 0 else found.end() + NEAR]


def sentences(text: str) -> str:
    """The same text, character for character, with a line end after each sentence and only there."""
    flat, parts, last = text.replace("\n", " "), [], 0
    for found in _BREAK.finditer(text):
        if found.group():
            parts.append(flat[last : found.end() - 1])
            last = found.end()
    return "\n".join([*parts, flat[last:]])


def _lost(heading: str, before: str, sentence: str, found: re.Match[str]) -> int:
    """How many steps a finding loses because the sentence talks about such an order instead of giving it."""
    rest = sentence.replace(found.group(), " ")
    if (
        _quoted(before)
        or context("describes").search(rest)
        or sentence.lstrip().startswith("|")
        or context("bad_heading").search(heading)
    ):
        return 2
    return 0


def _quoted(before: str) -> bool:
    """Whether the match begins inside quotation marks or code."""
    if before.count("`") % 2 or before.count('"') % 2:
        return True
    return before.count("\u201c") > before.count("\u201d")
