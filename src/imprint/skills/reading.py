"""Reading a library of skills with all that is wrong with it, for one error in place of one at a time."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imprint.errors import ImprintError, LibraryError, SkillError
from imprint.skills.config import SkillsConfig
from imprint.skills.front import parse_front, printable
from imprint.skills.group_file import with_groups
from imprint.skills.installed import claims_a_skill, library_folder
from imprint.skills.lenient import read_lenient
from imprint.skills.skill import EVERY_TASK, Skill, skill_file
from imprint.skills.tree import find_skills
from imprint.skills.validate.spec import page_parts, validate

__all__ = ["Reading", "read_skills", "unfit"]

TASKS = "metadata.tasks"
TASKS_HINT = 'name task families with commas between ("red, blue"), or "*" for all'


@dataclass
class Reading:
    """The skills of a folder that could be read, and what is wrong with the others.

    Attributes:
        folders: all of its skill folders; `read` those that are not left out.
    """

    where: str | Path | None
    skills: list[Skill] = field(default_factory=list)
    problems: list[ImprintError] = field(default_factory=list)
    folders: Sequence[Path] = ()
    read: list[Path] = field(default_factory=list)

    def serve(self, tasks: Mapping[str, Sequence[str]]) -> None:
        """Give the named skills these tasks, whatever they name themselves."""
        names = [skill.name for skill in self.skills]
        self.problems += unknown(tasks.keys() - set(names) - {one.name for one in self.folders}, names, "skills.tasks")
        for place, skill in enumerate(self.skills):
            if skill.name in tasks:
                metadata = {**skill.metadata, "tasks": ", ".join(tasks[skill.name])}
                self.skills[place] = replace(skill, metadata=metadata)

    def refuse(self, *, lenient: bool = False) -> None:
        """Raise what is wrong, if anything is.

        Raises:
            SkillError: only skills have problems; one error names them all.
            LibraryError: so does the library.
        """
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            hints = [f"`imprint skills validate {self.where}` (or --recipe FILE) has the hint of each"]
            if any(isinstance(one, SkillError) for one in self.problems):
                hints += [] if lenient else ["`lenient: true` reads skills as clients do"]
                hints.append("`skills: {path: ..., exclude: [NAME, ...]}` leaves skills out")
            lines = [one.describe().partition("\n  hint: ")[0].replace("\n", " ") for one in self.problems]
            problem = "\n    ".join([f"{len(lines)} problems:", *lines])
            kind = SkillError if all(isinstance(one, SkillError) for one in self.problems) else LibraryError
            raise kind(problem, where=self.where, hint="; ".join(hints))


def read_skills(
    skills: str | Path | SkillsConfig, *, lenient: bool = False, categories: Sequence[str] | None = None
) -> Reading:
    """What a recipe's `skills` names: an installed library (`household`), or a folder.

    Args:
        categories: of a world, if the skills are to fit its tasks.

    Raises:
        LibraryError: there is neither, or it cannot be read or holds no skills.
        RecipeError: the package that brings the library cannot be imported.
    """
    config = skills if isinstance(skills, SkillsConfig) else SkillsConfig(path=str(skills))
    folder = library_folder(skills if isinstance(skills, Path) else config.path)
    found = read_library(folder, lenient=lenient, exclude=config.exclude)
    found.serve(config.tasks)
    if categories is not None:
        unread = len(found.read) - len(found.skills)
        may = config.unserved == "play"
        found.problems += unfit(found.skills, categories, mapped=config.tasks, unserved=may, unread=unread)
    return found


def read_library(folder: Path, *, lenient: bool = False, exclude: Collection[str] = ()) -> Reading:
    """The skills of `folder` (`skill_folders`), without those of `exclude`: by name, or by path in the folder.

    Raises:
        LibraryError: the folder cannot be read, or holds no skills.
    """
    found = Reading(folder, folders=skill_folders(folder))
    unused = set(exclude)
    for one in found.folders:
        names = {one.name, one.relative_to(folder).as_posix()}
        if names & set(exclude):
            unused -= names
            continue
        skill, problems = examine(one, lenient=lenient)
        if skill is not None and skill.name in exclude:
            unused.discard(skill.name)
            continue
        found.read.append(one)
        found.skills += [] if skill is None else [skill]
        found.problems += problems
    folders = [one.name for one in found.folders]
    found.problems += [*unknown(unused, folders, "skills.exclude"), *twice(found.skills)]
    if not found.read:
        found.problems.append(LibraryError("every skill is left out", key="skills.exclude", hint="leave out fewer"))
    try:
        found.skills = with_groups(found.skills, folder, folders)
    except LibraryError as error:
        found.problems.append(error)
    return found


def skill_folders(folder: Path) -> list[Path]:
    """The skill folders of a library: direct subfolders, linked ones too, and those at any depth below the others.

    Raises:
        LibraryError: the folder cannot be read, or holds no skills.
    """
    try:
        found = [entry for entry in sorted(folder.iterdir()) if claims_a_skill(entry)]
    except NotADirectoryError as error:
        raise LibraryError("is not a folder", where=folder, hint="give a folder of skill folders") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        at_fault = getattr(error, "filename", None) or folder
        hint = "check the path and its permissions"
        raise LibraryError(f"cannot be read: {reason}", where=at_fault, hint=hint) from error
    direct = set(found)
    found += [one for one in find_skills(folder) if one not in direct and (one != folder or not direct)]
    if not found:
        raise LibraryError("holds no skills", where=folder, hint="put skills in it, each a folder with a SKILL.md")
    return sorted(found)


def examine(folder: Path, *, lenient: bool) -> tuple[Skill | None, list[SkillError]]:
    """A skill, or all that is wrong with it."""
    try:
        return (read_lenient if lenient else Skill.read)(folder), []
    except SkillError as error:
        if not lenient:
            return None, Skill.check(folder) or [error]
        issues = validate(folder, lenient=True).errors
        return None, [one.error() for one in issues] or [error]


def twice(skills: Iterable[Skill]) -> list[ImprintError]:
    """An error for each skill whose name an earlier one has."""
    first: dict[str, Skill] = {}
    errors: list[ImprintError] = []
    for skill in skills:
        other = first.setdefault(skill.name, skill)
        if other is not skill:
            problem = f"two skills are called {skill.name!r}: the other is in {other.path}"
            hint = "rename one of them, or leave one out by its path"
            errors.append(LibraryError(problem, where=skill.path, key="name", hint=hint))
    return errors


def unfit(
    skills: Sequence[Skill],
    categories: Sequence[str],
    *,
    mapped: Collection[str] = (),
    unserved: bool = False,
    unread: int = 0,
) -> list[ImprintError]:
    """What does not fit between skills and task families: a family without a skill, and a skill for a family that there
    is not.

    Args:
        mapped: the skills whose tasks the recipe names.
        unserved: whether a family may be without a skill.
        unread: how many further skills could not be read.
    """
    which = "skill that can be read" if unread else "skill"
    known = f"; the task families are: {', '.join(categories)}"
    errors: list[ImprintError] = [
        LibraryError(f"no {which} serves the tasks {category!r}", key=TASKS, hint=TASKS_HINT + known)
        for category in categories
        if not unserved and not any(skill.serves(category) for skill in skills)
    ]
    for skill in skills:
        problems = _task_problems(skill, categories)
        where, line, key = _place(skill, mapped) if problems else (None, None, TASKS)
        hint = TASKS_HINT + known
        errors += [LibraryError(problem, where=where, line=line, key=key, hint=hint) for problem in problems]
    return errors


def _place(skill: Skill, mapped: Collection[str]) -> tuple[str | Path | None, int | None, str]:
    """Where its tasks are named: file, line and key."""
    if skill.name in mapped:
        return None, None, f"skills.tasks.{skill.name}"
    return (skill.name, None, TASKS) if skill.path is None else (skill_file(skill.path), _tasks_line(skill.path), TASKS)


def unknown(names: Iterable[str], known: Sequence[str], key: str) -> list[ImprintError]:
    """An error for each name under a recipe's key that is no skill's."""
    errors: list[ImprintError] = []
    for name in sorted(names):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        errors.append(LibraryError(f"no skill is called {printable(name)!r}", key=key, hint=hint))
    return errors


def _task_problems(skill: Skill, categories: Sequence[str]) -> list[str]:
    problems = []
    for task in skill.tasks:
        if task != EVERY_TASK and task not in categories:
            near = _nearest(task, categories)
            words = [word for word in task.replace(";", " ").replace("|", " ").split() if word in categories]
            meant = f" (separate names with commas: {', '.join(words)!r})" if len(words) > 1 else ""
            meant = f" (did you mean {near!r}?)" if near and not meant else meant
            problems.append(f"no task is called {printable(task)!r}{meant}")
    return problems


def _tasks_line(folder: Path) -> int | None:
    """The line of a page that names the tasks; None if another file does."""
    try:
        page, front, _ = page_parts(folder)
        return parse_front(page, front, first_line=1)[1].get(TASKS)
    except ImprintError:
        return None


def _nearest(task: str, categories: Sequence[str]) -> str | None:
    """The category that was probably meant: nearly the same letters, or the only one that holds the word."""
    word = task.lower().replace("-", "_").replace(" ", "_")
    near = difflib.get_close_matches(word, categories, n=1)
    holding = [category for category in categories if word in category]
    return near[0] if near else holding[0] if len(holding) == 1 else None
