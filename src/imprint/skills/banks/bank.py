"""Skill banks: SkillRL's JSON files of short rules, as SKILL.md folders and back.

A bank has `general_skills`, `task_specific_skills` (or `query_type_skills`: rules by category), `common_mistakes` and
`metadata`. Imported, each list is one skill folder, and the bank itself lies beside them as `bank.json`; exported, the
pages have the word for what they show, and `bank.json` for the rest (ids, counts, keys of other programs).
"""

from __future__ import annotations

import copy
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from imprint.errors import BankError, SkillError
from imprint.skills.banks.bank_file import (
    CATEGORIES,
    GENERAL,
    MISTAKEN,
    Bank,
    Record,
    check,
    read_bank,
    read_json,
    to_json,
    write_bank,
)
from imprint.skills.banks.bank_pages import (
    MISTAKES,
    SKILLS,
    Item,
    Kind,
    New,
    fold,
    has_rules,
    merge,
    new_item,
    render,
    split,
)
from imprint.skills.library import SkillLibrary, load_library
from imprint.skills.skill import EVERY_TASK, MAX_DESCRIPTION, MAX_NAME, Skill
from imprint.support.files import atomic_folder

__all__ = [
    "RECORD",
    "Part",
    "export_bank",
    "import_bank",
    "imported_library",
    "parts_of",
    "read_bank",
    "write_bank",
]

RECORD = "bank.json"


@dataclass(frozen=True, slots=True)
class Part:
    """One list of a bank: `("general_skills",)`, `("task_specific_skills", "clean")`, ..."""

    place: tuple[str, ...]
    items: Sequence[Item]

    @property
    def kind(self) -> Kind:
        return MISTAKES if self.place[0] == MISTAKEN else SKILLS

    @property
    def category(self) -> str | None:
        return self.place[1] if len(self.place) > 1 else None

    @property
    def words(self) -> str:
        """What people would call it."""
        name = fold(self.place[-1]).replace("_", " ").replace("-", " ")
        return " ".join(name.split()) or "unnamed"

    @property
    def intro(self) -> str:
        if self.kind is MISTAKES:
            return "These mistakes are common. Know them and avoid them."
        return "These rules help with every task." if self.category is None else f"These rules are for {self.words}."

    def tasks(self, mapping: Mapping[str, Sequence[str]]) -> str:
        """`metadata.tasks`: all for lists without a category; a category that is not mapped names its own tasks."""
        if self.category is None:
            return EVERY_TASK
        return ", ".join(mapping.get(self.category, [fold(self.category).replace(",", " ") or "unnamed"]))

    def skill(self, name: str, mapping: Mapping[str, Sequence[str]]) -> Skill:
        """Its page."""
        what = "Mistakes to avoid" if self.kind is MISTAKES else "Rules"
        about = "in every task" if self.category is None else f"for {self.words}"
        titles = "; ".join(filter(None, (fold(str(item.get(self.kind.title) or "")) for item in self.items)))
        metadata = {"tasks": self.tasks(mapping), "bank": name}
        if self.category is not None:
            metadata["category"] = fold(self.category)
        return Skill(
            name=name,
            description=_cut(f"{what} {about}: {titles}"),
            body=render(self.intro, self.items, self.kind),
            metadata=metadata,
        )


# --- a bank into folders ---


def import_bank(
    bank: Mapping[str, Any],
    folder: str | Path,
    *,
    tasks: Mapping[str, Sequence[str]] | None = None,
    world_tasks: Mapping[str, Sequence[str]] | None = None,
    prefix: str = "",
    force: bool = False,
) -> SkillLibrary:
    """Write a bank as a folder of skills, whole or not at all; empty lists get no page.

    Args:
        tasks: which tasks a category serves, in place of `world_tasks` for the categories named.
        world_tasks: which tasks of a world the categories of its published banks serve (a world's `bank_tasks`); a
            category of neither serves the tasks of its own name.
        prefix: of the skills' names.
        force: replace a folder that holds skills and nothing else.

    Raises:
        BankError: the folder exists, a category of `tasks` is not in the bank, or a page is over a megabyte.
    """
    folder = Path(folder).resolve()
    parts = list(parts_of(bank))
    unknown = sorted(set(tasks or {}) - {part.category for part in parts if part.category is not None})
    if unknown:
        known = ", ".join(sorted(part.category for part in parts if part.category)) or "none"
        raise BankError(f"there is no category {unknown[0]!r}", key="tasks", hint=f"the bank's categories are: {known}")
    _refuse_existing(folder, force)
    names, mapping = _names(parts, prefix), {**(world_tasks or {}), **(tasks or {})}
    skills = [part.skill(name, mapping) for name, part in names.items() if part.items]
    record = {"pages": {name: list(part.place) for name, part in names.items()}, "bank": dict(bank)}
    with atomic_folder(folder) as temporary:
        for skill in skills:
            _write(skill, temporary, folder)
        (temporary / RECORD).write_bytes(to_json(record))
    return SkillLibrary((Skill.read(folder / skill.name) for skill in skills), folder)


