"""GRPO's loss, with what becomes of rare tokens: those that the prompt they are learned under makes unlikely."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from imprint.learning.config import RARE
from imprint.learning.losses.base import Metrics
from imprint.learning.losses.grpo import GrpoLoss, off_policy_terms, surrogates
from imprint.learning.losses.tokens import LOG_RATIO_LIMIT
from imprint.learning.scoring import Scored

__all__ = ["RareTokenLoss"]


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
        old_M, _, _ = off_policy_terms(scored)
        ratio_M = (now_M - old_M).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
        free_M, held_M = surrogates(ratio_M, advantages_M, self.clip_low, self.clip_high)
        clipped_M = held_M > free_M
        rare_M = now_M < RARE
        shares = {
            "rare": rare_M,
            "rare_clipped": rare_M & clipped_M,
            "rare_pushed_down": rare_M & (advantages_M < 0) & ~clipped_M,
        }
        return loss, metrics | {name: float(one_M.float().mean()) for name, one_M in shares.items()}
