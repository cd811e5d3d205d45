"""How much a skill helps: which skills each of two conditions shows, and what their paired episodes give.

The conditions are only named here; `evaluate.py` plays them, on the same tasks and seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from imprint.errors import ImprintError, RecipeError
from imprint.measurement.conditions import WITHOUT, Condition, only, safe_name
from imprint.support.stats import paired_difference

__all__ = ["Kind", "SkillEvidence", "arms", "compared", "helpfulness_from_pairs"]

Kind = Literal["leave_one_out", "skill_vs_none", "all_vs_none"]


@dataclass(frozen=True, slots=True)
class SkillEvidence:
    """The paired evidence on one skill: `n` pairs, the successes under each condition, their difference.

    `helpfulness` is rate(with) - rate(without), in [-1, 1]; `interval` its 95% bounds; `kind` how the arms
    were formed.

    Raises:
        ImprintError: counts or figures that are impossible.
    """

    skill: str
    with_successes: int
    without_successes: int
    n: int
    helpfulness: float
    interval: tuple[float, float]
    kind: Kind

    def __post_init__(self) -> None:
        counts = 0 <= self.with_successes <= self.n and 0 <= self.without_successes <= self.n
        if not (counts and math.isfinite(self.helpfulness) and abs(self.helpfulness) <= 1):
            raise ImprintError(f"impossible evidence for the skill {self.skill!r}: {self}", hint="count pairs only")


def helpfulness_from_pairs(skill: str, with_E: Sequence[bool], without_E: Sequence[bool], kind: Kind) -> SkillEvidence:
    """The evidence that paired episodes give; without pairs it has n = 0, and `decide` abstains.

    Raises:
        ImprintError: the arms differ in length.
    """
    if len(with_E) == len(without_E) == 0:
        return SkillEvidence(skill, 0, 0, 0, 0.0, (-1.0, 1.0), kind)
    found = paired_difference(with_E, without_E)
    successes = sum(map(bool, with_E)), sum(map(bool, without_E))
    return SkillEvidence(skill, *successes, found.n, found.estimate, (found.low, found.high), kind)


def arms(kind: Kind, active: Sequence[str], skill: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The skills shown in the arms `with` and `without`, to measure `skill` while `active` is in force.

    - "leave_one_out": the active set with the skill, against the active set without it.
    - "skill_vs_none": the skill alone, against nothing.
    - "all_vs_none": the active set against nothing, on the skill's own tasks (Algorithm 1). A withdrawn skill
      joins the arm `with`: otherwise it would be judged by what the others do without it.
    """
    with_skill = (*active, skill) if skill not in active else tuple(active)
    if kind == "leave_one_out":
        return with_skill, tuple(name for name in active if name != skill)
    if kind == "skill_vs_none":
        return (skill,), ()
    if kind == "all_vs_none":
        return with_skill, ()
    raise RecipeError(
        f"unknown kind {kind!r}",
        key="helpfulness",
        hint="choose leave_one_out, skill_vs_none or all_vs_none",
    )


def compared(kind: Kind, active: Sequence[str], skill: str) -> tuple[Condition, Condition]:
    """The two conditions whose difference is the helpfulness of `skill`; see `arms`."""
    with_skill, without = arms(kind, active, skill)
    name = safe_name(skill)
    first = name if kind == "skill_vs_none" else "active" if skill in active else f"active+{name}"
    return only(first, with_skill), only(f"active-{name}", without) if kind == "leave_one_out" else WITHOUT
