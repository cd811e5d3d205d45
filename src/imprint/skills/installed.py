"""Skill libraries that packages bring along, ours and other people's, named in recipes as worlds are.

A package adds one by an entry point in the group `imprint.skills`. What it names is a folder of the package, as Python
would import it, with the skill folders in it; the folder needs no code, no `__init__.py` either:

    [project.entry-points."imprint.skills"]
    my-world = "my_package.skills"

An installed library is trusted no further than any other folder: its skills are scanned before a model sees them.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from imprint.errors import LibraryError
from imprint.skills.skill import FILE_NAMES
from imprint.support import plugins

GROUP = "imprint.skills"


def library_names() -> list[str]:
    """The libraries that are installed."""
    return plugins.names(GROUP)


def library_folder(name: str | Path) -> Path:
    """The folder that `name` means: that of an installed library, or else the path it is.

    A `Path`, and text with a separator in it (`./household`), is always a path.

    Raises:
        LibraryError: there is neither; or both, and each holds skills.
        RecipeError: the package that brings the library cannot be imported.
    """
    here, names = Path(name), library_names()
    if isinstance(name, Path) or name != here.name or name in ("", ".."):
        return here
    if name not in names:
        if not os.path.lexists(here):
            raise LibraryError(f"no folder and no installed library is called {name!r}", hint=_hint(name, names))
        return here
    refuse_two_libraries(name, Path())
    return _folder_of(name)


def refuse_two_libraries(name: str, place: Path) -> None:
    """Refuse a name that is an installed library's, and that of a folder with skills in `place`.

    Raises:
        LibraryError: it is both.
        RecipeError: the package that brings the library cannot be imported.
    """
    here = place / name
    if name in library_names() and holds_skills(here) and not here.samefile(folder := _folder_of(name)):
        raise LibraryError(
            f"{name!r} is an installed library ({folder}), and a folder with skills here",
            where=here.absolute(),
            hint=f"write ./{name} for the folder; to use the library, run this elsewhere",
        )


def path_or_library(text: str) -> Path:
    """What a command's PATH means: a path that is there, or else an installed library's folder."""
    path = Path(text)
    return path if os.path.lexists(path) or text not in library_names() else library_folder(text)


def holds_skills(folder: Path) -> bool:
    """Whether the folder, or a direct subfolder, claims to be a skill."""
    try:
        return folder.is_dir() and any(claims_a_skill(entry) for entry in (folder, *folder.iterdir()))
    except OSError:
        return False


def claims_a_skill(folder: Path) -> bool:
    """Whether there is a SKILL.md of any kind: one that is miswritten or a dead link must be heard of, not skipped."""
    if folder.is_symlink() and not folder.exists():
        return "." not in folder.name  # not an editor's lock, not a page; what a skill may be called has no dot
    return folder.is_dir() and any(entry.name.lower() == FILE_NAMES[1] for entry in folder.iterdir())


def _folder_of(name: str) -> Path:
    """Where the installed library lies."""
    package = plugins.load(GROUP, "skill library", name, "skills")
    for place in getattr(package, "__path__", ()):
        if Path(place).is_dir():
            return Path(place)
    raise LibraryError(
        f"the installed library {name!r} is no folder of its package: {package!r}",
        key="skills",
        hint='its entry point should name one, e.g. "my_package.skills", and the package should not be a zip file',
    )


def _hint(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    near_name = f"did you mean {near[0]!r}? " if near else ""
    return f"{near_name}give a folder of skill folders, or an installed library: {', '.join(names) or 'there is none'}"
