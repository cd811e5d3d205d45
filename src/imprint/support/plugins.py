"""What packages register under entry points, ours and other people's alike, and what is named in a Python file."""

from __future__ import annotations

import sys
import zlib
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
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


def in_file(name: str) -> bool:
    """Whether a name has the form `path/to/file.py:Class`."""
    return ".py:" in name


def load_file(name: str, kind: str, key: str) -> Any:
    """What `path/to/file.py:Class` names. The file is run, anew at each call.

    Args:
        kind, key: as of `load`.

    Raises:
        RecipeError: there is no such file, it fails (with the line), or the class is not in it.
    """
    place, _, member = name.rpartition(":")
    path = Path(place).absolute()
    if not path.is_file():
        raise RecipeError(f"there is no such file, so no {kind}", where=path, key=key, hint="check the path")
    module = _run(path, kind, key)
    if not hasattr(module, member):
        near = get_close_matches(member, vars(module), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"write it as {place}:CLASS"
        raise RecipeError(f"the file has no {member!r}", where=path, key=key, hint=hint)
    return getattr(module, member)


def _run(path: Path, kind: str, key: str) -> ModuleType:
    """The module that a file makes, under a name of its own: dataclasses look their module up."""
    name = f"_imprint_{zlib.crc32(bytes(path)):08x}_{path.stem}"
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        problem = f"the {kind} cannot be loaded: {type(error).__name__}: {error}"
        raise RecipeError(problem, where=path, line=line, key=key, hint="correct the file") from error
    return module


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
