"""The only way from a library and an edit of it to the edited library: past the same door as a library of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imprint.errors import SkillError, TrustError
from imprint.security.vetting import Vetting
from imprint.skills.edits import LibraryEdit
from imprint.skills.lenient import read_lenient
from imprint.skills.library import SkillLibrary
from imprint.skills.skill import Skill


def apply_edit(library: SkillLibrary, edit: LibraryEdit, door: Vetting) -> SkillLibrary:
    """The library with the edit applied, once all skills that it adds or replaces have been vetted.

    A name that the recipe or the command line allows stands for the text that its user has read, so it allows no edit
    of that skill; `trust.refuse` and the decisions of a resumed run, which hold for one content only, apply.

    Raises:
        LibraryError: the edit does not fit the library (see `LibraryEdit.check`).
        TrustError: a skill is refused; nothing of the edit is applied.
    """
    edit.check(library)
    edited = [_as_it_is(skill) for skill in edit.skills]
    _admit(edited, door, library)
    gone = {*edit.removed, *(skill.name for skill in edited)}
    return SkillLibrary([*_without(library, gone), *edited], library.where)


def _admit(skills: Sequence[Skill], door: Vetting, library: SkillLibrary) -> None:
    try:
        door.unnamed().admit(skills, library.where)
    except TrustError as error:
        hint = "nothing of the edit is applied; change what the skill does, or see `trust.refuse` of the recipe"
        raise TrustError(error.problem, where=error.where, line=error.line, hint=hint) from error


def _without(library: SkillLibrary, gone: set[str]) -> Sequence[Skill]:
    return [skill for skill in library.skills if skill.name not in gone]


def _as_it_is(skill: Skill) -> Skill:
    """The skill without its folder if its text is not the folder's: then the scan has to read the text."""
    if skill.path is None or _texts(skill) == _stored_texts(skill.path):
        return skill
    return replace(skill, path=None)


def _stored_texts(folder: Path) -> tuple[str | None, ...] | None:
    try:
        return _texts(read_lenient(folder))
    except SkillError:
        return None


def _texts(skill: Skill) -> tuple[str | None, ...]:
    return skill.name, skill.description, skill.body, skill.license, skill.compatibility, skill.allowed_tools
