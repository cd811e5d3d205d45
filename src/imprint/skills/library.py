"""A library of skills: which skills there are, and which of them serve a task."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path

from imprint.errors import LibraryError
from imprint.skills.config import SkillsConfig
from imprint.skills.reading import Reading, read_skills, unfit
from imprint.skills.skill import Skill


class SkillLibrary:
    """Skills by name: general ones first, then by name. It never changes: a `LibraryEdit` makes another.

    Raises:
        LibraryError: two skills share a name.
    """

    def __init__(self, skills: Iterable[Skill], where: str | Path | None = None) -> None:
        self.skills = tuple(sorted(skills, key=lambda skill: (not skill.general, skill.name)))
        self.where = where
        self._by_name = {skill.name: skill for skill in self.skills}
        for name, count in Counter(skill.name for skill in self.skills).items():
            if count > 1:
                raise LibraryError(f"two skills are called {name!r}", where=where, hint="rename one of them")

    @classmethod
    def load(cls, folder: str | Path, *, lenient: bool = False) -> SkillLibrary:
        """The skills below `folder`, with the tasks that a `groups.json` gives them; see `load_library`."""
        return load_library(Path(folder), lenient=lenient)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    @cached_property
    def content_hash(self) -> str:
        """One hash of the skills: libraries with equal skills have the same, wherever they were read from."""
        keys = [field.name for field in fields(Skill) if field.compare]
        rows = [{key: getattr(skill, key) for key in keys} for skill in sorted(self.skills, key=lambda one: one.name)]
        text = json.dumps([{**row, "metadata": dict(row["metadata"])} for row in rows], sort_keys=True)
        return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()

    def __len__(self) -> int:
        return len(self.skills)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Skill:
        if name not in self._by_name:
            raise LibraryError(
                f"no skill is called {name!r}", where=self.where, hint=f"there are: {', '.join(self.names)}"
            )
        return self._by_name[name]

    def serving(self, category: str) -> tuple[Skill, ...]:
        """The skills that serve a task category, general ones first."""
        return tuple(skill for skill in self.skills if skill.serves(category))

    def check(self, categories: Sequence[str], *, unserved: bool = False) -> None:
        """Every category is served by a skill, unless those may be `unserved`, and every skill serves a category.

        Raises:
            LibraryError: all problems, with the file and the key for each skill.
        """
        found = unfit(self.skills, categories, unserved=unserved)
        Reading(self.where, problems=found).refuse()


def load_library(
    skills: str | Path | SkillsConfig, *, lenient: bool = False, categories: Sequence[str] | None = None
) -> SkillLibrary:
    """The library that a recipe's `skills` names: an installed one (`household`), or a folder.

    Args:
        lenient: read skills as real clients do (`imprint.skills.lenient`).
        categories: of a world, if the skills are to fit its tasks.

    Raises:
        LibraryError: there is neither, it holds no skills, or it has problems; one error names them all.
        RecipeError: the package that brings the library cannot be imported.
        SkillError: only skills have problems, likewise.
    """
    found = read_skills(skills, lenient=lenient, categories=categories)
    found.refuse(lenient=lenient)
    return SkillLibrary(found.skills, found.where)
