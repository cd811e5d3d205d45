"""How servers say that a conversation is too long for the model."""

from __future__ import annotations

import re
from collections.abc import Collection

CODES = frozenset(
    (
        "context_length_exceeded",
        "exceed_context_size_error",
        "context_window_exceeded",
        "model_max_prompt_tokens_exceeded",
        "string_above_max_length",
        "tokens_limit_reached",
        "1261",  # Zhipu
    )
)
FINISHED = re.compile(
    r"context|model_length|error_limit", re.IGNORECASE
)  # a `finish_reason`: Anthropic, Mistral, Cohere
_SUBJECT = (
    r"\b(?:prompt|inputs?|(?:input|prompt)_?tokens|messages?|conversation|sequence|string|text|length"
    r"|(?<!max )(?<!output )tokens?)\b"
)
_NEAR = (
    r"(?:(?!took|tak|wait|time|queue|process|max_|image|audio|video|file).){0,100}?"  # neither slow nor another's size
)
_SAID = re.compile(
    "|".join(
        [
            r"context[\s_-]*(?:length|size|window|limit|overflow|space)",  # OpenAI, vLLM, SGLang, llama.cpp, LiteLLM
            rf"(?:\bnot|n't) fit (?:the prompt|prompt|in(?:to)? the context)|{_SUBJECT}{_NEAR}(?:\bnot|n't) fit\b",
            r"maximum context|max(?:imum)? (?:prompt|input) length",  # xAI
            rf"(?:{_SUBJECT}|\brequest\b){_NEAR}\btoo (?:long|large|big)",  # Anthropic, Bedrock, Mistral, Ollama
            rf"{_SUBJECT}{_NEAR}\bexceed(?:s|ed|ing)?\b.{{0,60}}?\b(?:max\w*|limit|model|allowed)",  # Gemini, SGLang
            rf"{_SUBJECT}{_NEAR}\b(?:longer|larger|greater|more) than\b.{{0,40}}?\b(?:max\w*|model|allowed)",  # vLLM
            r"\binputs?\b.{0,60}?must (?:be <=|have less than|not exceed)",  # TGI, Together
            r"too many (?:input |prompt |total )?tokens",  # Cohere
            r"reduce the (?:length of|input token count)",  # Groq, Cerebras, Vertex
            r"exceeded model token limit|token limit (?:exceeded|reached)",  # Moonshot
            r"(?:number of|total|input|prompt) tokens (?:\d+ )?exceeded|tokens,? but the (?:prompt|input)",
            r"range of input length|超长|(?:上下文|输入|提示).{0,20}超(?:过|出)",  # DashScope, Zhipu
            r"max_tokens must be at least 1, got -",  # vLLM, where no room is left
        ]
    ),
    re.IGNORECASE | re.DOTALL,
)
_RATE = re.compile(r"per (?:min|hour|day|second)|\b[tr]pm\b|rate.?limit|quota|每分钟|频率|速率|配额", re.IGNORECASE)
_READ = 4000  # characters of what a server says


def says_full(status: int, codes: Collection[str], told: str) -> bool:
    """Whether an error means that the conversation does not fit the model's context.

    A limit on tokens per minute is another matter, although it is worded alike.
    """
    told = told[:_READ]
    if not CODES.isdisjoint(codes):
        return True
    return status != 429 and not _RATE.search(told) and (status == 413 or _SAID.search(told) is not None)
