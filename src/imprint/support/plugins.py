"""What packages register under entry points: ours and other people's alike."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from imprint.errors import RecipeError


def names(group: str) -> list[str]:
    """What is installed in a group."""
    return sorted({point.name for point in entry_points(group=group)})


def load(group: str, kind: str, name: str, key: str) -> Any:
    """What is registered as `name`.

    Args:
        group: the group of entry points.
        kind: what its members are, for errors: `method`.
        key: the recipe's key that names it.

    Raises:
        RecipeError: there is none or more than one, or its package cannot be imported.
    """
    found = {point.value: point for point in entry_points(group=group, name=name)}
    if len(found) > 1:  # neither the newest nor the first on the path is what the user meant
        raise RecipeError(
            f"more than one {kind} is called {name!r}: {', '.join(sorted(found))}",
            key=key,
            hint="uninstall the packages that bring the others",
        )
    for value, point in found.items():
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise RecipeError(
                f"the {kind} {name!r} ({value}) cannot be imported: {error}",
                key=key,
                hint=f"install what it needs, or choose another {kind}",
            ) from error
    raise RecipeError(
        f"no {kind} is called {name!r}",
        key=key,
        hint=f"choose one of: {', '.join(names(group)) or 'none installed'}",
    )


def resolve(place: str) -> Any:
    """The object at `module:name`.

    Raises:
        ImportError, AttributeError: there is none.
    """
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def load_all(group: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Everything in a group that can be imported by name, and why the rest cannot."""
    found: dict[str, Any] = {}
    broken: dict[str, str] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        try:
            found[point.name] = point.load()
        except Exception as error:  # a package of others must not stop everything else
            broken[point.name] = f"{type(error).__name__}: {error}"
    return found, broken
