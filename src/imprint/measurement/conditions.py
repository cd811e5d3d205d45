"""Conditions: what of a library is shown for a task, as data that can be hashed, saved and named in a table.

`WITH` (every skill that serves the task) and `WITHOUT` (none) are two of them. Another package adds a kind by a
function from (params, task, library) to `Shown` and one entry point:

    [project.entry-points."imprint.conditions"]
    my-kind = "my_package:show"
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from imprint.context.shown import Shown
from imprint.errors import ImprintError
from imprint.measurement.naming import HIDDEN, SHOWN, ordered
from imprint.skills.library import SkillLibrary
from imprint.support import plugins
from imprint.types import Exemplar, Task

__all__ = ["GROUP", "WITH", "WITHOUT", "Condition", "exemplars", "only", "ordered", "safe_name", "table"]

GROUP = "imprint.conditions"
NAME = re.compile(r"[a-z0-9_+-]+")  # it also names files


class Kind(Protocol):
    """How a kind of condition chooses what is shown."""

    def __call__(self, params: Mapping[str, Any], task: Task, library: SkillLibrary) -> Shown: ...


@dataclass(frozen=True)
class Condition:
    """A named way to show a library's skills.

    Attributes:
        name: of letters a-z, digits, `_`, `+` and `-`; rows and files are named by it.
        kind: "all", "none", "only", "table", "exemplars", or one registered under `imprint.conditions`.
        params: what the kind needs, as JSON-ready data.

    Raises:
        ImprintError: the name has other characters.
    """

    name: str
    kind: str = "all"
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ImprintError(
                f"{self.name!r} cannot name a condition", hint="use a-z, 0-9, _, + and -: it names files too"
            )

    def __hash__(self) -> int:
        return hash((self.name, self.kind, json.dumps(self.to_record()["params"], sort_keys=True)))

    def show(self, task: Task, library: SkillLibrary) -> Shown:
        """What is shown for `task`, in the library's order.

        Raises:
            RecipeError: no such kind.
        """
        kind = KINDS.get(self.kind) or plugins.load(GROUP, "kind of condition", self.kind, "condition")
        found: Shown = kind(self.params, task, library)
        return found

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {"name": self.name, "kind": self.kind, "params": dict(self.params)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Condition:
        """The inverse of `to_record`."""
        return cls(record["name"], record["kind"], record["params"])


def _all(params: Mapping[str, Any], task: Task, library: SkillLibrary) -> Shown:
    return Shown(library.serving(task.category))


def _none(params: Mapping[str, Any], task: Task, library: SkillLibrary) -> Shown:
    return Shown()


def _only(params: Mapping[str, Any], task: Task, library: SkillLibrary) -> Shown:
    chosen = set(params["skills"])
    return Shown(tuple(skill for skill in library.serving(task.category) if skill.name in chosen))


def _table(params: Mapping[str, Any], task: Task, library: SkillLibrary) -> Shown:
    return Shown(tuple(library[name] for name in params["tasks"].get(task.id, ())))


def _exemplars(params: Mapping[str, Any], task: Task, library: SkillLibrary) -> Shown:
    records = params["exemplars"].get(task.category, ())
    return Shown(library.serving(task.category), tuple(Exemplar.from_record(record) for record in records))


KINDS: dict[str, Kind] = {
    "all": _all,  # every skill that serves the task
    "none": _none,
    "only": _only,  # of `skills` (names) those that serve the task
    "table": _table,  # `tasks`: task id -> names, whatever they serve
    "exemplars": _exemplars,  # every skill that serves the task, then the solved tasks of its category
}

WITH, WITHOUT = Condition(SHOWN, "all"), Condition(HIDDEN, "none")


def only(name: str, skills: Iterable[str]) -> Condition:
    """The condition that shows those of `skills` that serve a task."""
    return Condition(name, "only", {"skills": list(skills)})


def table(name: str, tasks: Mapping[str, Sequence[str]]) -> Condition:
    """The condition that shows the skills that a table gives for each task's id."""
    return Condition(name, "table", {"tasks": {task: list(skills) for task, skills in tasks.items()}})


def exemplars(name: str, by_category: Mapping[str, Sequence[Exemplar]]) -> Condition:
    """The condition that shows every skill that serves a task, and solved tasks of its category."""
    records = {category: [asdict(one) for one in found] for category, found in by_category.items()}
    return Condition(name, "exemplars", {"exemplars": records})


def safe_name(text: str) -> str:
    """`text` as (part of) a condition's name; texts that differ give names that differ."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", text.lower())
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
