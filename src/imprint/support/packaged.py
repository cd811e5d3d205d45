"""The recipes that come with the package, each by its path without `.yaml`: `demo`, `household/imprint`."""

from __future__ import annotations

import os
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from imprint.errors import RecipeError


@cache
def recipes_folder() -> Path:
    """Where they are: in the package, or beside `src` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside, beside = package / "recipes", package.parents[1] / "recipes"
    return beside if beside.is_dir() and not inside.is_dir() else inside


def recipe_names() -> list[str]:
    """The names of all packaged recipes."""
    folder = recipes_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def recipe_file(given: str | Path) -> Path:
    """The file that a command's RECIPE means: a file that is there, or else the packaged recipe of that name.

    A folder of that name is no recipe: `imprint train demo --out demo` resumes.

    Raises:
        RecipeError: there is neither.
    """
    path = Path(given)
    if os.path.lexists(path) and not path.is_dir():
        return path
    names, name = recipe_names(), path.as_posix()
    if name in names:
        return recipes_folder() / f"{name}.yaml"
    if path.is_dir():
        inside = next(iter(sorted(path.glob("*.yaml"))), path / "recipe.yaml")
        raise RecipeError("is a folder, not a recipe", where=path, hint=f"give a file, e.g. {inside}")
    near = get_close_matches(name.removeprefix("recipes/").removesuffix(".yaml"), names, n=1)
    hint = f"did you mean the packaged recipe {near[0]!r}? " if near else "check the path; "
    raise RecipeError("no file and no packaged recipe is here", where=path, hint=f"{hint}`imprint recipes` lists them")
