"""What the policy sees: skills, task and observations as tokens, in a context that only grows (`append`).

Every piece of text is turned into tokens once and concatenated as tokens, so nothing that was sampled is ever
tokenised again. Two styles: `plain` for base models (a transcript of `> command` lines) and `chat` for instruction
models (the tokenizer's own chat template, the answer between <action> tags).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment

from imprint.context.chat_template import Frame, read_frame
from imprint.context.config import ContextConfig
from imprint.context.pages import load_templates, render_exemplars, render_pages, render_result, sources
from imprint.context.shown import Shown
from imprint.envs.answers import parse_tags
from imprint.envs.base import ParseAnswer
from imprint.errors import PolicyError, RecipeError
from imprint.models.sampling import Prompt
from imprint.models.thoughts import TAG, quiet, spoken
from imprint.skills.skill import Skill
from imprint.types import Episode, Exemplar, StepResult

if TYPE_CHECKING:  # it brings PyTorch along, which an endpoint does not need
    from imprint.models.local.policy import Policy

CUE = "\n>"  # what a plain transcript shows before each command
_TRANSCRIPT = Frame("", CUE, "", "\n", "\n", "", opens=True)


class Context:
    """Builds the tokens of an episode, piece by piece.

    Args:
        policy: whose tokenizer and chat template are used.
        config: the recipe's section.
        templates: a folder with `plain/` and `chat/` templates of the world's own; ours where it has none.
        parse: the world's own reading of a chat answer, in place of `parse_tags`.
    """

    def __init__(
        self, policy: Policy, config: ContextConfig, templates: Path | None = None, parse: ParseAnswer | None = None
    ) -> None:
        self.policy = policy
        self.config = config
        self._parse = parse or parse_tags
        has_template = bool(getattr(policy.tokenizer, "chat_template", None))
        self.style = config.style if config.style != "auto" else ("chat" if has_template else "plain")
        if self.style == "chat" and not has_template:
            raise RecipeError(
                f"the tokenizer of {policy.name} has no chat template",
                key="context.style",
                hint="set context.style: plain, or use an instruction-tuned model",
            )
        self._templates = load_templates(self.style, templates)
        self._page_tokens = lru_cache(maxsize=256)(self._encode_pages)
        self._frame = read_frame(policy.tokenizer, policy.name) if self.style == "chat" else _TRANSCRIPT
        end = self.policy.encode(self._frame.stop, special=True)
        if self.style == "plain" and len(end) != 1:
            raise PolicyError(
                "the tokenizer has no single token for the end of a line",
                where=policy.name,
                key="context.style",
                hint="set context.style: chat",
            )
        self._markers = "|".join(map(re.escape, self._added_in_frame()))
        self._ends = {*end, *_eos_ids(policy)}
        self._kept = self._format_tokens(self._templates)
        # Those after which an answer needs no end of the template's own.
        self._ended = {*end} if self._frame.opens else self._ends

    @property
    def stop_ids(self) -> set[int]:
        """Tokens that end a response: the line's end (plain), the chat template's end of turn, and the model's own."""
        return set(self._ends)

    def start(self, skills: Sequence[Skill], first: StepResult, exemplars: Sequence[Exemplar] = ()) -> Prompt:
        """The tokens before the first action; the part that holds the skills and exemplars is marked as shared."""
        pages = render_pages(self._templates, skills) + render_exemplars(self._templates, exemplars)
        if self.style == "plain":
            shared = self._page_tokens(pages)
            rest = self.policy.encode(self._render("first.j2", first) + CUE)
            return Prompt((*shared, *rest), len(shared))
        frame, encode = self._frame, self.policy.encode
        read = [*encode(frame.opening, special=True), *self._encode(pages)]
        rest = [*self._encode(self._render("first.j2", first)), *encode(frame.cue, special=True)]
        return Prompt((*read, *rest), len(read) if pages else 0)

    def follow(self, result: StepResult, last: int) -> list[int]:
        """The tokens between a response and the next one: the observation in its wrapping.

        Args:
            last: the response's last token; if the response did not end itself, its end is supplied here.
        """
        frame, encode = self._frame, self.policy.encode
        text = self._render("first.j2" if self.style == "plain" else "next.j2", result)
        end = "" if last in self._ended else frame.end
        if self.style == "plain":
            return encode(end + text + CUE)
        return [*encode(end + frame.glue, special=True), *self._encode(text), *encode(frame.cue, special=True)]

    def exchange(self, asked: str, skills: Sequence[Skill], last: int) -> tuple[list[int], list[int]]:
        """The tokens of a question in the place of an observation, and of the pages of `skills` as the answer to it.

        Args:
            last: the last token before it, as in `follow`.
        """
        pages = render_pages(self._templates, skills).strip()
        opening = " " if self.style == "plain" else ""
        return self.follow(StepResult(asked), last), [
            *self._encode(opening + pages),
            *self.policy.encode(self._frame.stop, special=True),
        ]

    def render(self, episode: Episode, shown: Shown) -> list[Prompt]:
        """The prompts that an episode would have been played with under another condition.

        Returns:
            One, where its sequence only grows; one per turn, where each turn has a prompt of its own.
        """
        return [self.start(shown.skills, seen_before(episode, 0), shown.exemplars)]

    def as_text(self, prompt: Prompt, read: int) -> int:
        """How many tokens the `read` ones, which begin with `prompt`, are with every picture counted as the text it
        shows; 0 where contexts have none."""
        return 0

    def parse(self, response: str) -> tuple[str, bool]:
        """The command in what a response says outside its thoughts, and whether it keeps the answer format."""
        if self.style == "plain":
            command = response.strip().split("\n", 1)[0].rstrip()  # some tokens hold a line's end and more
            return command, bool(command)
        opened = self._frame.thought
        if opened and not (spoken(opened + ".") and TAG.search(response)):  # it answers within what the prompt opened
            response = opened + response
        return self._parse(quiet(response))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of a sampled response."""
        return self.policy.decode(tokens, keep=self._kept)

    def _encode(self, text: str) -> list[int]:
        """The tokens of a text, in which the frame's tokens are cut: some tokenizers do not hold them for special."""
        if not self._markers:
            return self.policy.encode(text)
        cuts = [0, *(found.start() + 1 for found in re.finditer(self._markers, text)), len(text)]
        return [token for start, end in pairwise(cuts) for token in self.policy.encode(text[start:end])]

    def _encode_pages(self, text: str) -> tuple[int, ...]:
        bos = self.policy.tokenizer.bos_token_id
        return (*([] if bos is None else [int(bos)]), *(self.policy.encode(text) if text else []))

    def _render(self, template: str, result: StepResult) -> str:
        return render_result(self._templates, template, result, show_admissible=self.config.show_admissible)

    def _added_in_frame(self) -> list[str]:
        """The tokens of the frame that the tokenizer takes for ordinary text, the longest first."""
        frame, added = self._frame, self.policy.tokenizer.added_tokens_decoder.values()
        texts = (frame.opening, frame.cue, frame.end, frame.glue)
        found = {str(token) for token in added if not token.special and any(str(token) in text for text in texts)}
        return sorted((token for token in found if token.strip() and not TAG.fullmatch(token)), key=len, reverse=True)

    def _format_tokens(self, templates: Environment) -> set[int]:
        """The special tokens that belong to an answer: the tags of thoughts, and those that `templates` ask for."""
        asked = "".join(sources(templates, templates.list_templates()))
        added = self.policy.tokenizer.added_tokens_decoder.items()
        kept = {index for index, token in added if token.special and (str(token) in asked or TAG.fullmatch(str(token)))}
        return kept - self._ends


def seen_before(episode: Episode, turn: int) -> StepResult:
    """What stood before a turn of an episode, counted from 0: the observation, and the possible commands where kept."""
    observation = episode.turns[turn - 1].observation if turn else episode.first_observation
    return StepResult(observation, admissible=episode.admissible[turn] if episode.admissible else ())


def _eos_ids(policy: Policy) -> set[int]:
    """The ends that the tokenizer and the model's generation settings name.

    Raises:
        PolicyError: one is no number.
    """
    settings = getattr(policy.model, "generation_config", None)
    named = [policy.tokenizer.eos_token_id, getattr(settings, "eos_token_id", None)]
    found = [i for ids in named if ids is not None for i in (ids if isinstance(ids, list) else [ids])]
    for one in found:
        if not isinstance(one, int):
            raise PolicyError(
                f"is {one!r}, and no number of a token",
                where=policy.name,
                key="generation_config.json: eos_token_id",
                hint="give the number, or leave it out",
            )
    return set(found)
