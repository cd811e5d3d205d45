"""What skills cost in tokens, and how many of them fit into a context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Literal

from imprint.context.pages import load_templates, render_pages
from imprint.skills.skill import Skill


@dataclass(frozen=True, slots=True)
class Cost:
    """One skill's tokens: its line in a list of names and descriptions, its whole page, and both added up so far.

    Pages are counted one by one; together they can be a token shorter at each seam.
    """

    skill: str
    description: int
    page: int
    descriptions_so_far: int
    pages_so_far: int

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)


def costs(skills: Sequence[Skill], count: Callable[[str], int], style: Literal["plain", "chat"]) -> list[Cost]:
    """The cost of each skill, added up in the order given."""
    templates = load_templates(style)
    lines = [count(f"- {skill.name}: {skill.description}\n") for skill in skills]
    pages = [count(render_pages(templates, [skill])) for skill in skills]
    rows = zip(skills, lines, pages, accumulate(lines), accumulate(pages), strict=True)
    return [Cost(skill.name, *figures) for skill, *figures in rows]


def fitting(so_far: Sequence[int], limit: int) -> int:
    """How many skills fit, from the first on; one that does not fit ends the count, as it would end the context."""
    return sum(tokens <= limit for tokens in so_far)
