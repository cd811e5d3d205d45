"""GRPO's loss, with what becomes of rare tokens: those that the prompt they are learned under makes unlikely."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from imprint.learning.losses.base import Metrics
from imprint.learning.losses.grpo import GrpoLoss
from imprint.learning.losses.tokens import LOG_RATIO_LIMIT
from imprint.learning.scoring import Scored

__all__ = ["RARE", "RareTokenLoss"]

RARE = -5.0  # nats: RLTF-SD's bound (arXiv 2602.02482)


@dataclass(frozen=True, slots=True)
class RareTokenLoss(GrpoLoss):
    """`GrpoLoss` with three more metrics, each a mean over the tokens that have an advantage:

    - `rare`: 1 where the policy's log-prob is below `RARE`;
    - `rare_clipped`: of these, where the clip is in force, so that there is no gradient;
    - `rare_pushed_down`: of these, where there is one and the advantage is negative.
    """

    def __call__(self, scored: Scored) -> tuple[Tensor, Metrics]:
        # Not super(): a dataclass with slots is another class than the one that super() would look in.
        loss, metrics = GrpoLoss.__call__(self, scored)
        now_M, advantages_M = scored.logprobs_M.detach(), scored.advantages_M
        ratio_M = (now_M - scored.old_logprobs_M).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
        rises, falls = advantages_M > 0, advantages_M < 0
        clipped_M = rises & (ratio_M > 1 + self.clip_high) | falls & (ratio_M < 1 - self.clip_low)
        rare_M = now_M < RARE
        shares = {
            "rare": rare_M,
            "rare_clipped": rare_M & clipped_M,
            "rare_pushed_down": rare_M & falls & ~clipped_M,
        }
        return loss, metrics | {name: float(one_M.float().mean()) for name, one_M in shares.items()}
