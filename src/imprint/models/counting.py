"""Counts tokens as a model reads them, without its weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from imprint.errors import PolicyError

TINY = "imprint-tiny"
_NO_LIMIT = 100_000_000  # tokenizers without a limit of their own name a far greater number


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """A model's tokenizer, and what else of the model decides the length of a context.

    Attributes:
        count: the tokens of a text; what looks like a special token counts as the text it is.
        style: of the pages' templates, as `context.style: auto` chooses it.
        context: the longest context that the tokenizer admits, if it has a limit.
    """

    count: Callable[[str], int]
    style: Literal["plain", "chat"]
    context: int | None


def token_counter(model: str) -> TokenCounter:
    """The counter of `imprint-tiny`, a local folder, or a hub name.

    Raises:
        PolicyError: no tokenizer is there.
    """
    if model == TINY:
        return _tiny_counter()
    from transformers import AutoTokenizer

    source = model
    if source.startswith((".", "/", "~")) and not Path(source).exists():
        raise PolicyError("there is no such folder", where=source, key="--model", hint="check the path")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(source)
    except Exception as error:  # the library has its own kinds for every way a folder can be wrong
        raise PolicyError(
            f"cannot load a tokenizer: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            where=source,
            key="--model",
            hint=f"name {TINY!r}, a folder with a tokenizer, or a hub model",
        ) from error

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    limit = getattr(tokenizer, "model_max_length", None)
    context = int(limit) if isinstance(limit, int | float) and 0 < limit < _NO_LIMIT else None
    return TokenCounter(count, "chat" if getattr(tokenizer, "chat_template", None) else "plain", context)


def _tiny_counter() -> TokenCounter:
    """Without transformers, which takes seconds to import."""
    from tokenizers import Tokenizer

    folder = resources.files("imprint.models") / "tiny"
    tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer.encode_special_tokens = True
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return TokenCounter(count, "plain", int(settings["model_max_length"]))
