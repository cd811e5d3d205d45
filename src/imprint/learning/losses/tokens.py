"""What losses are made of: how token values become one number, KL estimators, entropy.

Suffix `_T`: tokens. A `_T` tensor may have any shape as long as all of one call share it. Log-probs are in nats.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from imprint.learning.config import Aggregate

__all__ = ["Aggregate", "KlEstimator", "aggregate_tokens", "entropy", "kl_penalty", "merge_metrics"]

KlEstimator = Literal["k1", "k2", "k3"]


# exp(20) is 5e8: past any ratio worth following, yet far from overflow in single precision.
LOG_RATIO_LIMIT = 20.0


def merge_metrics(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    """The metrics of a batch from those of its micro-batches: means by tokens, the largest `ratio_max`.

    Raises:
        ValueError: there are no parts.
    """
    parts = list(parts)
    if not parts:
        raise ValueError("no metrics to merge")
    tokens = sum(part["tokens"] for part in parts)
    merged = {
        name: sum(part[name] * part["tokens"] for part in parts) / max(1.0, tokens)
        for name in parts[0]
        if name not in ("ratio_max", "tokens")
    }
    return merged | {"ratio_max": max(part["ratio_max"] for part in parts), "tokens": tokens}


def aggregate_tokens(
    values_T: Tensor,
    mask_T: Tensor,
    aggregate: Aggregate,
    *,
    sequences_T: Tensor | None = None,
    denominator: float | None = None,
) -> Tensor:
    """One number from the values of many tokens; the same rule serves loss, KL and entropy.

    - "token-mean" (DAPO): the sum over the number of tokens; long sequences weigh more.
    - "sequence-mean-token-mean" (GRPO): the mean within each sequence, then over sequences.

    Args:
        values_T: a value per token.
        mask_T: which tokens count.
        sequences_T: integers saying which sequence a token belongs to (any labels), for the sequence mean.
        denominator: what to divide by: by default what this call sees (tokens, sequences with a token, or 1).
            For gradients accumulated over micro-batches give the figure of the whole batch: the sum over the
            micro-batches then equals the full batch. A micro-batch must hold its sequences whole.

    Returns:
        A scalar; 0, still attached to the graph, when no token counts.
    """
    if denominator is not None and not denominator > 0:
        raise ValueError(f"denominator must be positive, not {denominator}")
    mask = mask_T.bool()
    values = torch.where(mask, values_T, torch.zeros_like(values_T))
    if aggregate == "token-mean":
        return values.sum() / (mask.sum().clamp(min=1) if denominator is None else denominator)
    if aggregate != "sequence-mean-token-mean":
        raise ValueError(f"unknown aggregate {aggregate!r}")
    if sequences_T is None:
        raise ValueError(f"{aggregate!r} needs sequences_T")
    _, labels = torch.unique(sequences_T[mask], return_inverse=True)
    counts = torch.bincount(labels)
    parts: Tensor = values[mask] / counts[labels]
    return parts.sum() / (max(1, counts.numel()) if denominator is None else denominator)


def kl_penalty(logprobs_T: Tensor, ref_logprobs_T: Tensor, estimator: KlEstimator = "k3") -> Tensor:
    """Per-token estimates of KL(policy || reference) from tokens the policy sampled.

    With d = logprob - reference logprob: k1 = d (unbiased, may be negative; as a loss its expected gradient
    is 0, so use it in the reward), k2 = d^2 / 2 (biased; on-policy its gradient is that of the KL), k3 =
    exp(-d) - 1 + d (unbiased, never negative; GRPO's Eq. 4). Source: Schulman, "Approximating KL divergence"
    (2020).

    Returns:
        The shape of `logprobs_T`, in nats; gradients reach `logprobs_T` only. Skip the call when its
        coefficient is 0.
    """
    difference = logprobs_T - ref_logprobs_T.detach()
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference.square() / 2
    if estimator == "k3":
        reverse = (-difference).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        return torch.expm1(reverse) - reverse
    raise ValueError(f"unknown estimator {estimator!r}")


def entropy(logits: Tensor) -> Tensor:
    """The entropy in nats of the distributions that `logits` (..., vocabulary) describe: shape (...).

    Logits of -inf (forbidden tokens) count as probability 0, with a gradient of 0. Skip the call when its
    coefficient is 0: it costs a pass over the vocabulary.
    """
    floor = torch.finfo(logits.dtype).min / 2
    logprobs = torch.log_softmax(logits.clamp(min=floor), dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)
