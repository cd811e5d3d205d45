"""Group-relative policy optimisation as pure functions: scores to advantages, log-probs to a loss.

Sources: GRPO (arXiv 2402.03300), PPO's clipped objective (arXiv 1707.06347), dual clip (arXiv 1912.09729),
DAPO's token mean and asymmetric clip (arXiv 2503.14476), Dr. GRPO's unscaled advantage (arXiv 2503.20783).
Suffixes: `_E` episodes, `_T` tokens. A `_T` tensor may have any shape as long as all of one call share it,
so (tokens,) and (batch, length) both work. Log-probs are in nats.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from imprint.errors import ImprintError
from imprint.learning.config import Aggregate

__all__ = [
    "Aggregate",
    "KlEstimator",
    "Scale",
    "Singleton",
    "Unit",
    "aggregate_tokens",
    "entropy",
    "group_advantages",
    "kl_penalty",
    "merge_metrics",
    "policy_loss",
    "turn_advantages",
]

Unit = Literal["episode", "turn"]
Scale = Literal["std", "none"]
Singleton = Literal["zero", "raw"]
KlEstimator = Literal["k1", "k2", "k3"]

# exp(20) is 5e8: past any ratio worth following, yet far from overflow in single precision.
_LOG_RATIO_LIMIT = 20.0


def group_advantages(
    returns_E: Sequence[float] | Tensor,
    groups_E: Sequence[Hashable] | Tensor,
    turns_E: Sequence[int] | Tensor | None = None,
    *,
    unit: Unit = "episode",
    scale: Scale = "std",
    eps: float = 1e-6,
    std_floor: float = 0.0,
    singleton: Singleton = "zero",
) -> Tensor:
    """How much better each episode did than the other episodes of its group: (R - mean) / (std + eps).

    Args:
        returns_E: (E,) the return of each episode.
        groups_E: (E,) which group (task) each episode belongs to.
        turns_E: (E,) number of turns; needed when `unit` is "turn".
        unit: what mean and std are taken over. "episode": every episode counts once. "turn": every episode
            counts once per turn, as if each turn were a sample with the episode's return (SKILL0's reference
            code), so that long episodes pull the baseline towards themselves.
        scale: "std" divides by the unbiased standard deviation; "none" only subtracts the mean (Dr. GRPO).
        eps: added to the standard deviation.
        std_floor: the least standard deviation to divide by; keeps a tiny bonus from becoming the whole
            signal in a group where all else is equal.
        singleton: a group of one sample has nothing to compare with. "zero" learns nothing from it; "raw"
            uses mean 0 and std 1, as the reference code does, so the advantage is the return itself.

    Returns:
        (E,) float32. A group whose returns are all equal gives exactly 0 everywhere.

    Raises:
        ImprintError: a return that is not finite.
        ValueError: lengths differ, or `turns_E` is missing or below 1 where it is needed.
    """
    returns = _as_list(returns_E)
    if unit == "turn" and turns_E is None:
        raise ValueError('unit="turn" needs turns_E')
    weights = [1.0] * len(returns) if unit == "episode" or turns_E is None else _as_list(turns_E)
    if any(weight < 1 for weight in weights):
        raise ValueError("every episode needs at least one turn")
    options = _Options(scale, eps, std_floor, singleton)
    values = _advantages(returns, weights, _as_list(groups_E), options)
    return torch.tensor(values, dtype=torch.float32)


def turn_advantages(
    scores: Sequence[Sequence[float]],
    groups_E: Sequence[Hashable] | Tensor,
    *,
    unit: Unit = "episode",
    scale: Scale = "std",
    eps: float = 1e-6,
    std_floor: float = 0.0,
    singleton: Singleton = "zero",
) -> list[list[float]]:
    """The general form of `group_advantages`: one score, hence one advantage, per turn.

    `scores[e][t]` is the episode's return and whatever belongs to turn t alone (an invalid-action penalty).
    With `unit="turn"` every turn weighs 1; with `unit="episode"` the turns of an episode share a weight of 1.
    The spread counts differences within an episode too, so that groups whose episodes differ only by a
    penalty stay bounded. When all turns of every episode score the same, the result equals
    `group_advantages`. An episode without turns takes no part and gets an empty list.

    Raises:
        ImprintError: a score that is not finite.
        ValueError: `scores` and `groups_E` differ in length.
    """
    groups = _as_list(groups_E)
    flat: list[float] = []
    weights: list[float] = []
    owners: list[Hashable] = []
    for scores_e, group in zip(scores, groups, strict=True):
        flat.extend(scores_e)
        weights.extend([1.0 if unit == "turn" else 1.0 / max(1, len(scores_e))] * len(scores_e))
        owners.extend([group] * len(scores_e))
    options = _Options(scale, eps, std_floor, singleton)
    values = iter(_advantages(flat, weights, owners, options))
    return [[next(values) for _ in scores_e] for scores_e in scores]


class _Options(NamedTuple):
    scale: Scale
    eps: float
    std_floor: float
    singleton: Singleton


def _advantages(
    values: Sequence[float],
    weights: Sequence[float],
    groups: Sequence[Hashable],
    options: _Options,
) -> list[float]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, (value, _, group) in enumerate(zip(values, weights, groups, strict=True)):
        if not math.isfinite(value):
            raise ImprintError(
                f"group {group!r} has a score of {value}",
                hint="make the environment and the reward settings give finite numbers",
            )
        members[group].append(index)
    result = [0.0] * len(values)
    for indices in members.values():
        normal = _normalise([values[i] for i in indices], [weights[i] for i in indices], options)
        for index, value in zip(indices, normal, strict=True):
            result[index] = value
    return result


def _normalise(values: list[float], weights: list[float], options: _Options) -> list[float]:
    """Centre and scale one group; a weight of w stands for w copies of the value."""
    samples = round(math.fsum(weights))  # shares of 1/T add up to whole episodes, but for rounding
    if samples == 1 and options.singleton == "raw":
        divisor = 1.0 + options.eps if options.scale == "std" else 1.0
        return [value / divisor for value in values]
    # An explicit test: the rounding of the mean, divided by eps, would not be exactly 0.
    if samples == 1 or min(values) == max(values):
        return [0.0] * len(values)
    mean = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / samples
    if options.scale == "none":
        return [value - mean for value in values]
    squares = math.fsum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True))
    std = max(math.sqrt(squares / (samples - 1)), options.std_floor)
    return [(value - mean) / (std + options.eps) for value in values]


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
    log_ratio = log_ratio.clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)
    advantages = torch.where(mask, advantages_T.detach().to(log_ratio.dtype), zero)
    ratio = log_ratio.exp()
    free = -advantages * ratio
    held = -advantages * ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
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
        reverse = (-difference).clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)
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


def _as_list(values: Sequence[Any] | Tensor) -> list[Any]:
    return list(values.tolist() if isinstance(values, Tensor) else values)
