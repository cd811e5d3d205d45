"""The parts of a Markdown page that whoever looks at it does not see: comments, and elements styled away."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST = 20_000  # of one part; what is unclosed is looked for no further
_LINK_COMMENT = re.compile(r"^[ \t]{0,3}\[//\]: # ([(\"'])(.*)[)\"']\s*$", re.MULTILINE)
_STYLED = re.compile(
    r"<(\w{1,20})\b[^<>]{0,300}(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0|\bhidden\b|"
    r"color\s*:\s*(?:white\b|#fff\b|#ffffff\b|transparent))[^<>]{0,300}>",
    re.IGNORECASE,
)
Part = tuple[int, int, str]  # where it begins and ends, and its text


def hidden_parts(page: str) -> list[Part]:
    """The parts in their order; none lies in another."""
    found = [*_comments(page), *_links(page), *_elements(page)]
    found.sort()
    apart: list[Part] = []
    for part in found:
        if not apart or part[0] >= apart[-1][1]:
            apart.append(part)
    return apart


def _comments(page: str) -> Iterator[Part]:
    at = page.find("<!--")
    while at >= 0:
        end = page.find("-->", at + 4)
        if end < 0:  # at the beginning of a line, it hides all that follows
            if page[page.rfind("\n", 0, at) + 1 : at].strip():
                return
            yield at, len(page), page[at + 4 :]
            return
        yield at, end + 3, page[at + 4 : end]
        at = page.find("<!--", end + 3)


def _links(page: str) -> Iterator[Part]:
    if "[//]" in page:
        for found in _LINK_COMMENT.finditer(page):
            yield found.start(), found.end(), found.group(2)


def _elements(page: str) -> Iterator[Part]:
    for found in _STYLED.finditer(page) if "<" in page else ():
        end = page.find(f"</{found.group(1)}", found.end(), found.end() + LONGEST)
        if end >= 0:
            yield found.start(), end, page[found.end() : end]
