"""GRPO's loss: PPO's clipped surrogate over group-relative advantages, with optional KL and entropy terms.

Sources: PPO (arXiv 1707.06347), GRPO (arXiv 2402.03300), dual clip (arXiv 1912.09729), DAPO's token mean and asymmetric
clip (arXiv 2503.14476). Suffixes: `_T` tokens in any shape, `_M` the trained tokens of a micro-batch, concatenated.
Log-probs are in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imprint.learning.config import Aggregate, LearnerConfig
from imprint.learning.losses.base import Metrics, Need
from imprint.learning.losses.tokens import LOG_RATIO_LIMIT, aggregate_tokens, kl_penalty, merge_metrics
from imprint.learning.sample import Sample
from imprint.learning.scoring import Scored

__all__ = ["GrpoLoss", "policy_loss"]


@dataclass(frozen=True, slots=True)
class GrpoLoss:
    """The loss of a batch of samples with advantages; the settings are those of the recipe's `learner` section."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = 3.0
    aggregate: Aggregate = "token-mean"
    kl_coef: float = 0.0
    entropy_coef: float = 0.0
    damps_muon: bool = True

    @classmethod
    def of(cls, config: LearnerConfig) -> GrpoLoss:
        """The loss that a recipe's `learner` section describes."""
        return cls(
            config.clip_low,
            config.clip_high,
            config.dual_clip,
            config.aggregate,
            config.kl_coef,
            config.entropy_coef,
        )

    @property
    def needs(self) -> frozenset[Need]:
        reference: set[Need] = {"reference"} if self.kl_coef > 0 else set()
        entropy: set[Need] = {"entropy"} if self.entropy_coef > 0 else set()
        return frozenset(reference | entropy)

    def keeps(self, sample: Sample) -> bool:
        """Samples without an advantage have no gradient, unless a KL or entropy term is in force."""
        return sample.trained_tokens > 0 and (bool(self.needs) or bool(sample.advantages_T.any()))

    def denominator(self, samples: Sequence[Sample]) -> float:
        """The trained tokens of the batch, or its sequences; samples that are not kept count too."""
        if self.aggregate == "sequence-mean-token-mean":
            return float(sum(1 for sample in samples if sample.trained_tokens))
        return float(sum(sample.trained_tokens for sample in samples))

    def __call__(self, scored: Scored) -> tuple[Tensor, Metrics]:
        """The share of a micro-batch in the loss of its mini-batch, and the metrics of its tokens."""
        old_M, trained_M, weights_M = off_policy_terms(scored)
        loss, metrics = policy_loss(
            scored.logprobs_M,
            old_M,
            scored.advantages_M,
            trained_M,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            dual_clip=self.dual_clip,
            aggregate=self.aggregate,
            importance_T=weights_M,
            sequences_T=scored.sample_M,
            denominator=scored.denominator,
        )
        # Per token, so that `merge_metrics`, which weighs parts by their tokens, gives the mean of the batch.
        if self.aggregate == "token-mean":
            metrics["policy"] = float(loss.detach()) * scored.denominator / max(1, len(scored.logprobs_M))
        if scored.reference_logprobs_M is not None:
            # Of tokens that the policy sampled itself: the estimator's mean is the KL for these alone.
            own_M = torch.tensor([s.off_policy is None for s in scored.samples], device=old_M.device)[scored.sample_M]
            kl_M = kl_penalty(scored.logprobs_M, scored.reference_logprobs_M) * own_M
            loss = loss + self.kl_coef * self.mean(kl_M, scored)
            metrics["kl"] = float(kl_M.detach().mean())
        if scored.entropy_M is not None:
            loss = loss - self.entropy_coef * self.mean(scored.entropy_M, scored)
            metrics["entropy"] = float(scored.entropy_M.detach().mean())
        return loss, metrics

    def merge(self, parts: Sequence[Metrics]) -> Metrics:
        """The metrics of a batch from those of its micro-batches."""
        return merge_metrics(parts)

    def mean(self, values_M: Tensor, scored: Scored) -> Tensor:
        """The share of a micro-batch in the mean of a value over all tokens, taken as `aggregate` says."""
        every_M = torch.ones_like(values_M, dtype=torch.bool)
        return aggregate_tokens(
            values_M, every_M, self.aggregate, sequences_T=scored.sample_M, denominator=scored.denominator
        )


