"""A bank's lists of rules as pages that a model reads, and what was edited in a page, back into the list.

A page keeps every word of the fields that it shows; what it does not show (ids, extra keys) and what a page cannot hold
(control characters) is taken from the items it was made of. So a field that was not edited comes back as it was.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

Item = Mapping[str, Any]
Fields = tuple[str, ...]  # the text of an item's fields, in the order of its `Kind`


class New(dict[str, Any]):
    """An item that has no id yet."""


_RULE = re.compile(r"(?m)^\d+\.(?:[ \t]+|$)")
_SECTION = re.compile(r"(?m)^##(?:[ \t]+|$)")
_HEADING = re.compile(r"(?m)^(?=##?(?:[ \t]|$))")
_BOLD = re.compile(r"\*\*(.+?)\*\*\s*", re.DOTALL)
_LIKE = 0.5  # an edited rule is the one it was if it is at least so similar to it


@dataclass(frozen=True, slots=True)
class Kind:
    """What the items of a list are: the field in bold, the field that follows it, and those with a label."""

    id: str
    title: str
    text: str | None
    labels: tuple[tuple[str, str], ...]

    @property
    def fields(self) -> Fields:
        return (self.title, *([] if self.text is None else [self.text]), *(field for field, _ in self.labels))


SKILLS = Kind("skill_id", "title", "principle", (("when_to_apply", "When to apply:"),))
MISTAKES = Kind(
    "mistake_id", "description", None, (("why_it_happens", "Why it happens:"), ("how_to_avoid", "How to avoid it:"))
)


def clean(text: str) -> str:
    """Text without the characters that a page must not hold."""
    spaced = text.replace("\r\n", "\n").replace("\t", " ")
    return "".join(c for c in spaced if c == "\n" or unicodedata.category(c) not in ("Cc", "Cs")).strip()


def fold(text: str) -> str:
    """Text on one line."""
    return " ".join(clean(text).split())


def render(intro: str, items: Sequence[Item], kind: Kind) -> str:
    """The page: numbered rules, or sections if any of them has several lines."""
    blocks = [_block(item, kind, _long(items, kind)) for item in items]
    if _long(items, kind):
        return "\n\n".join([intro, *(f"## {block}" for block in blocks)])
    return "\n".join([f"{intro}\n", *(f"{number}. {block}" for number, block in enumerate(blocks, start=1))])


def merge(body: str, intro: str, items: Sequence[Item], kind: Kind) -> tuple[list[Item], bool]:
    """What `items` have become in a page that was `render(intro, items, kind)`.

    An item that was changed keeps its id and every key that the page does not show; a new one has no id yet.

    Returns:
        the items in the page's order, and whether the page holds text beside them.
    """
    if body.strip() == render(intro, items, kind).strip():
        return list(items), False
    long = _long(items, kind)
    before, blocks = _blocks(body, long)
    found = [_parse(block, kind, long) for block in blocks]
    known = [_parse(_block(item, kind, long), kind, long) for item in items]
    merged: list[Item] = [
        new_item(fields, kind) if owner is None else _changed(items[owner], known[owner], fields, kind)
        for fields, owner in zip(found, _owners(found, known), strict=True)
    ]
    return merged, fold(before) not in ("", fold(intro))


def split(body: str, kind: Kind) -> tuple[str, list[Fields]]:
    """What stands before the first rule or section, and the fields of each."""
    long = bool(_SECTION.search(body))
    before, blocks = _blocks(body, long)
    return before, [_parse(block, kind, long) for block in blocks]


def has_rules(body: str) -> bool:
    """Whether a page that comes from no bank is written as these are: rules or sections with a title each."""
    long = bool(_SECTION.search(body))
    blocks = _blocks(body, long)[1]
    return long or (bool(blocks) and all(_BOLD.match(block) for block in blocks))


def _long(items: Sequence[Item], kind: Kind) -> bool:
    return any("\n" in clean(str(item.get(field) or "")) for item in items for field in kind.fields[1:])


def _block(item: Item, kind: Kind, long: bool) -> str:
    tidy = clean if long else fold
    title = fold(str(item.get(kind.title) or "").replace("*", ""))
    if title and not long:
        title = f"**{title}{'' if title.endswith(tuple('.!?:')) else '.'}**"
    texts = [] if kind.text is None else [tidy(str(item.get(kind.text) or ""))]
    labelled = [f"{label} {text}" for field, label in kind.labels if (text := tidy(str(item.get(field) or "")))]
    parts = [_HEADING.sub("##", part) if long else part for part in (*texts, *labelled) if part]
    return "\n\n".join([title, *parts]) if long else " ".join(filter(None, [title, *parts]))


def _blocks(body: str, long: bool) -> tuple[str, list[str]]:
    marks = list((_SECTION if long else _RULE).finditer(body))
    ends = [*(mark.start() for mark in marks[1:]), len(body)]
    blocks = [body[mark.end() : end] for mark, end in zip(marks, ends[-len(marks) :] if marks else [], strict=True)]
    return body[: marks[0].start() if marks else len(body)], blocks


def _parse(block: str, kind: Kind, long: bool) -> Fields:
    """The text of the fields in one section or rule."""
    if long:
        title, _, rest = block.partition("\n")
    elif bold := _BOLD.match(block):
        title, rest = bold[1], block[bold.end() :]
    else:
        title, rest = ("", block) if kind.text is not None else (block, "")
    labelled: list[str] = []
    for _, label in reversed(kind.labels):
        place = rest.rfind(label)
        rest, value = (rest, "") if place < 0 else (rest[:place], rest[place + len(label) :])
        labelled.insert(0, value.strip())
    texts = [] if kind.text is None else [rest.strip()]
    fields = (title.strip().removesuffix("."), *texts, *labelled)
    return fields if long else tuple(fold(field) for field in fields)


def _owners(found: Sequence[Fields], known: Sequence[Fields]) -> list[int | None]:
    """Which known item each found one is: the same, else one of the same title, else the most similar."""
    owners: list[int | None] = [None] * len(found)
    left = dict.fromkeys(range(len(known)))
    keys: tuple[Callable[[Fields], object], ...] = (_folded, lambda fields: fold(fields[0]))
    for key in keys:
        waiting: defaultdict[object, deque[int]] = defaultdict(deque)
        for owner in left:
            waiting[key(known[owner])].append(owner)
        for place, fields in enumerate(found):
            if owners[place] is None and key(fields) and waiting[key(fields)]:
                owner = owners[place] = waiting[key(fields)].popleft()
                del left[owner]
    for place, fields in enumerate(found):
        if owners[place] is None and left:
            nearest = max(left, key=lambda owner: (_likeness(known[owner], fields), -owner))
            if _likeness(known[nearest], fields) >= _LIKE:
                owners[place] = nearest
                del left[nearest]
    return owners


def _likeness(one: Fields, other: Fields) -> float:
    return SequenceMatcher(None, " ".join(one), " ".join(other), autojunk=False).ratio()


def _folded(fields: Fields) -> Fields:
    return tuple(fold(field) for field in fields)


def _changed(item: Item, before: Fields, now: Fields, kind: Kind) -> dict[str, Any]:
    """`item` with the fields that read otherwise than they did; a field that is gone from the page is empty."""
    changed = dict(item)
    for field, old, new in zip(kind.fields, before, now, strict=True):
        if fold(old) != fold(new):
            changed[field] = new
    return changed


def new_item(fields: Fields, kind: Kind) -> New:
    """An item of these fields."""
    return New({kind.id: "", **dict(zip(kind.fields, fields, strict=True))})
