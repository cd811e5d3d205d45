"""GRPO: group-relative policy optimisation with no skill in the context, ever. The baseline to beat.

    A_i = (R_i - mean_j R_j) / std_j R_j    within the group of episodes of one task

and PPO's clipped surrogate over the tokens of each episode (DeepSeekMath, arXiv 2402.03300, Eq. 3 and 4).

Departures: the KL term is off by default (`learner.kl_coef`), tokens of the whole batch weigh the same (DAPO's token
mean; `learner.aggregate: sequence-mean-token-mean` gives GRPO's), and turns carry their own penalty for invalid
actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imprint.learning import losses
from imprint.learning.sample import Sample, group_samples
from imprint.measurement.conditions import WITH, WITHOUT, Condition
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Group, Loop

if TYPE_CHECKING:
    from imprint.agent import Agent
    from imprint.learning.losses import Loss
    from imprint.skills.library import SkillLibrary

__all__ = ["SPEC", "Grpo"]


class Grpo:
    """GRPO of episodes played under one condition, from the first step to the last.

    Attributes:
        shown: the condition that is played.
        learned_under: the one that the policy is trained for.
    """

    shown: Condition = WITHOUT
    learned_under: Condition = WITHOUT

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        loop = Loop(bench)
        loss = self.loss(bench)
        with loop:
            if loop.updates == 0:
                loop.validate(WITH, WITHOUT)
            for _ in loop.each():
                groups = loop.play(lambda task, index: self.shown.show(task, agent.library))
                samples = self.samples(loop, groups, agent.library)
                loop.learn(groups, samples, loss, active=len(agent.library) if self.shown is WITH else 0)
                loop.validate(WITH, WITHOUT)
            loop.test(WITH, WITHOUT)
        return agent.trained(loop.checkpoint, self.learned_under)

    def loss(self, bench: Workbench) -> Loss:
        return losses.GrpoLoss.of(bench.recipe.learner)

    def samples(self, loop: Loop, groups: Sequence[Group], library: SkillLibrary) -> list[Sample]:
        """Every episode under its own prompt, with the advantages of its group."""
        return group_samples(groups, loop.scores(groups), loop.advantage)


SPEC = MethodSpec(Grpo, paced=())
