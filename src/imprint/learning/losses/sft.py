"""Supervised fine-tuning: the weighted mean negative log-prob of the trained tokens.

loss = - sum_i w_i log pi(y_i) / sum_i w_i,    w_i = `Sample.advantages_T` (1 for an ordinary demonstration)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from imprint.learning.losses.base import Metrics, Need, Weighted
from imprint.learning.scoring import Scored

__all__ = ["SftLoss"]


@dataclass(frozen=True, slots=True)
class SftLoss(Weighted):
    """The loss of samples made by `Sample.imitation`, or of any whose advantages are weights."""

    needs: frozenset[Need] = frozenset()
    damps_muon: bool = False

    def __call__(self, scored: Scored) -> tuple[Tensor, Metrics]:
        loss = -(scored.logprobs_M * scored.advantages_M).sum() / scored.denominator
        return loss, {"nll": float(loss.detach())}

    def merge(self, parts: Sequence[Metrics]) -> Metrics:
        """The parts are shares of one mean: they add up."""
        return {"nll": sum(part["nll"] for part in parts)}
