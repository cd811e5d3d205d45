"""What a recipe's keys are marked with where they are declared, and how the marks are found.

games: Annotated[str, MayBePath(names=("made",))] = "made"      # a path, or a name
table: Path | None = None                                       # a path; needs no mark
threads: Annotated[int | None, MAY_CHANGE] = None               # a run may be resumed with another value
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isclass, signature
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel

from imprint.errors import RecipeError

__all__ = ["MAY_CHANGE", "MayBePath", "MayChange", "Places", "changeable", "declared", "section_of"]

Mark = TypeVar("Mark")


@dataclass(frozen=True)
class MayBePath:
    """A key whose text may be a path.

    Attributes:
        names: texts that are names, whatever lies under that name on the disk.
        plausible: whether a text that leads nowhere in the given folders may be a name all the same.
        made: the path is of what will be written, so that it need not be there.
        hint: where to get what should be there.
    """

    names: Collection[str] | Callable[[], Collection[str]] = ()
    plausible: Callable[[str, Sequence[Path]], bool] = lambda text, folders: False
    made: bool = False
    hint: str = "check the path"


@dataclass(frozen=True)
class MayChange:
    """A key that changes no result, beyond the last digits of floats."""


MAY_CHANGE = MayChange()
_PATH = MayBePath(made=True)  # of a key annotated as a Path: what must be there, its owner knows


@dataclass
class Places:
    """Where the relative paths of a recipe are looked for: beside its file, then in the working directory.

    Args:
        folders: in their order.

    Attributes:
        missing: the keys whose path leads nowhere: the text, and the key's hint.
        notes: what the user is to know of paths that were found.
    """

    folders: Sequence[Path]
    missing: dict[str, tuple[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def resolved(self, kind: Any, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """`values`, meant for the model or constructor `kind`, with absolute paths where they lead somewhere."""
        known = declared(kind)
        return {key: self._value(known.get(key, ()), value, prefix + str(key)) for key, value in values.items()}

    def in_file(self, text: str, key: str) -> str:
        """`path/to/file.py:Class` with an absolute path."""
        file, _, member = text.rpartition(":")
        return f"{self._path(file, _PATH, key)}:{member}"

    def errors(self, where: str | Path | None) -> dict[str, RecipeError]:
        """What to raise where a path that leads nowhere is needed, by key; `where` is the recipe."""
        looked = " or ".join(str(folder) for folder in sorted(self.folders, key=lambda one: one == Path.cwd()))
        return {
            key: RecipeError(f"there is no {text!r} in {looked}", where=where, key=key, hint=hint)
            for key, (text, hint) in self.missing.items()
        }

    def _value(self, parts: Sequence[Any], value: Any, key: str) -> Any:
        if isinstance(value, str):
            mark = _first(parts, MayBePath) or (_PATH if Path in parts else None)
            return value if mark is None else self._path(value, mark, key)
        inner = next((_parts(get_args(part)[-1]) for part in parts if get_origin(part) and get_args(part)), [])
        if isinstance(value, Mapping):
            section = section_of(parts)
            if section is not None:
                return self.resolved(section, value, f"{key}.")
            return {name: self._value(inner, one, f"{key}.{name}") for name, one in value.items()}
        return [self._value(inner, one, key) for one in value] if isinstance(value, list) else value

    def _path(self, text: str, mark: MayBePath, key: str) -> str:
        names = mark.names() if callable(mark.names) else mark.names
        if not text or "://" in text or text in names:
            return text
        for folder in self.folders:
            path = _joined(folder, text)
            if _exists(path):
                if folder != self.folders[0]:
                    self.notes.append(f"`{key}: {text}` is not in {self.folders[0]}, but in {folder}")
                return str(path)
        if mark.made:
            return str(_joined(self.folders[0], text))
        if not mark.plausible(text, self.folders):
            self.missing[key] = text, mark.hint
        return text


def changeable(kind: Any, prefix: str = "") -> set[str]:
    """The dotted keys of a model that are marked with `MAY_CHANGE`; a section's stands for all in it."""
    found: set[str] = set()
    for name, parts in declared(kind).items():
        section = section_of(parts)
        if _first(parts, MayChange):
            found.add(prefix + name)
        elif section is not None:
            found |= changeable(section, f"{prefix}{name}.")
    return found


def declared(kind: Any) -> dict[str, list[Any]]:
    """What a model's keys, or a constructor's parameters, are declared as: their types and marks."""
    if isclass(kind) and issubclass(kind, BaseModel):
        return {name: [*_parts(one.annotation), *one.metadata] for name, one in kind.model_fields.items()}
    try:
        parameters = signature(kind, eval_str=True).parameters
    except (NameError, TypeError, ValueError):  # annotations that only a type checker can resolve
        return {}
    return {name: _parts(parameter.annotation) for name, parameter in parameters.items()}


def section_of(parts: Sequence[Any]) -> type[BaseModel] | None:
    """The section that a key holds (`Section` or `Section | None`), if it holds one."""
    return next((part for part in parts if isclass(part) and issubclass(part, BaseModel)), None)


def _parts(annotation: Any) -> list[Any]:
    """The types that an annotation allows, with their marks."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return [*_parts(inner), *marks]
    if get_origin(annotation) in (Union, UnionType):
        return [part for one in get_args(annotation) for part in _parts(one)]
    return [annotation]


def _first(parts: Sequence[Any], kind: type[Mark]) -> Mark | None:
    return next((part for part in parts if isinstance(part, kind)), None)


def _joined(folder: Path, text: str) -> Path:
    try:
        return (folder / Path(text).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError):  # no such user, a null character, a circle of links
        return folder / text


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
