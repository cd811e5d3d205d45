"""Where in an answer a model thinks: between <think> tags, or the tags of other families of models."""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = (
    r"(?:seed:|mm:|longcat_|ant_?|inner_)?"
    r"(?:think(?:ing)?|thoughts?|reasoning|reflection|scratch_?pad|monologue|analysis|思考)"
)
# Opening and closing tags; a group of a closing one matches something.
TAG = re.compile(
    "|".join(
        [
            rf"<(/?){_NAME}(?:\s[^<>]*)?>",  # DeepSeek, Qwen, GLM, Seed, Gemini, LongCat, ...
            r"\[(/?)THINK\]|◁(/?)think▷|<\|(/?)think(?:ing)?\|>",  # Magistral, Kimi, ...
            r"<\|?(?:(?:start|begin)(?:_of)?|(end(?:_of)?))_(?:think(?:ing)?|thoughts?|working_out)\|?>",  # Cohere, Sky
            r"<\|channel\|>analysis<\|message\|>|(<\|start\|>assistant<\|channel\|>final<\|message\|>)",  # gpt-oss
            r"(\bassistantfinal)(?=\W)|<unused94>thought|(<unused95>)|<\|channel>thought\b|(<channel\|>)",  # Gemma
        ]
    ),
    re.IGNORECASE,
)

_COMMON = re.compile(r"</?(?:think(?:ing)?|thoughts?|reasoning)>", re.IGNORECASE)


class Thought(NamedTuple):
    """Where a thought stands: `start:end` with its tags, `inside:until` without; `until == end` if it is not closed."""

    start: int
    inside: int
    until: int
    end: int


def thoughts(text: str) -> list[Thought]:
    """The thoughts in `text`, in their order.

    If anything is said after the last tag and that closes a thought, all before it is one: the prompt may have opened
    it, and it may mention tags itself. Else a thought extends to its closing tag, or to the end of the text.
    """
    found: list[Thought] = []
    opened: tuple[int, int] | None = None
    for tag in TAG.finditer(text):
        if not any(tag.groups()):
            opened = opened or tag.span()
            continue
        if opened is None:
            opened = found.pop()[:2] if found else (0, 0)
        found.append(Thought(*opened, *tag.span()))
        opened = None
    if opened is not None:
        return [*found, Thought(*opened, len(text), len(text))]
    if found and text[found[-1].end :].strip():
        inside = 0 if text[: found[0].start].strip() else found[0].inside
        return [Thought(0, inside, *found[-1][2:])]
    return found


def spoken(text: str) -> str:
    """`text` without its thoughts."""
    for one in reversed(thoughts(text)):
        text = text[: one.start] + text[one.end :]
    return text


def quiet(text: str) -> str:
    """`text` with no tag inside its thoughts, so that a command that is only thought of is not read as one. Thoughts
    that were opened in the prompt, or stand between tags that only some models have, stand between <think> tags."""
    for one in reversed(thoughts(text)):
        inner = without_tags(text[one.inside : one.until])
        opening, closing = _common(text[one.start : one.inside], "<think>"), text[one.until : one.end]
        closing = closing and _common(closing, "</think>")
        text = f"{text[: one.start]}{opening}{inner}{closing}{text[one.end :]}"
    return text


def _common(tag: str, default: str) -> str:
    """`tag` if a world could ask for it (<think>, <reasoning>, ...), else `default`."""
    return tag if _COMMON.fullmatch(tag.strip()) else default


def without_tags(thought: str) -> str:
    """`thought` with the tags that it mentions as <action> in other brackets, so that they open and close nothing."""
    return TAG.sub(lambda tag: f"‹{tag[0][1:-1]}›", thought).replace("<", "‹")