def off_policy_terms(scored: Scored) -> tuple[Tensor, Tensor, Tensor | None]:
    """Old log-probs, which tokens are trained, and importance weights, all [M].

    A sample with `off_policy` was sampled under another prompt: its ratio is held at 1 (nothing is clipped), and its
    own rules apply.
    """
    old_M = scored.old_logprobs_M
    trained_M = torch.ones_like(old_M, dtype=torch.bool)
    weights_M: Tensor | None = None
    now_M = scored.logprobs_M.detach()
    for index, sample in enumerate(scored.samples):
        rules = sample.off_policy
        if rules is None:
            continue
        mine = scored.sample_M == index
        if rules.importance_cap is not None:
            weights_M = torch.ones_like(old_M) if weights_M is None else weights_M
            weights_M[mine] = (now_M[mine] - old_M[mine]).exp().clamp(max=rules.importance_cap)
        if rules.min_logprob is not None:
            trained_M[mine] = now_M[mine] >= rules.min_logprob
        old_M = torch.where(mine, now_M, old_M)
    return old_M, trained_M, weights_M


def policy_loss(
    logprobs_T: Tensor,
    old_logprobs_T: Tensor,
    advantages_T: Tensor,
    mask_T: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = 3.0,
    aggregate: Aggregate = "token-mean",
    sequences_T: Tensor | None = None,
    denominator: float | None = None,
    importance_T: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """The clipped surrogate loss of PPO and GRPO.

    With r = exp(logprob - old logprob) and A the advantage, the loss of a token is

        L = max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)),   and for A < 0   min(L, -A dual_clip).

    Args:
        logprobs_T: of the sampled tokens under the policy being trained; the only argument gradients reach.
        old_logprobs_T: under the policy that sampled them.
        advantages_T: one per token (a turn's advantage repeated over its tokens).
        mask_T: true on the policy's own tokens. What stands elsewhere is never read, NaN included.
        clip_low, clip_high: how far the ratio may fall or rise before the gradient stops.
        dual_clip: the cap on the ratio of tokens with a negative advantage, above 1; None is no cap.
        aggregate, sequences_T, denominator: see `aggregate_tokens`.
        importance_T: weights on the loss of each token, taken as constants (a correction for a sampler whose
            log-probs differ from the learner's).

    Returns:
        The scalar loss, and metrics over the tokens of this call: `clip_fraction` (the clip is in force),
        `dual_clip_fraction` (the cap is), `approx_kl` (k3 of old against new), `ratio_max`, `tokens`.
        Merge the metrics of micro-batches with `merge_metrics`.
    """
    if dual_clip is not None and dual_clip <= 1.0:
        raise ValueError(f"dual_clip must be above 1, not {dual_clip}")
    mask = mask_T.bool()
    zero = torch.zeros((), dtype=logprobs_T.dtype, device=logprobs_T.device)
    # Masked before exp(), so that neither value nor gradient can become NaN where the environment spoke.
    log_ratio = torch.where(mask, logprobs_T - old_logprobs_T.detach(), zero)
    log_ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    advantages = torch.where(mask, advantages_T.detach().to(log_ratio.dtype), zero)
    ratio = log_ratio.exp()
    free, held = surrogates(ratio, advantages, clip_low, clip_high)
    loss_T = torch.maximum(free, held)
    capped = torch.zeros_like(mask)
    if dual_clip is not None:
        cap = -advantages * dual_clip
        capped = (advantages < 0) & (loss_T > cap)
        loss_T = torch.where(capped, cap, loss_T)
    if importance_T is not None:
        loss_T = loss_T * torch.where(mask, importance_T.detach().to(loss_T.dtype), zero)
    loss = aggregate_tokens(loss_T, mask, aggregate, sequences_T=sequences_T, denominator=denominator)
    return loss, _loss_metrics(log_ratio.detach(), mask, held.detach() > free.detach(), capped)


def surrogates(ratio_T: Tensor, advantages_T: Tensor, clip_low: float, clip_high: float) -> tuple[Tensor, Tensor]:
    """A token's loss with its ratio as it is, and with the clipped one: where this is larger, there is no gradient."""
    return -advantages_T * ratio_T, -advantages_T * ratio_T.clamp(1.0 - clip_low, 1.0 + clip_high)


def _loss_metrics(log_ratio: Tensor, mask: Tensor, clipped: Tensor, capped: Tensor) -> dict[str, float]:
    tokens = mask.sum()
    if mask.numel() == 0:
        return {
            "clip_fraction": 0.0,
            "dual_clip_fraction": 0.0,
            "approx_kl": 0.0,
            "ratio_max": 0.0,
            "tokens": 0,
        }
    ratio = log_ratio.exp()
    count = tokens.clamp(min=1)
    numbers = [
        (clipped & mask).sum() / count,
        (capped & mask).sum() / count,
        (ratio - 1.0 - log_ratio).sum() / count,  # log_ratio is 0 where masked, and so is this term
        torch.where(mask, ratio, 0.0).max(),
        tokens,
    ]
    # One transfer: five calls of item() would wait for the accelerator five times.
    values = torch.stack([number.to(torch.float32) for number in numbers]).tolist()
    return dict(zip(("clip_fraction", "dual_clip_fraction", "approx_kl", "ratio_max", "tokens"), values, strict=True))
