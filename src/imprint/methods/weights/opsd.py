"""On-policy self-distillation: what the policy plays without the skills is corrected by what it would say with them.

    min  E_{y ~ pi(.|x0)}  sum_t KL( pi(.|x0, y_<t) || p(.|x1, y_<t) )

with x0 the prompt that shows no skill, x1 the same prompt with the skills, and p the same model: as it was at the start
(`teacher: base`), a running mean of its weights (`ema`), or as it is (`live`). Every token of the student's own
episodes is learned, and no reward is needed (OPSD, arXiv 2601.18734; SDFT, arXiv 2601.19897; OPCD, arXiv 2602.12275).

The divergence is summed over the vocabulary and not estimated from the drawn token. That the policy also decides which
tokens are drawn is left out of its gradient, as in TRL's trainers.

Departures: the tasks are games of many turns, in which the teacher reads the student's earlier turns; `teacher` and
`beta` choose among the forms that the papers have, and none of them is reproduced in its other settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from imprint.learning import losses
from imprint.learning.config import DivergenceBeta, DivergenceTopK, TeacherKind
from imprint.learning.sample import Sample, episode_samples
from imprint.measurement.conditions import WITH, WITHOUT
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Group, Loop

if TYPE_CHECKING:
    from imprint.agent import Agent
    from imprint.context.prompt import Context
    from imprint.skills.library import SkillLibrary

__all__ = ["SPEC", "Opsd", "SelfDistillation", "taught_by_readers"]


class SelfDistillation(BaseModel):
    """The `opsd` section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    teacher: TeacherKind = Field(
        default="base",
        description="Whose distributions are learned: `base`, the policy that training starts from; `ema`, a running "
        "mean of the weights; `live`, the policy as it is.",
    )
    decay: float = Field(
        default=0.99, ge=0, lt=1, description="Of `ema`, per optimizer step: what stays of the teacher's weights."
    )
    beta: DivergenceBeta = 1.0
    top_k: DivergenceTopK = None


class Opsd:
    """The student plays, and the same model with the skills scores what it said."""

    def __init__(self, opsd: SelfDistillation) -> None:
        self.settings = opsd

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        settings, context = self.settings, bench.context
        assert context is not None
        bench.learner.keep_teacher(settings.teacher, settings.decay)
        loop = Loop(bench, rewarded=False)
        loss = losses.DistillationLoss(settings.beta, settings.top_k, damps_muon=True)
        with loop:
            if loop.updates == 0:
                loop.validate(WITH, WITHOUT)
            for _ in loop.each():
                groups = loop.play(lambda task, index: WITHOUT.show(task, agent.library))
                played = [episode for group in groups for episode in group]
                samples = [one for episode in played for one in episode_samples(episode, [1.0] * len(episode.turns))]
                loop.learn(groups, taught_by_readers(samples, groups, context, agent.library), loss)
                loop.validate(WITH, WITHOUT)
            loop.test(WITH, WITHOUT)
        return agent.trained(loop.checkpoint, WITHOUT)


def taught_by_readers(
    samples: list[Sample], groups: list[Group], context: Context, library: SkillLibrary
) -> list[Sample]:
    """The samples of the episodes of `groups`, each with what a teacher reads: the prompt that shows the skills."""
    episodes = [episode for group in groups for episode in group]
    prompts = [one for episode in episodes for one in context.render(episode, WITH.show(episode.task, library))]
    return [sample.taught(prompt) for sample, prompt in zip(samples, prompts, strict=True)]


SPEC = MethodSpec(Opsd, sections={"opsd": SelfDistillation}, paced=(), least_group=1)
