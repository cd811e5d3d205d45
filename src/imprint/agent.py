"""An agent: a model, a skill library, and what of the library is shown. Every method maps an agent to an agent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imprint.errors import CheckpointError
from imprint.measurement.conditions import WITH, Condition
from imprint.skills.config import SkillsConfig
from imprint.skills.library import SkillLibrary, load_library
from imprint.support.files import atomic_write

__all__ = ["Agent", "ModelRef"]

FILE = "agent.json"


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model: `imprint-tiny`, a folder, a hub name, or with an endpoint the name that its server has for it.

    Attributes:
        base: the name or folder.
        patches: folders of adapters put on the base, in order.
        endpoint: the address of the server that has it; None: a model in this process.
    """

    base: str
    patches: tuple[str, ...] = ()
    endpoint: str | None = None

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {"base": self.base, "patches": list(self.patches), "endpoint": self.endpoint}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ModelRef:
        """The inverse of `to_record`."""
        return cls(record["base"], tuple(record["patches"]), record["endpoint"])


@dataclass(frozen=True, eq=False)
class Agent:
    """What a method takes and gives.

    Attributes:
        model: what acts.
        library: its skills; immutable.
        shown: its default way of showing them.
        skills: where the library came from (a folder, an installed name, or a recipe's section), so that the agent can
            be saved.
    """

    model: ModelRef
    library: SkillLibrary
    shown: Condition = WITH
    skills: str | SkillsConfig = ""

    def trained(self, checkpoint: Path | None, shown: Condition) -> Agent:
        """The agent with the weights of a checkpoint (None: those it has), which shows its skills so."""
        model = self.model if checkpoint is None else ModelRef(str(checkpoint))
        return replace(self, model=model, shown=shown)

    def showing(self, shown: Condition) -> Agent:
        """The agent with another default condition."""
        return replace(self, shown=shown)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Agent) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[object, ...]:
        return self.model, self.library.content_hash, self.shown

    def save(self, folder: Path) -> Path:
        """Write the agent as `agent.json` into `folder`: its model and skills by name, not their files.

        Raises:
            CheckpointError: its library came from nowhere that could be named.
        """
        if not self.skills:
            raise CheckpointError(
                "the agent's library is in no folder", where=folder, hint="save the skills first, and name their folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        skills = self.skills if isinstance(self.skills, str) else self.skills.model_dump(mode="json")
        record = {"model": self.model.to_record(), "skills": skills, "shown": self.shown.to_record()}
        atomic_write(folder / FILE, json.dumps(record, indent=1) + "\n")
        return folder / FILE

    @classmethod
    def load(cls, folder: Path) -> Agent:
        """The inverse of `save`.

        Raises:
            CheckpointError: there is no agent, or its record is damaged.
            LibraryError, SkillError: its skills cannot be read.
        """
        path = folder / FILE
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            model, shown = ModelRef.from_record(record["model"]), Condition.from_record(record["shown"])
            skills = SkillsConfig.model_validate(record["skills"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"holds no agent: {error!r}", where=path, hint="check the path") from error
        return cls(model, load_library(skills), shown, skills)
