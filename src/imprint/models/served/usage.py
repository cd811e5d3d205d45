"""What a model behind an endpoint was asked and what that costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from imprint.models.served.config import EndpointConfig

MILLION = 1_000_000


@dataclass(slots=True)
class Usage:
    """Counts of requests and tokens; those of two sets of requests add up."""

    requests: int = 0  # that were answered
    retries: int = 0
    prompt_tokens: int = 0  # the cached ones included
    completion_tokens: int = 0
    cached_tokens: int = 0
    estimated: int = 0  # answers without a count of their own: four characters a token
    empty: int = 0  # answers without text (a filter's, say)
    cut: int = 0  # answers that hit the token limit

    def add(self, other: Usage) -> None:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def cost(self, config: EndpointConfig) -> float | None:
        """In the currency of the prices; None without prices."""
        if config.price_input is None or config.price_output is None:
            return None
        cached = config.price_input if config.price_cached is None else config.price_cached
        fresh = self.prompt_tokens - self.cached_tokens
        answered = self.completion_tokens * config.price_output
        return (fresh * config.price_input + self.cached_tokens * cached + answered) / MILLION


@dataclass(slots=True)
class Meter:
    """What this process has spent, and what stored episodes spared it.

    Attributes:
        spent: all requests, those of unfinished episodes too.
        reused: what the episodes taken from the store had cost when they were played.
        stale: stored episodes that did not count, because the world answers otherwise now.
        shrunk: prompts of fewer tokens than the one before in the same conversation, which only grows.
        notes: further lines for the end.
    """

    config: EndpointConfig
    spent: Usage = field(default_factory=Usage)
    reused: Usage = field(default_factory=Usage)
    reused_episodes: int = 0
    stale: int = 0
    shrunk: int = 0
    notes: list[str] = field(default_factory=list)

    def reuse(self, usage: Usage) -> None:
        self.reused.add(usage)
        self.reused_episodes += 1

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            **asdict(self.spent),
            "cost": self.spent.cost(self.config),
            "reused_episodes": self.reused_episodes,
            "stale_episodes": self.stale,
            "reused": {**asdict(self.reused), "cost": self.reused.cost(self.config)},
        }

    def metrics(self) -> dict[str, float | None]:
        """The same as flat metrics."""
        numbers: dict[str, float | None] = {f"endpoint/{key}": value for key, value in asdict(self.spent).items()}
        numbers["endpoint/cost"] = self.spent.cost(self.config)
        numbers["endpoint/reused_episodes"] = self.reused_episodes
        numbers["endpoint/reused_cost"] = self.reused.cost(self.config)
        return numbers

    def line(self) -> str:
        """Short, for a progress line."""
        spent, cost = self.spent, self.spent.cost(self.config)
        parts = [f"{spent.requests:,} requests", f"{spent.prompt_tokens:,}+{spent.completion_tokens:,} tokens"]
        parts += [f"{spent.retries} retries"] if spent.retries else []
        parts += [f"{self.reused_episodes} episodes from the store"] if self.reused_episodes else []
        parts += [] if cost is None else [f"cost {cost:.4g}"]
        return ", ".join(parts)

    def sentences(self) -> str:
        """All of it, for the end."""
        spent, cost = self.spent, self.spent.cost(self.config)
        text = (
            f"asked: {spent.requests:,} requests ({spent.retries:,} retries), {spent.prompt_tokens:,} prompt tokens "
            f"({spent.cached_tokens:,} cached) and {spent.completion_tokens:,} answered"
        )
        text += "" if cost is None else f"; cost {cost:.6g}"
        if self.reused_episodes:
            before = self.reused.cost(self.config)
            worth = "" if before is None else f", worth {before:.6g}"
            text += f"\nnot asked again: {self.reused_episodes:,} finished episodes from the store{worth}"
        if self.stale:
            text += f"\nnote: the world has changed since {self.stale:,} stored episodes; they were played again"
        if spent.estimated:
            text += (
                f"\nnote: {spent.estimated:,} answers came without a token count; theirs are estimated (characters / 4)"
            )
        if self.shrunk:
            text += (
                f"\nnote: {self.shrunk:,} prompts had fewer tokens than the one before them in the same conversation: "
                "the server cuts what does not fit its context (Ollama: raise num_ctx), or leaves out cached tokens"
            )
        if spent.empty or spent.cut:
            text += (
                f"\nnote: answers that were empty: {spent.empty:,}, cut at the token limit: {spent.cut:,}; "
                "one that holds no command is an invalid turn"
            )
        return "\n".join([text, *(f"note: {note}" for note in self.notes)])