def imported_library(folder: str | Path) -> SkillLibrary:
    """The library in `folder`; one that holds a `bank.json` may have no skills.

    Raises:
        LibraryError, SkillError: as `load_library`.
    """
    path = Path(folder)
    if (path / RECORD).is_file() and not any((entry / "SKILL.md").is_file() for entry in path.iterdir()):
        return SkillLibrary((), path)
    return load_library(folder)


def parts_of(bank: Mapping[str, Any]) -> Iterator[Part]:
    """The lists of a bank, general ones first and mistakes last."""
    if GENERAL in bank:
        yield Part((GENERAL,), bank[GENERAL])
    for key in CATEGORIES:
        for category, items in bank.get(key, {}).items():
            yield Part((key, category), items)
    if MISTAKEN in bank:
        yield Part((MISTAKEN,), bank[MISTAKEN])


def safe_name(text: str) -> str:
    """A name by the rules of agentskills.io, as near to `text` as they allow; never empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_NAME].strip("-") or "skill"


def _write(skill: Skill, parent: Path, folder: Path) -> None:
    try:
        skill.write(parent)
    except SkillError as error:
        raise BankError(error.problem, where=folder / skill.name, key=error.key, hint=error.hint) from error


def _names(parts: Sequence[Part], prefix: str) -> dict[str, Part]:
    """A name of its own for each part: a number behind those that would be the same."""
    names: dict[str, Part] = {}
    for part in parts:
        base = name = safe_name(f"{prefix}-{part.place[-1]}" if prefix else part.place[-1])
        number = 1
        while name in names:
            number += 1
            name = f"{base[: MAX_NAME - len(str(number)) - 1].strip('-')}-{number}"
        names[name] = part
    return names


def _cut(text: str) -> str:
    return text if len(text) <= MAX_DESCRIPTION else text[: MAX_DESCRIPTION - 3].rstrip() + "..."


def _refuse_existing(folder: Path, force: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not force:
        raise BankError("is there already", where=folder, hint="name a new folder, or replace it with --force")
    foreign = sorted(p.name for p in folder.iterdir() if p.name != RECORD and not (p / "SKILL.md").is_file())
    if foreign or not (folder / RECORD).is_file():
        what = f"holds {foreign[0]!r}" if foreign else f"has no {RECORD}"
        raise BankError(f"{what}, so it is no imported bank", where=folder, hint="name another folder")


# --- folders into a bank ---


def export_bank(
    library: SkillLibrary, *, world_tasks: Mapping[str, Sequence[str]] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """The bank that the pages of a library make.

    Pages that were imported are compared with the `bank.json` beside them: what was edited, added, removed or put in
    another order in a page is so in the bank, and everything else is as it was. Other skills become new entries: a
    rule each where a page has rules with titles, else one for the whole page.

    Args:
        world_tasks: as for `import_bank`; a skill that serves no more tasks than a category goes into it.

    Returns:
        the bank, and a note on each thing that a bank has no place for.

    Raises:
        BankError: the `bank.json` of the library is damaged.
    """
    record = _record_of(library)
    bank: dict[str, Any] = {GENERAL: [], CATEGORIES[0]: {}, MISTAKEN: [], "metadata": {"source": "exported by Imprint"}}
    if record is not None:
        bank = copy.deepcopy(record.bank)
    names = {} if record is None else {tuple(place): name for name, place in record.pages.items()}
    pages: dict[str, Skill] = {}
    others = []
    for skill in library.skills:
        name = skill.metadata.get("bank", "")
        if name in names.values() and name not in pages:
            pages[name] = skill
        else:
            others.append(skill)
    notes = _merge_pages(bank, names, pages)
    key = next((key for key in CATEGORIES if key in bank), CATEGORIES[0])
    for skill in others:
        place, items = _entries(skill, key, world_tasks or {})
        _put(bank, place, [*_get(bank, place), *items])
    _number(bank)
    return bank, notes


def _merge_pages(bank: dict[str, Any], names: Mapping[tuple[str, ...], str], pages: Mapping[str, Skill]) -> list[str]:
    """Put what the pages say into the bank; a list whose page was removed goes. Gives the notes."""
    notes = []
    for part in list(parts_of(bank)):
        page = pages.get(names.get(part.place, ""))
        if page is None:
            if part.items:
                _put(bank, part.place, None)
            continue
        items, surplus = merge(page.body, part.intro, part.items, part.kind)
        _put(bank, part.place, items)
        if surplus:
            notes.append(f"{page.name}: what stands before its rules has no place in a bank and is left out")
    return notes


def _record_of(library: SkillLibrary) -> Record | None:
    path = None if library.where is None else Path(library.where) / RECORD
    if path is None or not path.is_file():
        return None
    record = check(Record, read_json(path), path)
    check(Bank, record.bank, path)
    return record


def _entries(skill: Skill, key: str, world_tasks: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], list[Item]]:
    """Where a skill that comes from no bank goes, and what it becomes there."""
    place = (GENERAL,) if EVERY_TASK in skill.named_tasks else (key, _category(skill, world_tasks))
    if has_rules(skill.body):
        return place, [new_item(fields, SKILLS) for fields in split(skill.body, SKILLS)[1]]
    title = skill.name.replace("-", " ").capitalize()
    when = re.search(
        r"(?:^|\. )Use (?:it|this|this skill) ((?:when|for|to|if|before|after)\b.*)", skill.description, re.S
    )
    applies = when[1][:1].upper() + when[1][1:] if when else skill.description
    return place, [{SKILLS.id: skill.name, "title": title, "principle": skill.body, "when_to_apply": applies}]


def _category(skill: Skill, world_tasks: Mapping[str, Sequence[str]]) -> str:
    """The category whose tasks the skill serves, else its only task, else its name."""
    if skill.metadata.get("category"):
        return skill.metadata["category"]
    served = skill.named_tasks
    fitting = [name for name, tasks in world_tasks.items() if served and set(served) <= set(tasks)]
    return fitting[0] if fitting else served[0] if len(served) == 1 else skill.name.replace("-", "_")


def _get(bank: Mapping[str, Any], place: tuple[str, ...]) -> list[Item]:
    found: list[Item] = bank.get(place[0], []) if len(place) == 1 else bank.get(place[0], {}).get(place[1], [])
    return found


def _put(bank: dict[str, Any], place: tuple[str, ...], items: list[Item] | None) -> None:
    """Replace a list; None: remove a category, or empty the others."""
    if len(place) == 1:
        bank[place[0]] = items or []
    elif items is None:
        del bank[place[0]][place[1]]
    else:
        bank.setdefault(place[0], {})[place[1]] = items


def _number(bank: Mapping[str, Any]) -> None:
    """Give new entries ids in the manner of their list: the prefix of its others, and the next number."""
    parts = list(parts_of(bank))
    used = {str(item.get(part.kind.id)) for part in parts for item in part.items}
    for part in parts:
        ids = [re.fullmatch(r"(.+?)_?\d+", str(item.get(part.kind.id) or "")) for item in part.items]
        usual = {GENERAL: "gen", MISTAKEN: "err"}.get(part.place[-1], safe_name(part.place[-1])[:3])
        stem = next((found[1] for found in ids if found), usual)
        fresh = (name for number in count(1) if (name := f"{stem}_{number:03}") not in used)
        for item in part.items:
            if isinstance(item, New) and not item[part.kind.id]:
                item[part.kind.id] = next(fresh)
