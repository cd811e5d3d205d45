"""Context distillation: the distributions that the starting policy has with the skills are learned without them.

    1. play the training tasks with the skills shown;   2. keep the episodes that succeed;
    3. minimise  sum_t KL( p(.|x1, y_<t) || pi(.|x0, y_<t) )  over the tokens of their valid actions

with x1 the prompt that shows the skills, x0 the same prompt without them, and p the starting policy, frozen (Askell
et al., arXiv 2112.00861; Snell et al., arXiv 2209.15189). It is `closed_book.py` with another loss: of each token, not
the one that was drawn is learned but all that could have been, with their probabilities.

Departures: the tasks are games of many turns, and both policies read all that came before; episodes that fail are
left out, which the papers, without an outcome, cannot do (`successes_only: false` keeps them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from imprint.learning import losses
from imprint.learning.config import DivergenceBeta, DivergenceTopK
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.weights.closed_book import ClosedBook, Imitation, check_rounds

if TYPE_CHECKING:
    from imprint.agent import Agent

__all__ = ["SPEC", "ContextDistillation", "Distillation"]


class Distillation(BaseModel):
    """The `context_distillation` section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    beta: DivergenceBeta = 0.0
    top_k: DivergenceTopK = None
    successes_only: bool = Field(default=True, description="Leave out the episodes that fail.")


class ContextDistillation(ClosedBook):
    """`ClosedBook` whose samples are learned from a teacher."""

    # The teacher's distributions are computed anew in every epoch, which doubles its time. Kept, those of 3,000
    # episodes (50 tokens each, a vocabulary of 1,173) would be 0.7 GB, in memory and in every checkpoint.
    taught = True

    def __init__(self, imitation: Imitation, context_distillation: Distillation) -> None:
        super().__init__(imitation)
        self.distillation = context_distillation
        self.successes_only = context_distillation.successes_only

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        bench.learner.keep_teacher("base")
        return super().run(agent, bench)

    def loss(self) -> losses.Loss:
        return losses.DistillationLoss(self.distillation.beta, self.distillation.top_k)


SPEC = MethodSpec(
    ContextDistillation,
    sections={"imitation": Imitation, "context_distillation": Distillation},
    paced=None,
    check=check_rounds,
    least_group=1,
)
