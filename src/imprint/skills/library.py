"""A library of skills: which skills there are, and which of them serve a task."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from imprint.errors import LibraryError
from imprint.skills.skill import EVERY_TASK, FILE_NAMES, Skill


class SkillLibrary:
    """Skills by name: general ones first, then by name.

    Raises:
        LibraryError: two skills share a name.
    """

    def __init__(self, skills: Iterable[Skill], where: str | Path | None = None) -> None:
        self.skills = tuple(sorted(skills, key=lambda skill: (not skill.general, skill.name)))
        self.where = where
        self._by_name = {skill.name: skill for skill in self.skills}
        if len(self._by_name) < len(self.skills):
            seen: set[str] = set()
            twice = next(s.name for s in self.skills if s.name in seen or seen.add(s.name))  # type: ignore[func-returns-value]
            raise LibraryError(f"two skills are called {twice!r}", where=where, mend="rename one of them")

    @classmethod
    def load(cls, folder: str | Path) -> SkillLibrary:
        """Every direct subfolder of `folder` that holds a SKILL.md.

        Raises:
            LibraryError: there are none.
            SkillError: one of them is not valid.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise LibraryError("is not a folder", where=folder, mend="give a folder of skill folders")
        found = [
            entry
            for entry in sorted(folder.iterdir())
            if entry.is_dir() and any((entry / name).is_file() for name in FILE_NAMES)
        ]
        if not found:
            raise LibraryError("holds no skills", where=folder, mend="put skills in it, each a folder with a SKILL.md")
        return cls((Skill.read(entry) for entry in found), folder)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def __len__(self) -> int:
        return len(self.skills)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Skill:
        if name not in self._by_name:
            raise LibraryError(
                f"no skill is called {name!r}", where=self.where, mend=f"there are: {', '.join(self.names)}"
            )
        return self._by_name[name]

    def serving(self, category: str) -> tuple[Skill, ...]:
        """The skills that serve a task category, general ones first."""
        return tuple(skill for skill in self.skills if skill.serves(category))

    def only(self, names: Iterable[str]) -> SkillLibrary:
        """A library of the named skills alone."""
        return SkillLibrary((self[name] for name in names), self.where)

    def without(self, name: str) -> SkillLibrary:
        """A library with one skill less."""
        gone = self[name].name
        return SkillLibrary((skill for skill in self.skills if skill.name != gone), self.where)

    def check(self, categories: Sequence[str]) -> None:
        """Every category is served by a skill, and every skill serves a category.

        Raises:
            LibraryError: all that is amiss, with the file and the key for each skill.
        """
        amiss = [f"no skill serves the tasks {category!r}" for category in categories if not self.serving(category)]
        for skill in self.skills:
            amiss += [f"{_place(skill)}: metadata.tasks: {text}" for text in _task_problems(skill, categories)]
        if amiss:
            raise LibraryError(
                "; ".join(amiss),
                where=self.where,
                key="metadata.tasks",
                mend=f'name task categories, or "*" for all; the categories are: {", ".join(categories)}',
            )


def _task_problems(skill: Skill, categories: Sequence[str]) -> list[str]:
    if not skill.tasks:
        return ["does not say which tasks the skill serves"]
    problems = []
    for task in skill.tasks:
        if task != EVERY_TASK and task not in categories:
            near = difflib.get_close_matches(task, categories, n=1)
            problems.append(f"no task is called {task!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    return problems


def _place(skill: Skill) -> str:
    return skill.name if skill.path is None else str(skill.path / FILE_NAMES[0])


def household_library() -> SkillLibrary:
    """The seven household skills that come with Imprint."""
    return SkillLibrary.load(Path(str(resources.files("imprint.skills") / "household")))
