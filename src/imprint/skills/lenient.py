"""A skill as real clients read it, where the specification has something against it."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

from imprint.errors import SkillError
from imprint.skills.front import printable
from imprint.skills.skill import EMPTY_PAGE, MAX_BYTES, MAX_NAME, Skill, broken_name, normal_name
from imprint.skills.validate.loose import loose_values
from imprint.skills.validate.spec import page_parts, validate


def read_lenient(folder: str | Path) -> Skill:
    """What `imprint skills validate --lenient` accepts, as a skill; one that is valid is read as always.

    A name that is missing or of another form is put into the specification's (`PDF Tools` is `pdf-tools`), or else the
    folder's is; unknown keys are left out; a list is its items with spaces between, in metadata with commas.

    Raises:
        SkillError: the first error of the lenient validation, a page that is empty or over `MAX_BYTES`, or no name.
    """
    folder = Path(folder)
    try:
        return Skill.read(folder)
    except SkillError:
        pass
    for found in validate(folder, lenient=True).errors:
        raise found.error()
    page, front, body = page_parts(folder)
    body = _clean(body).strip()
    if not body:
        raise SkillError(EMPTY_PAGE, where=page, hint="write what to do below the front matter")
    if len(body.encode("utf-8", "replace")) > MAX_BYTES:
        raise SkillError(f"is over {MAX_BYTES:,} bytes", where=page, hint="move long material to references/")
    values = loose_values(front) or {}
    return Skill(
        name=_name(values.get("name"), folder),
        description=_text(values.get("description")) or "",
        body=body,
        license=_text(values.get("license")),
        compatibility=_text(values.get("compatibility")),
        metadata=_texts(values.get("metadata")),
        allowed_tools=_text(values.get("allowed-tools")),
        path=folder,
    )


def _name(given: Any, folder: Path) -> str:
    for text in (_text(given) or "", folder.absolute().name):
        name = "".join(c if c.isalnum() else "-" for c in normal_name(text).lower())
        name = re.sub("-+", "-", name)[:MAX_NAME].strip("-")
        if name and not broken_name(name):
            return name
    raise SkillError(
        f"neither its name nor its folder '{printable(folder.name)}' makes a name",
        where=folder,
        key="name",
        hint="name it",
    )


def _text(value: Any) -> str | None:
    """A value as one text; None for one that is empty."""
    if isinstance(value, list):
        value = " ".join(_text(item) or "" for item in value)
    return (_clean(value).strip() or None) if isinstance(value, str) else None


def _texts(value: Any) -> dict[str, str]:
    entries = value.items() if isinstance(value, dict) else ()
    texts = {key: ", ".join(map(str, one)) if isinstance(one, list) else one for key, one in entries}
    return {_clean(key): _clean(text) for key, text in texts.items() if isinstance(text, str)}


def _clean(text: str) -> str:
    """Without what terminals obey and without half characters: both are warnings in the lenient mode."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
