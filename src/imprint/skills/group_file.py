"""`groups.json`, beside the skills of a library: which tasks a skill serves whose own page does not say.

    {"cooking": ["boil-an-egg", "peel-a-potato"], "travel": ["read-a-timetable"]}

A group is the category of the tasks that practise its skills. What stands in a skill's own `metadata.tasks` counts, and
the file is then not to name it; so skills of other people can be grouped without a change to their pages.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from imprint.errors import LibraryError
from imprint.skills.front import printable
from imprint.skills.skill import EVERY_TASK, Skill
from imprint.support.files import atomic_write

FILE_NAME = "groups.json"
MAX_BYTES = 4_000_000
Groups = dict[str, list[str]]


def read_groups(library: Path) -> Groups:
    """The groups of the file; none where there is no file.

    Raises:
        LibraryError: it cannot be read, or holds something else.
    """
    path = library / FILE_NAME
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        content = json.loads(data.decode("utf-8")) if len(data) <= MAX_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise LibraryError(
            f"cannot be read: {printable(str(error))}", where=path, line=line, hint="fix the file, or make it anew"
        ) from error
    if not isinstance(content, dict) or not all(_is_group(name, names) for name, names in content.items()):
        hint = "write {GROUP: [SKILL, ...]}; a group's name has no comma, and is not *"
        raise LibraryError("is not groups of skills", where=path, hint=hint)
    return content


def write_groups(library: Path, groups: Mapping[str, Sequence[str]]) -> Path:
    """Write the file, sorted.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    path = library / FILE_NAME
    content = {name: sorted(groups[name]) for name in sorted(groups)}
    atomic_write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def with_groups(skills: Sequence[Skill], library: Path, others: Collection[str] = ()) -> list[Skill]:
    """The skills, those that the file names with its groups as their tasks; it may name the `others` too.

    Raises:
        LibraryError: the file is broken, or names a skill that is not here or names its own tasks.
    """
    tasks: dict[str, list[str]] = {}
    for group, names in read_groups(library).items():
        for name in names:
            tasks.setdefault(name, []).append(group)
    known = {skill.name: skill for skill in skills}
    for name in tasks:
        if name in others and name not in known:
            continue
        if name not in known:
            problem, hint = f"no skill is called {printable(name)!r}", "take the name out"
        elif known[name].named_tasks:
            problem, hint = (
                f"{name!r} names its tasks in its own front matter",
                "take the name out here, or `tasks` there",
            )
        else:
            continue
        raise LibraryError(problem, where=library / FILE_NAME, hint=hint)
    return [_serving(skill, tasks[skill.name]) if skill.name in tasks else skill for skill in skills]


def _serving(skill: Skill, tasks: Sequence[str]) -> Skill:
    return replace(skill, metadata={**skill.metadata, "tasks": ", ".join(sorted(tasks))})


def _is_group(name: str, names: Any) -> bool:
    sound = bool(name.strip()) and name == name.strip() and name.isprintable() and "," not in name
    return sound and name != EVERY_TASK and isinstance(names, list) and all(isinstance(one, str) for one in names)
