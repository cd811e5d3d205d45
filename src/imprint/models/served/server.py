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
from imprint.models.served.usage import Usage

CHARACTERS = 4  # a token, where the server does not count
AGAIN = (408, 409, 425, 429)  # and all of 500 and above
_FULL = re.compile(
    r"context[_ ](length|size|window)|maximum context|exceeds? (the )?(model'?s )?(available )?context"
    r"|longer than the model'?s|(prompt|input) (is )?too long",
    re.IGNORECASE,
)
_LONGEST = 300  # characters of a server's message in our errors


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    Attributes:
        text: all of the model's output, with the reasoning that some servers return apart.
        spoken: the part that stays in the conversation.
    """

    text: str
    spoken: str
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


def read_reply(body: bytes, messages: Sequence[Mapping[str, str]]) -> Reply:
    """The answer in the body of a 200.

    Raises:
        TransientError: it is no chat completion.
    """
    try:
        content = json.loads(body)
        choice = content["choices"][0]
        message = choice["message"]
        spoken, reasoning = _text(message, "content", "refusal"), _text(message, "reasoning_content", "reasoning")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TransientError("the answer is not a chat completion") from error
    # A server that takes the thoughts out of the answer would make every answer break the format.
    text = f"<think>{reasoning}</think>{spoken}" if reasoning and "<think>" not in spoken else spoken
    usage = _usage(content.get("usage"), sum(len(message["content"]) for message in messages), len(text))
    usage.empty, usage.cut = int(not spoken.strip()), int(choice.get("finish_reason") == "length")
    return Reply(text, spoken, usage)


def _text(message: Mapping[str, Any], *names: str) -> str:
    """The first of the fields that holds text; some servers send it in parts."""
    for name in names:
        value = message.get(name)
        if isinstance(value, list):
            value = "".join(part.get("text") or "" for part in value)
        if value:
            return str(value).encode("utf-8", "replace").decode()  # a lone surrogate can go nowhere
    return ""


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
    code, message = _complaint(body)
    shown = (message.replace(secret, "***") if secret else message)[:_LONGEST]
    if status != 429 and (code in ("context_length_exceeded", "exceed_context_size_error") or _FULL.search(message)):
        raise ContextFullError(shown)
    if status < 500 and code == "content_filter":
        raise FilteredError(shown)
    if (status in AGAIN and code != "insufficient_quota") or status >= 500:
        raise TransientError(f"status {status}: {shown}", retry_after(headers))
    if status in (401, 403):
        problem, key, hint = "the server refuses the key", "endpoint.api_key_env", _key_hint(bool(secret))
    elif status == 404:
        names = ", ".join(served[:8]) or "the server's list of models is empty or not public"
        problem, key = f"the server does not serve {model!r} here", "model"
        hint = f"check the model's name ({names}) and base_url, which mostly ends in /v1"
    elif status == 429:
        problem, key, hint = "the account's quota is used up", "endpoint.api_key_env", "see the provider's billing page"
    else:
        problem, key = f"the server refuses the request (status {status})", "endpoint.extra"
        hint = "leave out what it does not take, e.g. endpoint.extra: {seed: null}"
    raise PolicyError(f"{problem}: {shown}" if shown else problem, where=where, key=key, hint=hint)


def _key_hint(sent: bool) -> str:
    if sent:
        return "check the key in that variable, and what it may do"
    return "put the key in an environment variable and its name here: --set endpoint.api_key_env=NAME"


def _complaint(body: bytes) -> tuple[str, str]:
    """(code, message) of an error's body, in the shapes that servers have."""
    text = body.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return "", text.strip()
    error = content.get("error", content) if isinstance(content, dict) else content
    if not isinstance(error, dict):
        return "", str(error)
    code = next((error[key] for key in ("code", "type") if isinstance(error.get(key), str)), "")
    return code, str(error.get("message") or error.get("detail") or error)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that `Retry-After` asks for (RFC 9110: seconds or a date); None if it asks for none."""
    value = headers.get("retry-after", "")
    for read in (float, lambda date: parsedate_to_datetime(date).timestamp() - time.time()):
        with suppress(ValueError, TypeError):
            return max(0.0, read(value))
    return None
