"""The recipe's `skills`: which library, what of it, and which tasks each skill serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from imprint.skills.installed import library_names
from imprint.skills.skill import split_tasks
from imprint.support.keys import MayBePath

__all__ = ["SKILLS", "SkillsConfig"]

SKILLS = MayBePath(names=library_names, hint="give a folder of SKILL.md folders, or the name of an installed library")


class SkillsConfig(BaseModel):
    """The `skills` section of a recipe. A text is its `path`; without further settings it is written as that text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, SKILLS] = Field(
        default="household",
        description="A folder of SKILL.md folders, or a library registered under `imprint.skills`, as `household` is.",
    )
    tasks: dict[str, list[str]] = Field(
        default={},
        description='Skill -> the task families that it serves, or "*" for all, in place of its `metadata.tasks`. '
        "A skill with neither serves all.",
    )
    exclude: list[str] = Field(
        default=[], description="Skills that are left out and not read: a name, or the path of a folder in the library."
    )
    unserved: Literal["refuse", "play"] = Field(
        default="refuse", description="Task families that no skill serves: an error, or `play` them without skills."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_path(cls, values: Any) -> Any:
        return {"path": values} if isinstance(values, str) else values

    @field_validator("tasks", mode="before")
    @classmethod
    def _listed(cls, tasks: Any) -> Any:
        """A text of families with commas between is a list of them, as in `metadata.tasks`."""
        if not isinstance(tasks, Mapping):
            return tasks
        return {name: split_tasks(given) if isinstance(given, str) else given for name, given in tasks.items()}

    @field_validator("tasks")
    @classmethod
    def _named(cls, tasks: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, families in tasks.items():
            if not families or any(not family.strip() or "," in family for family in families):
                raise ValueError(f"{name}: name families without commas, or leave the skill out (skills.exclude)")
        return tasks

    @model_serializer(mode="wrap")
    def _as_path(self, handler: SerializerFunctionWrapHandler) -> Any:
        values = handler(self)
        return self.path if self == SkillsConfig(path=self.path) else values

    def __str__(self) -> str:
        return self.path
