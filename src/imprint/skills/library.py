"""A library of skills: which skills there are, and which of them serve a task."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path

from imprint.errors import LibraryError
from imprint.skills.front import printable
from imprint.skills.group_file import with_groups
from imprint.skills.installed import claims_a_skill, library_folder
from imprint.skills.lenient import read_lenient
from imprint.skills.skill import EVERY_TASK, Skill, skill_file


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
        """Every direct subfolder of `folder` that holds a SKILL.md, with the tasks that a `groups.json` gives them.

        Args:
            lenient: read skills as real clients do (`imprint.skills.lenient`).

        Raises:
            LibraryError: there are none, or the groups do not fit them.
            SkillError: one of them is not valid.
        """
        folder = Path(folder)
        try:
            found = [entry for entry in sorted(folder.iterdir()) if claims_a_skill(entry)]
        except NotADirectoryError as error:
            raise LibraryError("is not a folder", where=folder, hint="give a folder of skill folders") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            at_fault = getattr(error, "filename", None) or folder
            hint = "check the path and its permissions"
            raise LibraryError(f"cannot be read: {reason}", where=at_fault, hint=hint) from error
        if not found:
            raise LibraryError("holds no skills", where=folder, hint="put skills in it, each a folder with a SKILL.md")
        read = read_lenient if lenient else Skill.read
        return cls(with_groups([read(entry) for entry in found], folder), folder)

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

    def check(self, categories: Sequence[str]) -> None:
        """Every category is served by a skill, and every skill serves a category.

        Raises:
            LibraryError: all problems, with the file and the key for each skill.
        """
        problems = [f"no skill serves the tasks {category!r}" for category in categories if not self.serving(category)]
        for skill in self.skills:
            problems += [f"{_place(skill)}: metadata.tasks: {text}" for text in _task_problems(skill, categories)]
        if problems:
            raise LibraryError(
                "; ".join(problems),
                where=self.where,
                key="metadata.tasks",
                hint=f'name task categories, or "*" for all; the categories are: {", ".join(categories)}',
            )


def _task_problems(skill: Skill, categories: Sequence[str]) -> list[str]:
    if not skill.tasks:
        return ["does not say which tasks the skill serves"]
    problems = []
    for task in skill.tasks:
        if task != EVERY_TASK and task not in categories:
            near = _nearest(task, categories)
            problems.append(f"no task is called {printable(task)!r}" + (f" (did you mean {near!r}?)" if near else ""))
    return problems


def _nearest(task: str, categories: Sequence[str]) -> str | None:
    """The category that was probably meant: nearly the same letters, or the only one that holds the word."""
    word = task.lower().replace("-", "_").replace(" ", "_")
    near = difflib.get_close_matches(word, categories, n=1)
    holding = [category for category in categories if word in category]
    return near[0] if near else holding[0] if len(holding) == 1 else None


def _place(skill: Skill) -> str:
    return skill.name if skill.path is None else str(skill_file(skill.path))


def load_library(name: str | Path, *, lenient: bool = False) -> SkillLibrary:
    """The library that a recipe's `skills` names: an installed one (`household`), or a folder.

    Raises:
        LibraryError: there is neither, or `SkillLibrary.load` refuses it.
        RecipeError: the package that brings the library cannot be imported.
        SkillError: a skill is not valid.
    """
    return SkillLibrary.load(library_folder(name), lenient=lenient)
