"""What a server's answer means: a reply, something to try again, a full context, or an error for the user."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from imprint.errors import PolicyError
from imprint.models.served import context_full
from imprint.models.served.usage import Usage
from imprint.models.thoughts import TAG, without_tags

CHARACTERS = 4  # a token, where the server does not count
AGAIN = (408, 409, 425, 429)  # and all of 500 and above
# What a `finish_reason` says of an answer that is whole, or cut at the token limit. Any other means that it is neither.
_FINISHED = re.compile(
    r"(?!.*(?:error|fail|incomplete|unfinish|unspecified|disconnect|malformed))"
    r".*(?:stop|\bend|eos|complete|length|limit|max|token|tool|function|done|finish|success|normal|refus|repetition)",
    re.IGNORECASE | re.DOTALL,
)
_FILTERED = re.compile(
    r"content_?(?:filter|policy)|safety|recitation|blocklist|prohibited|spii|sensitive|guardrail|toxic", re.IGNORECASE
)
_LONGEST = 300  # characters of a server's message that are shown


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    Attributes:
        text: all that the model wrote; reasoning that the server keeps apart stands before it, between <think> tags.
        answer: the content alone, which stands in the conversation from now on.
    """

    text: str
    answer: str
    usage: Usage


class TransientError(Exception):
    """Worth another try; `wait` is how many seconds the server asks for, if it does."""

    def __init__(self, problem: str, wait: float | None = None) -> None:
        super().__init__(problem)
        self.wait = wait


class ContextFullError(Exception):
    """The conversation no longer fits the model's context."""


class FilteredError(Exception):
    """A filter before the model refused the conversation."""


def read_reply(body: bytes, messages: Sequence[Mapping[str, str]], secret: str = "") -> Reply:
    """The answer in the body of a 200.

    Args:
        secret: never shown, whatever the server repeats.

    Raises:
        TransientError: it is no chat completion, or the server did not finish it.
        ContextFullError: the conversation is too long, by the body's error or the reason why the answer ended.
    """
    content = _completion(body, secret)
    try:
        choice = content["choices"][0]
        message, reason = choice["message"], str(choice.get("finish_reason") or "")
        said, thought = _said(message.get("content"))
        said = said or without_tags(_any_text(message.get("refusal")))  # to be read, and never acted on
        thought = next((text for name in _THOUGHTS if (text := _any_text(message.get(name)))), thought)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TransientError("the answer is not a chat completion: it holds no choice with a message") from error
    if context_full.FINISHED.search(reason):
        raise ContextFullError(f"the answer ended with {reason[:_LONGEST]!r}")
    filtered = _FILTERED.search(reason) is not None
    unfinished = not (filtered or _FINISHED.match(reason)) if reason else not (said or thought)
    if choice.get("error") or unfinished:
        raise _failure("the server did not finish the answer", choice.get("error") or reason, secret)
    said = "" if filtered else said
    # A server that takes the thoughts out of the answer would make every answer break the format.
    text = f"<think>{without_tags(thought)}</think>{said}" if thought and not TAG.search(said) else said
    usage = _usage(content.get("usage"), sum(len(sent["content"]) for sent in messages), len(text))
    usage.empty, usage.cut = int(not said.strip()), int(reason.lower() in ("length", "max_tokens"))
    return Reply(text, said, usage)


def _completion(body: bytes, secret: str) -> dict[str, Any]:
    """The JSON object of a body, if it is not an error."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        kind = "UTF-8" if isinstance(error, UnicodeDecodeError) else "JSON"
        begins = _masked(body[:_LONGEST].decode("utf-8", "replace"), secret)[:60]
        raise TransientError(f"the answer is not a chat completion: no valid {kind}, it begins {begins!r}") from error
    if not isinstance(content, dict) or content.get("error") or not content.get("choices"):
        raise _failure("the answer is not a chat completion", content, secret)
    return content


def _failure(problem: str, told: Any, secret: str) -> TransientError | ContextFullError:
    """What it means that a server fails with status 200 and tells `told`."""
    complaint = _complaint(told)
    shown = _masked(complaint.message, secret)
    if context_full.says_full(200, complaint.codes, complaint.told):
        return ContextFullError(shown)
    return TransientError(f"{problem}: {shown}" if shown else problem)


_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thoughts", "reasoning_details", "thinking_blocks")


def _said(content: Any) -> tuple[str, str]:
    """What is said in a message's content and what is thought in it: some servers send it in parts of both kinds."""
    said, thought = [], []
    for part in content if isinstance(content, list) else [content]:
        if not isinstance(part, dict):
            said.append(_any_text(part))
        elif (part.get("type") or "text") in ("text", "output_text") and not part.get("thought"):
            said.append(_any_text(part.get("text")))
        elif part.get("type") == "refusal":
            said.append(without_tags(_any_text(part.get("refusal"))))
        else:
            thought.append(_any_text(part))
    return "".join(said), "".join(thought)


