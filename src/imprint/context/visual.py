"""A context with pictures: skills, history or both as pixels, in a prompt that is built anew at every turn.

What changes least and grows most is drawn; the task, what is seen now and the answer format stay text. Where the policy
may, it chooses the compression of its next picture (`compression.py`). Departures from SKILL0's reference: the
picture holds the skills too, as the paper has it (the code shows them as text), and an empty picture is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from imprint.context.compression import asked_factor, without_factor
from imprint.context.config import ContextConfig
from imprint.context.image import Renderer
from imprint.context.pages import load_templates, render_exemplars, render_pages
from imprint.context.prompt import CUE, Context, seen_before
from imprint.context.shown import Shown
from imprint.envs.base import ParseAnswer
from imprint.models.sampling import Prompt
from imprint.skills.skill import Skill
from imprint.types import Episode, Exemplar, Picture, StepResult, Turn

if TYPE_CHECKING:
    from imprint.models.local.policy import Policy


@dataclass(frozen=True, slots=True)
class TurnPrompt:
    """A turn's prompt, and how many tokens it would be if its picture were text."""

    prompt: Prompt
    text_tokens: int


class VisualContext(Context):
    """Builds the prompt of each turn.

    Args:
        policy: one with a vision encoder.
        goal: what is asked for, out of a task's first observation; by default all of that.
    """

    def __init__(
        self,
        policy: Policy,
        config: ContextConfig,
        templates: Path | None = None,
        parse: ParseAnswer | None = None,
        goal: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(policy, config, templates, parse)
        self._visual = load_templates("visual", templates)
        self._kept |= self._format_tokens(self._visual)
        self._goal = goal or (lambda first: first)
        self.renderer = Renderer(config.image)
        # Of one picture, which a group shares and whose tokens are counted at every turn.
        self._spelled = lru_cache(maxsize=1024)(self._spell)
        self._told = lru_cache(maxsize=1024)(lambda picture: len(policy.encode(picture.text + "\n")))

    @property
    def grows(self) -> bool:
        """Whether each prompt of an episode is the one before it and more: the picture holds nothing but the pages."""
        config = self.config
        return self.style == "plain" and config.history == "text" and not (config.compression or config.show_admissible)

    def start(self, skills: Sequence[Skill], first: StepResult, exemplars: Sequence[Exemplar] = ()) -> Prompt:
        """The prompt of the first turn; the part up to the picture's end is marked as shared."""
        prompt = self.turn_prompt(skills, exemplars, first.observation, (), first).prompt
        return replace(prompt, shared=len(self._parts("")[0]) + sum(len(self._spelled(one)) for one in prompt.pictures))

    def as_text(self, prompt: Prompt, read: int) -> int:
        return read + sum(self._told(one) - len(self._spelled(one)) for one in prompt.pictures)

    def turn_prompt(
        self, skills: Sequence[Skill], exemplars: Sequence[Exemplar], first: str, turns: Sequence[Turn], now: StepResult
    ) -> TurnPrompt:
        """What the policy reads before its next response.

        Args:
            first: the first observation of the episode.
            turns: those behind it.
            now: what it sees now.
        """
        pages = render_pages(self._templates, skills) + render_exemplars(self._templates, exemplars)
        history = self._history(first, turns)
        drawn = "\n".join(
            text.strip("\n")
            for text, kind in ((pages, self.config.skills), (history, self.config.history))
            if kind == "image" and text
        )
        text = self._visual.get_template(f"{self.style}.j2").render(
            skills=pages if self.config.skills == "text" else "",
            goal=_flat(self._goal(first)),
            history=history if self.config.history == "text" else "",
            number=len(turns) + 1,
            observation=now.observation,
            admissible=now.admissible if self.config.show_admissible else (),
            compression=self.config.compression,
        )
        before, body, after = self._parts(text)
        if not drawn:
            return TurnPrompt(Prompt((*before, *body, *after)), len(before) + len(body) + len(after))
        factor = turns[-1].compression if turns else 1.0
        picture = Picture(drawn, factor, self.renderer.pixels)
        seen = self._spelled(picture)
        as_text = len(before) + self._told(picture) + len(body) + len(after)
        return TurnPrompt(Prompt((*before, *seen, *body, *after), pictures=(picture,)), as_text)

    def render(self, episode: Episode, shown: Shown) -> list[Prompt]:
        if not episode.views:
            return super().render(episode, shown)
        first = episode.first_observation
        return [
            self.turn_prompt(
                shown.skills, shown.exemplars, first, episode.turns[:turn], seen_before(episode, turn)
            ).prompt
            for turn in range(len(episode.turns))
        ]

    def read(self, response: str) -> tuple[str, bool, float]:
        """The command in a response, whether it keeps the format, and the factor for the next picture."""
        if not self.config.compression:
            return *self.parse(response), 1.0
        spoken = without_factor(response) if self.style == "plain" else response
        return *self.parse(spoken), asked_factor(response)

    def _spell(self, picture: Picture) -> tuple[int, ...]:
        assert self.policy.vision is not None
        return tuple(self.policy.vision.spelled(picture))

    def _history(self, first: str, turns: Sequence[Turn]) -> str:
        """What was seen, and what was done then: one line a turn, or for a base model the transcript that it knows. As
        text each prompt of such a model then begins with the one before it."""
        seen = [first, *(turn.observation for turn in turns)]
        if self.style == "plain":
            steps = [{"observation": o, "action": turn.action} for o, turn in zip(seen, turns, strict=False)]
            return self._visual.get_template("transcript.j2").render(turns=steps)
        lines = [{"observation": _flat(o), "action": _flat(turn.action)} for o, turn in zip(seen, turns, strict=False)]
        return self._visual.get_template("history.j2").render(turns=lines)

    def _parts(self, text: str) -> tuple[list[int], list[int], list[int]]:
        """The tokens before the picture, those of the text, and those after it."""
        if self.style == "plain":
            bos = self.policy.tokenizer.bos_token_id
            return [] if bos is None else [int(bos)], self.policy.encode(text + CUE), []
        frame, encode = self._frame, self.policy.encode
        return encode(frame.opening, special=True), encode(text), encode(frame.cue, special=True)


def _flat(text: str) -> str:
    return " ".join(text.split())
