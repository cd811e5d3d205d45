"""What a model's chat template puts around the texts of a conversation, checked to lose none of them.

A template is a program that may do anything with a conversation. An episode is one sequence of tokens that only grows,
so a template serves if it puts every text once, in order and under its role, and the same around each turn, however
long the conversation becomes. That is tried on a conversation of `TURNS` turns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from imprint.errors import PolicyError
from imprint.models.thoughts import TAG

TURNS = 64
_LONG = 8_000  # characters of the first text, to notice a template that cuts texts
_SHOWN = 60  # characters of a template's text in an error
_ROLES = ("user", "assistant")
_PARTS = ((), _ROLES, ("user",))  # the roles whose content may have to be a list of parts
_USER, _ASSISTANT = (re.compile(words, re.IGNORECASE) for words in ("user|human", "assistant|model|bot|gpt"))
_DAY = datetime(2024, 7, 26)  # that of Llama 3's own default
_CODES = "".join(f" | replace('%{code}', '{_DAY.strftime('%' + code)}')" for code in "YymbBdaAHMS")
_SAME_DAY = f"{{% macro strftime_now(form) %}}{{{{ form{_CODES} }}}}{{% endmacro %}}\n"


@dataclass(frozen=True, slots=True)
class Frame:
    """The texts around those of a conversation.

    Attributes:
        opening: before the first user text.
        cue: between a user text and the answer.
        thought: the end of `cue` that opens a thought for the model, as `<think>`; "" in most templates.
        end: what closes an answer, up to the special token that the model generates itself.
        stop: that token; the tokenizer's end of sequence, or "", if the template has none.
        glue: between the end of an answer and the next user text.
        opens: whether `stop` is the first token of the next user turn, and so never left out (GLM).
    """

    opening: str
    cue: str
    thought: str
    end: str
    stop: str
    glue: str
    opens: bool


def read_frame(tokenizer: Any, name: str) -> Frame:
    """The frame that the tokenizer's chat template puts around any conversation.

    Args:
        name: of the model, for errors.

    Raises:
        PolicyError: the template refuses a conversation, loses or changes a text, or changes what stands around it.
    """
    texts = _texts()
    try:
        whole, first = _rendered(tokenizer, texts)
        return _frame(tokenizer, _gaps(whole, texts), _gaps(first, texts[:1]))
    except Exception as error:  # a template is a program: it is free to refuse, and to fail in any way
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PolicyError(
            f"the chat template cannot be used for several turns: {problem}",
            where=name,
            key="context.style",
            hint="set context.style: plain, or use a model with another template",
        ) from error


def _rendered(tokenizer: Any, texts: Sequence[str]) -> tuple[str, str]:
    """The whole conversation, and its first message alone; texts as parts where the template wants that."""
    found: list[str | Exception] = []
    for parts in _PARTS:
        try:
            found.append(whole := _render(tokenizer, texts, parts))
        except Exception as error:
            found.append(error)
        else:
            if all(text in whole for text in texts):
                return whole, _render(tokenizer, texts[:1], parts)
    text = next((one for one in found if isinstance(one, str)), found[0])
    if isinstance(text, Exception):
        raise text
    return text, text


def _texts() -> list[str]:
    """User texts and answers in turn, each found in no other."""
    texts = [f'␂{place:03}: It says "so" & <b>*so*</b>,\n\n  - it\'s so {{}}: 1.␃' for place in range(2 * TURNS + 1)]
    return [texts[0] + "so " * (_LONG // 3) + "␃", *texts[1:]]


def _render(tokenizer: Any, texts: Sequence[str], parts: Sequence[str]) -> str:
    template = tokenizer.get_chat_template()
    if "strftime_now" in template:  # a prompt that tells the date would make another run every day
        template = _SAME_DAY + template
    messages = []
    for place, text in enumerate(texts):
        role = _ROLES[place % 2]
        messages.append({"role": role, "content": [{"type": "text", "text": text}] if role in parts else text})
    rendered: str = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    return rendered


def _gaps(rendered: str, texts: Sequence[str]) -> list[str]:
    """What stands before, between and after the texts.

    Raises:
        ValueError: they do not stand there once, and in order.
    """
    for place, text in enumerate(texts):
        if (count := rendered.count(text)) != 1:
            kept = text[:6] in rendered
            done = f"repeats ({count} times)" if count else "cuts or changes" if kept else "drops"
            raise ValueError(f"it {done} the text of message {place + 1} of {len(texts)}, {_ROLES[place % 2]}")
    places = [rendered.index(text) for text in texts]
    if places != sorted(places):
        moved = next(n for n, (one, other) in enumerate(pairwise(places)) if one > other)
        raise ValueError(f"it puts message {moved + 2} of {len(texts)} before the one that it follows")
    starts, ends = [*places, len(rendered)], [0, *(p + len(text) for p, text in zip(places, texts, strict=True))]
    return [rendered[end:start] for end, start in zip(ends, starts, strict=True)]


def _frame(tokenizer: Any, gaps: Sequence[str], alone: Sequence[str]) -> Frame:
    """The frame out of the gaps of a long conversation and of its first message alone.

    Raises:
        ValueError: they differ from turn to turn, or do not tell the roles apart.
    """
    (opening, cue), answered, asked = alone, gaps[1], gaps[2]
    _same(gaps[0], opening, "what stands before the first message changes as the conversation grows")
    for place, gap in enumerate(gaps[1:-1]):
        _same(
            gap, asked if place % 2 else answered, f"what stands after message {place + 1} is not as after the others"
        )
    for last in (cue, gaps[-1]):
        _same(_bare(last), _bare(answered), "the prompt for an answer is not what stands before an answer later")
    named = [bool(role.search(gap)) for gap in (answered, asked) for role in (_USER, _ASSISTANT)]
    if _bare(answered) == _bare(asked) or named == [True, False, False, True]:
        raise ValueError(f"answers do not stand under a role of their own, but after {answered[-_SHOWN:]!r}")
    end, stop, glue = _split_end(tokenizer, asked)
    opens = bool(stop) and opening.endswith(stop + glue) and stop not in cue and not _USER.search(glue)
    if not (opens or _same_role(opening, asked, glue.strip(), answered)):
        raise ValueError(
            f"the first message stands after {opening[-_SHOWN:]!r}, and later ones after {asked[-_SHOWN:]!r}"
        )
    bos, tail = tokenizer.bos_token, cue[len(_bare(cue)) :].strip()
    while bos and opening.startswith(bos + bos):
        opening = opening.removeprefix(bos)
    return Frame(opening, cue, tail if TAG.search(tail) else "", end, stop, glue, opens)


def _same_role(opening: str, asked: str, header: str, answered: str) -> bool:
    """Whether the first user text stands under the header of later ones, before which `asked` ends an answer.

    Where the markers are tokens, the end is told from the header; where they are not, the first difference from what
    follows a user text is it, or the last word.
    """
    if header and header in opening:
        return True
    common = next((n for n, (one, other) in enumerate(zip(asked, answered, strict=False)) if one != other), 0)
    first, later, other = (re.findall(r"\w+", text) for text in (opening, asked, answered))
    word = later[-1:] == first[-1:] and later[-1] not in other
    return word or (common > 0 and asked[common:].strip() in opening)


def _same(found: str, expected: str, problem: str) -> None:
    if found != expected:
        raise ValueError(f"{problem}: {found[-_SHOWN:]!r} instead of {expected[-_SHOWN:]!r}")


def _split_end(tokenizer: Any, gap: str) -> tuple[str, str, str]:
    """What stands after an answer as its end, the special token in it, and the rest.

    The end is not always the tokenizer's end of sequence, which ends a document and not a turn (Phi, base models of
    Qwen).
    """
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    specials = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()} - ({bos} - {eos})
    after = gap.lstrip()
    stop = max((token for token in specials if token and after.startswith(token)), key=len, default="")
    if not stop:
        return eos or "", eos or "", gap
    rest = after.removeprefix(stop)
    while rest.startswith(stop):
        rest = rest.removeprefix(stop)
    return gap[: len(gap) - len(after)] + stop, stop, rest


def _bare(gap: str) -> str:
    """`gap` without the tags of a thought at its end: some templates open one for the model, some show an empty one in
    earlier answers."""
    return re.sub(rf"(?:\s*(?:{TAG.pattern}))+\s*$", "", gap, flags=re.IGNORECASE).rstrip()
