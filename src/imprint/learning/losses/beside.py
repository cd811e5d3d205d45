"""GRPO's loss, and beside it the divergence from a teacher over other samples of the same batch.

    loss = GRPO over the samples without a teacher's prompt
         + coef * sum_t w_t D(p_t, q_t) / n  over those that have one,    w_t = `Sample.advantages_T`

with n GRPO's own denominator, so that both terms are on one scale whatever their numbers of tokens; a method that wants
the mean over the taught tokens puts their ratio into w (`on_scale`).

Suffix `_M`: the trained tokens of a micro-batch, concatenated; `V` the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from imprint.learning.losses.base import Metrics, Need
from imprint.learning.losses.distillation import divergence
from imprint.learning.losses.grpo import GrpoLoss
from imprint.learning.sample import Sample
from imprint.learning.scoring import Scored

__all__ = ["BesideLoss"]


@dataclass(frozen=True, slots=True)
class BesideLoss:
    """The loss of a batch in which some samples have a teacher's prompt.

    Attributes:
        policy: GRPO's part.
        coef: of the divergence.
        beta, top_k: as in `DistillationLoss`.
    """

    policy: GrpoLoss
    coef: float = 0.1
    beta: float = 0.0
    top_k: int | None = 32

    @property
    def needs(self) -> frozenset[Need]:
        return self.policy.needs | {"distributions of the taught"}

    @property
    def damps_muon(self) -> bool:
        return self.policy.damps_muon

    def keeps(self, sample: Sample) -> bool:
        if sample.teacher is None:
            return self.policy.keeps(sample)
        return self.coef > 0 and bool(sample.advantages_T[sample.mask_T].any())

    def denominator(self, samples: Sequence[Sample]) -> float:
        """GRPO's, of its own samples."""
        return self.policy.denominator([sample for sample in samples if sample.teacher is None])

    def on_scale(self, own: Sequence[Sample], taught: Sequence[Sample]) -> list[Sample]:
        """The taught samples of a batch, weighted so that their sum over n is the mean over their tokens."""
        tokens = sum(sample.trained_tokens for sample in taught)
        return [sample.scaled(self.denominator(own) / tokens) for sample in taught]

    def __call__(self, scored: Scored) -> tuple[Tensor, Metrics]:
        assert scored.logprobs_MV is not None
        taught = torch.tensor([sample.teacher is not None for sample in scored.samples], device=scored.sample_M.device)
        taught_M = taught[scored.sample_M]
        loss, metrics = self.policy(_of(scored, ~taught_M))
        if scored.teacher_logprobs_MV is None:
            return loss, metrics | {"divergence": 0.0, "taught": 0.0}
        policy_MV = scored.logprobs_MV[taught_M]
        values_M = divergence(scored.teacher_logprobs_MV, policy_MV, beta=self.beta, top_k=self.top_k)
        loss = loss + self.coef * (values_M * scored.advantages_M[taught_M]).sum() / scored.denominator
        return loss, metrics | {"divergence": float(values_M.detach().sum()), "taught": float(len(values_M))}

    def merge(self, parts: Sequence[Metrics]) -> Metrics:
        """GRPO's metrics, the mean divergence over the taught tokens, and their number."""
        own = ("divergence", "taught")
        merged = self.policy.merge([{name: part[name] for name in part if name not in own} for part in parts])
        taught = sum(part["taught"] for part in parts)
        return merged | {"divergence": sum(part["divergence"] for part in parts) / max(1.0, taught), "taught": taught}


def _of(scored: Scored, chosen_M: Tensor) -> Scored:
    """Some of the tokens of a micro-batch."""

    def some(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[chosen_M]

    return replace(
        scored,
        logprobs_M=scored.logprobs_M[chosen_M],
        entropy_M=some(scored.entropy_M),
        old_logprobs_M=scored.old_logprobs_M[chosen_M],
        advantages_M=scored.advantages_M[chosen_M],
        sample_M=scored.sample_M[chosen_M],
        reference_logprobs_M=some(scored.reference_logprobs_M),
        logprobs_MV=None,
        teacher_logprobs_MV=None,
    )
