"""What a model behind an endpoint sees: the same texts as in a `chat` context, as messages and not as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imprint.context.config import ContextConfig
from imprint.context.pages import load_templates, render_exemplars, render_pages, render_result, sources
from imprint.envs.answers import parse_tags
from imprint.envs.base import ParseAnswer
from imprint.errors import RecipeError
from imprint.models.thoughts import quiet
from imprint.skills.skill import Skill
from imprint.types import Exemplar, StepResult


class ChatContext:
    """Builds the user's side of a conversation that only grows.

    Args:
        config: the recipe's section.
        templates: a folder with `chat/` templates of the world's own; ours where it has none.
        parse: the world's own reading of an answer, in place of `parse_tags`.

    Raises:
        RecipeError: the recipe asks for a transcript, which is not a conversation.
    """

    def __init__(self, config: ContextConfig, templates: Path | None = None, parse: ParseAnswer | None = None) -> None:
        if config.style == "plain":
            raise RecipeError(
                "an endpoint takes a conversation, not a transcript",
                key="context.style",
                hint="set context.style: chat",
            )
        self.config = config
        self._parse = parse or parse_tags
        self._templates = load_templates("chat", templates)

    def start(self, skills: Sequence[Skill], first: StepResult, exemplars: Sequence[Exemplar] = ()) -> str:
        """The first message: the skills, then the exemplars, then the task."""
        return render_pages(self._templates, skills) + self.exemplars(exemplars) + self._render("first.j2", first)

    def exemplars(self, exemplars: Sequence[Exemplar]) -> str:
        """The part of the first message that shows `exemplars`; "" without any."""
        return render_exemplars(self._templates, exemplars)

    def follow(self, result: StepResult) -> str:
        """The message after a command."""
        return self._render("next.j2", result)

    def parse(self, response: str) -> tuple[str, bool]:
        """The command in what a response says outside its thoughts, and whether it keeps the answer format."""
        return self._parse(quiet(response))

    def sources(self) -> list[str]:
        """The texts of the templates: what a conversation's words depend on, beside its exemplars."""
        return sources(self._templates, ("skill.j2", "first.j2", "next.j2"))

    def _render(self, template: str, result: StepResult) -> str:
        return render_result(self._templates, template, result, show_admissible=self.config.show_admissible)
