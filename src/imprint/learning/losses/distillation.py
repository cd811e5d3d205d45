"""Distillation: the divergence of the policy's distributions from a teacher's, token by token.

With p_t the teacher's distribution of token t, under the teacher's prompt, and q_t the policy's, under the sample's:

    loss = sum_t w_t D_beta(p_t, q_t) / sum_t w_t,    w_t = `Sample.advantages_T`

    D_0 = KL(p || q)  (forward),    D_1 = KL(q || p)  (reverse),
    D_beta = beta KL(p || m) + (1 - beta) KL(q || m),  m = beta p + (1 - beta) q     (GKD, arXiv 2306.13649, Eq. 1)

All are exact, with a gradient through q at every token of the vocabulary; none is estimated from the sampled token. The
sampled tokens themselves, which depend on the policy too where it sampled them, are taken as given, as in GKD.

Suffixes: `_M` the trained tokens of a micro-batch, concatenated; `V` the vocabulary; `K` tokens that are told apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imprint.learning.losses.base import Metrics, Need, Weighted
from imprint.learning.scoring import Scored

__all__ = ["DistillationLoss", "divergence", "with_tail"]

FLOOR = -1e4  # nats: exp() of it is 0, and 0 times it as well, where 0 times -inf is not a number
LEAST = 1e-7  # about what float32 can tell from 0 beside 1


@dataclass(frozen=True, slots=True)
class DistillationLoss(Weighted):
    """The loss of samples that have a teacher's prompt, and weights as advantages.

    Attributes:
        beta: 0 is forward KL, 1 reverse KL, between them the generalised Jensen-Shannon divergence.
        top_k: tell this many tokens apart, and take the others as one (`with_tail`); None: the whole vocabulary.
    """

    beta: float = 0.0
    top_k: int | None = None
    damps_muon: bool = False
    needs: frozenset[Need] = frozenset({"distributions"})

    def __call__(self, scored: Scored) -> tuple[Tensor, Metrics]:
        assert scored.teacher_logprobs_MV is not None
        assert scored.logprobs_MV is not None
        values_M = divergence(scored.teacher_logprobs_MV, scored.logprobs_MV, beta=self.beta, top_k=self.top_k)
        total = (values_M * scored.advantages_M).sum()
        metrics = {"divergence": float(total.detach()), "weight": float(scored.advantages_M.sum())}
        return total / scored.denominator, metrics

    def merge(self, parts: Sequence[Metrics]) -> Metrics:
        """The weighted mean over all tokens of all parts."""
        return {"divergence": sum(part["divergence"] for part in parts) / sum(part["weight"] for part in parts)}


def divergence(teacher_MV: Tensor, policy_MV: Tensor, *, beta: float, top_k: int | None = None) -> Tensor:
    """D_beta(teacher, policy) of each token [M], in nats; gradients reach `policy_MV` alone.

    With `top_k`, of the distributions over the k most likely tokens and the rest as one token. These k are the
    teacher's, or for beta above 1/2 the policy's: where the mass is that the expectation of the KL is taken over.

    Args:
        teacher_MV, policy_MV: log-probs [M, V].
    """
    teacher, policy = teacher_MV.detach().clamp(min=FLOOR), policy_MV.clamp(min=FLOOR)
    if top_k is not None and top_k < teacher.shape[-1]:
        leading = policy.detach() if beta > 0.5 else teacher
        places_MK = leading.topk(top_k, dim=-1).indices
        teacher, policy = with_tail(teacher.gather(-1, places_MK)), with_tail(policy.gather(-1, places_MK))
    if beta == 0.0:
        return _kl(teacher, policy)
    if beta == 1.0:
        return _kl(policy, teacher)
    mixed = torch.logaddexp(policy + math.log1p(-beta), teacher + math.log(beta))
    return beta * _kl(teacher, mixed) + (1.0 - beta) * _kl(policy, mixed)


def with_tail(logprobs_MK: Tensor) -> Tensor:
    """Log-probs of k tokens, and of all others together as the last: [M, K + 1].

    The tail is kept, and the k are not renormalised: this is the distribution of a function of the token, so that its
    KL is never above the exact one, rises with k to it, and is 0 only where the mass of the k is right too. With the k
    renormalised, probability that flows from them to other tokens would cost nothing.

    The rest's probability is 1 less that of the k, and at least 1e-7: summed up itself, it would take the memory for
    the whole vocabulary that this is to save.
    """
    inside = logprobs_MK.logsumexp(dim=-1, keepdim=True).clamp(max=-LEAST)
    return torch.cat([logprobs_MK, torch.log(-torch.expm1(inside))], dim=-1)


def _kl(of: Tensor, other: Tensor) -> Tensor:
    """KL(of || other) of log-probs, over the last axis."""
    return (of.exp() * (of - other)).sum(dim=-1)
