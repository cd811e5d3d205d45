"""The settings of the context: plain data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ContextConfig(BaseModel):
    """The recipe's `context` section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    style: Literal["auto", "plain", "chat"] = Field(
        default="auto",
        description="plain: a transcript, a command a line; chat: the chat template; auto: chat if there is one.",
    )
    show_admissible: bool = Field(
        default=False, description="List the possible commands at every turn, as published prompts do (many tokens)."
    )


class SkicConfig(BaseModel):
    """The recipe's `skic` section (method `skic`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exemplars: int = Field(default=2, ge=1, description="Solved tasks of the same family after the skills.")
