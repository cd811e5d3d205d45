"""The actions of an agent in Search-QA, and the format of the results.

An action is one `<search>query</search>` or one `<answer>text</answer>`. The rules of what is well formed are those of
SKILL0's reference (arXiv 2604.02268, specs of its code): free reasoning around exactly one block of exactly one kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Literal

from imprint.retrieval.base import Hit

Kind = Literal["search", "answer", ""]
Format = Literal["text", "json"]

_BLOCKS = {kind: re.compile(rf"<{kind}>(.*?)</{kind}>", re.DOTALL) for kind in ("search", "answer")}
_ENDS = ("</search>", "</answer>")
# Tags that could end the block of results, or pass for the agent's own.
_TAG = re.compile(r"<(?=\s*/?\s*(?:search|answer|information|think|compression)\b)", re.IGNORECASE)


def parse_answer(response: str) -> tuple[str, bool]:
    """The action in a response, and whether the response keeps the format.

    What follows the first `</search>` (where there is none, the first `</answer>`) is not read. The action is the first
    search block before it, else the first answer block, else "". The format is kept by a response, read whole, that has
    one block of one kind and none of the other. No `<think>` is asked for.
    """
    end = next((tag for tag in _ENDS if tag in response), "")
    read = response.partition(end)[0] + end if end else response
    action = next((match.group(0) for kind in _BLOCKS if (match := _BLOCKS[kind].search(read))), "")
    blocks = sum(len(pattern.findall(response)) for pattern in _BLOCKS.values())
    return action, bool(action) and blocks == 1


def read_action(action: str) -> tuple[Kind, str]:
    """The kind of an action and its text; ("", "") where it is neither, or empty."""
    found = parse_answer(action)[0]
    for kind in ("search", "answer"):
        if found.startswith(f"<{kind}>"):
            text = " ".join(found[len(kind) + 2 : -len(kind) - 3].split())
            return (kind, text) if text else ("", "")
    return "", ""


def search(query: str) -> str:
    """The action that searches for `query`."""
    return f"<search> {query}</search>"


def answer(text: str) -> str:
    """The action that answers `text`."""
    return f"<answer> {text}</answer>"


def information(hits: Sequence[Hit], form: Format = "text") -> str:
    """What was found, between `<information>` tags: lines `Doc i: contents`, as they are or as published, in JSON.

    A passage cannot close the block or contain the agent's tags: their `<` is written `&lt;`.
    """
    lines = "\n".join(f"Doc {place}: {shown(hit.passage.contents)}" for place, hit in enumerate(hits, start=1))
    lines = lines or "Nothing was found."
    body = lines if form == "text" else json.dumps({"result": lines}, ensure_ascii=False)
    return f"<information>\n{body}\n</information>"


def shown(text: str) -> str:
    """`text` of a corpus or a question, escaped for the agent's context."""
    return _TAG.sub("&lt;", text)
