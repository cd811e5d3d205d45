"""What is asked of a sampler: plain data, so that it can be asked without loading PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from imprint.types import Picture


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens before an action; the first `shared` of them (the skills) are common to many rows.

    `pictures` are those whose placeholders stand among the tokens, in their order.
    """

    ids: tuple[int, ...]
    shared: int = 0
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Temperature 0 is greedy, with the log-probs of temperature 1."""

    temperature: float = 1.0
    max_new_tokens: int = 24