def _any_text(value: Any) -> str:
    """All the text in a value, in whatever parts it comes."""
    if isinstance(value, list):
        return "".join(map(_any_text, value))
    if isinstance(value, dict):
        names = ("text", "value", "thinking", "reasoning", "summary", "content")
        return next((text for name in names if (text := _any_text(value.get(name)))), "")
    return str(value).encode("utf-8", "replace").decode() if value else ""  # a lone surrogate can go nowhere


def _usage(counted: Any, read: int, written: int) -> Usage:
    counted = counted if isinstance(counted, dict) else {}
    details = counted.get("prompt_tokens_details")
    prompt, completion = _count(counted, "prompt_tokens"), _count(counted, "completion_tokens")
    return Usage(
        requests=1,
        prompt_tokens=prompt or -(-read // CHARACTERS),
        completion_tokens=-(-written // CHARACTERS) if completion is None else completion,
        cached_tokens=min(prompt or 0, _count(details if isinstance(details, dict) else {}, "cached_tokens") or 0),
        estimated=int(not prompt or completion is None),
    )


def _count(counted: Mapping[str, Any], name: str) -> int | None:
    value = counted.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def raise_refusal(
    status: int, body: bytes, headers: Mapping[str, str], *, where: str, model: str, served: Sequence[str], secret: str
) -> NoReturn:
    """What an answer other than 200 means.

    Args:
        served: the names of the models that the server lists, for the hint.
        secret: never shown, whatever the server repeats.

    Raises:
        TransientError: a busy or broken server.
        ContextFullError: the conversation is too long.
        FilteredError: the provider's filter does not let it through.
        PolicyError: anything else: the key, the model's name, a parameter.
    """
    complaint = _complaint(_parsed(body))
    shown = _masked(complaint.message, secret)
    if context_full.says_full(status, complaint.codes, complaint.told):
        raise ContextFullError(shown)
    if status < 500 and any(map(_FILTERED.search, complaint.codes)):
        raise FilteredError(shown)
    if (status in AGAIN and "insufficient_quota" not in complaint.codes) or status >= 500:
        raise TransientError(f"status {status}: {shown}", retry_after(headers))
    if status in (401, 403):
        problem, key, hint = "the server refuses the key", "endpoint.api_key_env", _key_hint(bool(secret))
    elif 300 <= status < 400:
        to = _masked(headers.get("location", "nowhere"), secret)
        problem, key = f"the server redirects to {to} (status {status})", "endpoint.base_url"
        hint = "give the address that it redirects to, up to /v1: a key is sent to base_url alone"
    elif status == 407:
        problem, key, hint = (
            "the proxy asks for a password",
            "endpoint.base_url",
            "put it into HTTPS_PROXY or HTTP_PROXY",
        )
    elif status in (404, 405):
        names = ", ".join(served[:8]) or "the server's list of models is empty or not public"
        problem, key = f"the server does not serve {model!r} here", "model"
        hint = f"check the model's name ({names}) and base_url, which mostly ends in /v1"
    elif status in (402, 429):
        problem, key, hint = "the account's quota is used up", "endpoint.api_key_env", "see the provider's billing page"
    else:
        problem, key = f"the server refuses the request (status {status})", "endpoint.extra"
        hint = "leave out what it does not take, e.g. endpoint.extra: {seed: null}"
    raise PolicyError(f"{problem}: {shown}" if shown else problem, where=where, key=key, hint=hint)


def _key_hint(sent: bool) -> str:
    if sent:
        return "check the key in that variable, and what it may do"
    return "put the key in an environment variable and its name here: --set endpoint.api_key_env=NAME"


@dataclass(frozen=True, slots=True)
class _Complaint:
    """What a server says of a failure: its codes, its message, and all that is told anywhere in it."""

    codes: frozenset[str]
    message: str
    told: str


_TOLD = (
    "message",
    "msg",
    "detail",
    "error",
    "raw",
    "metadata",
    "base_resp",
    "status_msg",
    "code",
    "type",
    "error_type",
)


def _parsed(body: bytes) -> Any:
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()


def _complaint(content: Any) -> _Complaint:
    """What an error says, in the shapes that servers have."""
    content = content[0] if isinstance(content, list) and content else content  # Gemini
    error = (content.get("error") or content) if isinstance(content, dict) else content
    if not isinstance(error, dict):
        return _Complaint(frozenset(), str(error), str(error))
    codes = frozenset(str(error[key]) for key in ("code", "type") if error.get(key))
    return _Complaint(codes, str(error.get("message") or error.get("detail") or error), _all_told(content))


def _all_told(value: Any) -> str:
    """The texts of an error that are the server's own: what it repeats of the request is none of them."""
    if isinstance(value, list):
        return "\n".join(map(_all_told, value))
    if isinstance(value, dict):
        return "\n".join(_all_told(value[name]) for name in _TOLD if name in value)
    return str(value)


def _masked(text: str, secret: str) -> str:
    """The beginning of what a server says, without the key."""
    return (text.replace(secret, "***") if secret else text)[:_LONGEST]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that `Retry-After` asks for (RFC 9110: seconds or a date); None if it asks for none."""
    value = headers.get("retry-after", "")
    for read in (float, lambda date: parsedate_to_datetime(date).timestamp() - time.time()):
        with suppress(ValueError, TypeError):
            return max(0.0, read(value))
    return None
