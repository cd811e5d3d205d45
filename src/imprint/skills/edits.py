"""A change to a library: which skills are added, replaced and removed, and of which library."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from imprint.errors import LibraryError
from imprint.skills.library import SkillLibrary
from imprint.skills.skill import Skill


@dataclass(frozen=True, slots=True)
class LibraryEdit:
    """What makes one library of another. `imprint.security.apply_edit` applies it.

    Attributes:
        parent: `content_hash` of the library that the edit was made for.
        skills: skills that are added, or that replace those of their names.
        removed: names of skills that are taken out.
    """

    parent: str
    skills: tuple[Skill, ...] = ()
    removed: tuple[str, ...] = ()

    def check(self, library: SkillLibrary) -> None:
        """See that the edit fits the library.

        Raises:
            LibraryError: it was made for another library, it names a skill twice, or one that it removes is not there.
        """
        if self.parent != library.content_hash:
            problem = f"the edit was made for the library {self.parent[:19]}, and this is {library.content_hash[:19]}"
            raise LibraryError(problem, where=library.where, hint="make the edit for the library as it is now")
        names = Counter([*(skill.name for skill in self.skills), *self.removed])
        for name, count in names.items():
            if count > 1:
                problem = f"the edit names the skill {name!r} {count} times"
                raise LibraryError(problem, where=library.where, hint="add, replace or remove it, once")
        for name in self.removed:
            library[name]  # raises for a skill that is not there
