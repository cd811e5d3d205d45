"""How conditions are named and ordered in tables. It imports nothing, so that the command line starts quickly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

__all__ = ["COLUMNS", "HIDDEN", "ROLES", "SHOWN", "ordered", "spelled"]

SHOWN, HIDDEN = "with", "without"  # the conditions that show all skills, and none
ROLES = (SHOWN, HIDDEN)  # as charts set them against each other
COLUMNS = (HIDDEN, SHOWN)  # as tables list them: what training is for comes first
Item = TypeVar("Item")


def ordered(names: Iterable[Item], name_of: Callable[[Item], str] = str, first: Sequence[str] = ROLES) -> list[Item]:
    """Distinct condition names (or what has one): `first` ones first, then others as they come."""
    rank = {name: place for place, name in enumerate(first)}
    return sorted(dict.fromkeys(names), key=lambda item: rank.get(name_of(item), len(rank)))


def spelled(condition: str) -> str:
    """A condition in a heading: `with skills`, `without skills`, or its own name."""
    return f"{condition} skills" if condition in ROLES else condition
