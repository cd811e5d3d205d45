"""What is shown to a policy beside its task."""

from __future__ import annotations

from dataclasses import dataclass

from imprint.skills.skill import Skill
from imprint.types import Exemplar


@dataclass(frozen=True, slots=True)
class Shown:
    """The skills, and the solved tasks after them."""

    skills: tuple[Skill, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the skills, in the order shown."""
        return tuple(skill.name for skill in self.skills)

    @property
    def key(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Equal for equal texts of one library: the skills' names and the exemplars' tasks."""
        return self.names, tuple(exemplar.task.id for exemplar in self.exemplars)

    def describe(self) -> str:
        """In words, for an error."""
        exemplars = f" and {len(self.exemplars)} exemplars" if self.exemplars else ""
        return f"{len(self.skills)} skills{exemplars}"
