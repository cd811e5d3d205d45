"""The value of a skill to a model: the success it adds and the tokens it costs, from paired episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

from imprint.measurement.evaluate import Pair
from imprint.measurement.helpfulness import Kind, SkillEvidence, helpfulness_from_pairs
from imprint.measurement.trials import ALL
from imprint.models.served.config import EndpointConfig
from imprint.models.served.usage import Usage
from imprint.types import Trial

Effect = Literal["helps", "hurts", "no evidence"]


@dataclass(frozen=True, slots=True)
class SkillValue:
    """One skill on one family of tasks ("all" for all that it serves). Differences are with - without, per pair.

    Attributes:
        page_tokens: what the skill text adds to every turn: the difference of the first prompts, where nothing else
            differs.
        episode_tokens: the difference of all that an episode reads, turn by turn.
        answered_tokens: the difference of all that an episode generates.
        episode_cost: their price, in the currency of the endpoint's prices; cached prompts count as fresh ones.
    """

    skill: str
    family: str
    evidence: SkillEvidence
    page_tokens: float | None
    episode_tokens: float | None
    answered_tokens: float | None
    episode_cost: float | None

    @property
    def verdict(self) -> Effect:
        """Whether the interval leaves out 0."""
        low, high = self.evidence.interval
        return "helps" if low > 0 else "hurts" if high < 0 else "no evidence"

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {**asdict(self), "verdict": self.verdict}


def skill_values(
    pairs: Mapping[str, Sequence[Pair]], kind: Kind, prices: EndpointConfig | None = None
) -> list[SkillValue]:
    """The value of each skill: in all, then by family if its pairs are of several."""
    found = []
    for name, both in pairs.items():
        families = sorted({with_.family for with_, _ in both})
        for family in (ALL, *(families if len(families) > 1 else ())):
            chosen = [pair for pair in both if family in (ALL, pair[0].family)]
            found.append(_value(name, family, chosen, kind, prices))
    return found


def _value(name: str, family: str, pairs: Sequence[Pair], kind: Kind, prices: EndpointConfig | None) -> SkillValue:
    evidence = helpfulness_from_pairs(name, [a.success for a, _ in pairs], [b.success for _, b in pairs], kind)
    text = [a.first_tokens - b.first_tokens for a, b in pairs if a.turns and b.turns]
    read = _mean([a.context_tokens - b.context_tokens for a, b in pairs])
    answered = _mean([a.answered_tokens - b.answered_tokens for a, b in pairs])
    return SkillValue(name, family, evidence, _mean(text), read, answered, _price(pairs, prices))


def _price(pairs: Sequence[Pair], prices: EndpointConfig | None) -> float | None:
    def cost(trial: Trial) -> float | None:
        usage = Usage(prompt_tokens=trial.context_tokens, completion_tokens=trial.answered_tokens)
        return None if prices is None else usage.cost(prices)

    both = [(cost(a), cost(b)) for a, b in pairs]
    return _mean([a - b for a, b in both if a is not None and b is not None])


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
