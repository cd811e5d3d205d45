"""GRPO's loss with a gated term towards a teacher, as SDAR has it (arXiv 2605.15155, by its code).

    loss = GRPO + coef * agg_t( g_t (log p(y_t) - log q(y_t)) ),    g_t = sigmoid(gate * (log p(y_t) - log q(y_t)))

with q the policy, p the teacher, both at the sampled token, and `agg` GRPO's own mean. p and the gate g are constants:
the term's gradient is -coef g_t grad log q(y_t), which makes every token that was drawn more likely, by as much as the
teacher prefers it. (With one gate for all tokens its expectation over tokens that the policy draws would be 0.)

Suffix `_M`: the trained tokens of a micro-batch, concatenated. Log-probs are in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imprint.learning.losses.base import Metrics, Need
from imprint.learning.losses.grpo import GrpoLoss
from imprint.learning.sample import Sample
from imprint.learning.scoring import Scored

__all__ = ["GatedLoss", "gated_gap"]


@dataclass(frozen=True, slots=True)
class GatedLoss:
    """The loss of samples that have advantages and a teacher's prompt.

    Attributes:
        policy: GRPO's part.
        coef: of the gated term.
        gate: how steep the gate is; 0 opens it by half for every token.
    """

    policy: GrpoLoss
    coef: float = 0.01
    gate: float = 5.0

    @property
    def needs(self) -> frozenset[Need]:
        return self.policy.needs | {"teacher"}

    @property
    def damps_muon(self) -> bool:
        return self.policy.damps_muon

    def keeps(self, sample: Sample) -> bool:
        """Every sample with a trained token: the teacher's term is not weighted by the advantage."""
        return sample.trained_tokens > 0 and (self.coef > 0 or self.policy.keeps(sample))

    def denominator(self, samples: Sequence[Sample]) -> float:
        """GRPO's: the trained tokens of the batch, or its sequences."""
        return self.policy.denominator(samples)

    def __call__(self, scored: Scored) -> tuple[Tensor, Metrics]:
        assert scored.teacher_logprobs_M is not None
        loss, metrics = self.policy(scored)
        terms_M, gates_M = gated_gap(scored.logprobs_M, scored.teacher_logprobs_M, self.gate)
        loss = loss + self.coef * self.policy.mean(terms_M, scored)
        gap_M = scored.teacher_logprobs_M - scored.logprobs_M.detach()
        return loss, {**metrics, "teacher_gap": float(gap_M.mean()), "gate": float(gates_M.mean())}

    def merge(self, parts: Sequence[Metrics]) -> Metrics:
        """The metrics of a batch from those of its micro-batches."""
        return self.policy.merge(parts)


def gated_gap(logprobs_M: Tensor, teacher_logprobs_M: Tensor, gate: float) -> tuple[Tensor, Tensor]:
    """The gated difference of each token's log-probs, with a gradient through the policy's alone, and the gates."""
    teacher_M = teacher_logprobs_M.detach()
    gates_M = torch.sigmoid(gate * (teacher_M - logprobs_M.detach()))
    return gates_M * (teacher_M - logprobs_M), gates_M
