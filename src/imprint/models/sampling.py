"""What is asked of a sampler or a chat model: plain data and protocols, which load no PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from imprint.types import Picture

__all__ = ["Chat", "Completion", "Prompt", "Sampled", "Sampler", "Sampling", "Session"]


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


@dataclass(frozen=True, slots=True)
class Sampled:
    """One response: its tokens (the stop token included) and their log-probs at the sampling temperature."""

    tokens: list[int]
    logprobs: list[float]


class Session(Protocol):
    """One batch of sequences that only grow."""

    def act(self, inputs: Mapping[int, Sequence[int]]) -> dict[int, Sampled]:
        """Read new tokens per row and sample responses; rows without a response yet have one in a later call.

        At least one row is answered in every call. Rows that are neither among `inputs` nor unanswered have ended.
        """
        ...


class Sampler(Protocol):
    """What draws responses: a policy in this process, or an inference engine."""

    @property
    def name(self) -> str:
        """Of its model, for errors."""
        ...

    @property
    def max_context(self) -> int:
        """Most tokens of a sequence."""
        ...

    def open(self, prompts: Sequence[Prompt], seeds: Sequence[int], stop: Iterable[int], sampling: Sampling) -> Session:
        """Begin a batch: a prompt and a seed per row. A row's draws depend on its own seed and on nothing else."""
        ...

    def sync(self, learner: object) -> None:
        """The learner has changed the weights."""
        ...


class Completion(Protocol):
    """A chat model's answer."""

    @property
    def text(self) -> str: ...


class Chat(Protocol):
    """A chat model, local or served: what proposers, judges and teachers ask."""

    async def complete(self, messages: Sequence[Mapping[str, str]], sampling: Sampling, seed: int) -> Completion:
        """The answer to a conversation.

        Raises:
            PolicyError: it cannot be reached, or refuses.
        """
        ...
