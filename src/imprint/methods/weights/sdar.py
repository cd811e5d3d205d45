"""SDAR: GRPO without skills, and a gated term towards what the same policy would say with them (arXiv 2605.15155).

    loss = GRPO + coef * mean_t( g_t (log p(y_t|x1, y_<t) - log pi(y_t|x0, y_<t)) )
    g_t  = sigmoid( gate * (log p(y_t|x1, y_<t) - log pi(y_t|x0, y_<t)) ),   a constant, as p is

with x0 the prompt that shows no skill, x1 the same prompt with the skills, y the student's episodes under x0, and p the
policy before the update. What the term does to the weights is said in `learning/losses/gated.py`. Formulas and figures
(coef 0.01, gate 5) are those of the authors' code.

Departures: the KL term to the starting policy (theirs: 0.01) is off by default (`learner.kl_coef`); with more than one
optimizer step per batch (`learner.minibatches`, `learner.epochs`) p is the policy before each of them, theirs before
the first; the advantages are those that the recipe asks for (theirs: divided by the group's deviation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from imprint.learning import losses
from imprint.learning.sample import group_samples
from imprint.measurement.conditions import WITH, WITHOUT
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Loop
from imprint.methods.weights.opsd import taught_by_readers

if TYPE_CHECKING:
    from imprint.agent import Agent

__all__ = ["SPEC", "GatedTeacher", "Sdar"]


class GatedTeacher(BaseModel):
    """The `sdar` section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    coef: float = Field(default=0.01, ge=0, description="Weight of the teacher's term beside GRPO's loss.")
    gate: float = Field(
        default=5.0,
        ge=0,
        description="How steeply the term opens where the teacher finds a token more likely; 0: half open everywhere.",
    )


class Sdar:
    """GRPO's loop with one more term in the loss."""

    def __init__(self, sdar: GatedTeacher) -> None:
        self.settings = sdar

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        context = bench.context
        assert context is not None
        bench.learner.keep_teacher("live")
        loop = Loop(bench)
        grpo = losses.GrpoLoss.of(bench.recipe.learner)
        loss = losses.GatedLoss(grpo, self.settings.coef, self.settings.gate)
        with loop:
            if loop.updates == 0:
                loop.validate(WITH, WITHOUT)
            for _ in loop.each():
                groups = loop.play(lambda task, index: WITHOUT.show(task, agent.library))
                samples = group_samples(groups, loop.scores(groups), loop.advantage)
                loop.learn(groups, taught_by_readers(samples, groups, context, agent.library), loss)
                loop.validate(WITH, WITHOUT)
            loop.test(WITH, WITHOUT)
        return agent.trained(loop.checkpoint, WITHOUT)


SPEC = MethodSpec(Sdar, sections={"sdar": GatedTeacher}, paced=())
