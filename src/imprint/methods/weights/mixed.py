"""Mixed groups: each plays its task with the skills in the prompt and without, and each condition learns from itself.

    maximise  J(y0 | x0) + J(y1 | x1),   x0 the prompt that shows no skill, x1 the one that shows those that serve

with GRPO's advantages within the episodes of one group that read the same prompt. By itself this carries nothing from
one prompt to the other; `rltf_sd`, `rltf_fm`, `siri` and `ucob` add what does (`MixedGrpo.carried_over`), and `imprint`
has the same groups under a curriculum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from imprint.learning import losses
from imprint.learning.sample import Sample, group_samples
from imprint.measurement.conditions import WITH, WITHOUT
from imprint.methods.base import Workbench
from imprint.methods.loop import Group, Loop, Show

if TYPE_CHECKING:
    from imprint.agent import Agent
    from imprint.learning.losses import Loss
    from imprint.skills.library import SkillLibrary

__all__ = ["MixedGrpo", "Mixture", "apart"]


class Mixture(BaseModel):
    """The settings of mixed groups, part of the section of each method that has them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    skill_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of each group that reads the skills (while they are active).",
    )

    def readers(self, group: int) -> int:
        """How many of a group's episodes read the skills: the first so many."""
        return round(self.skill_share * group)


def apart(groups: Sequence[Group]) -> list[Group]:
    """The episodes of each group that were shown skills, and those that were shown none, as groups of their own.

    They are recognised by what they were shown: once nothing is active, a group is one again.
    """
    halves = [[e for e in group if bool(e.skills) is reads] for group in groups for reads in (True, False)]
    return [half for half in halves if half]


class MixedGrpo:
    """GRPO in mixed groups."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        self.begin(agent.library, bench)
        loop = Loop(bench, self)
        loss = self.loss(bench)
        with loop:
            if loop.updates == 0:
                loop.validate(WITH, WITHOUT)
            for _ in loop.each():
                readers = self.readers(loop)
                groups = loop.play(_shows(agent.library, readers))
                samples = self.samples(loop, groups) + self.carried_over(loop, groups)
                active = len(agent.library) if readers else 0
                loop.learn(groups, samples, loss, active=active, beside=self.numbers())
                loop.validate(WITH, WITHOUT)
            loop.test(WITH, WITHOUT)
        return agent.trained(loop.checkpoint, WITHOUT)

    def begin(self, library: SkillLibrary, bench: Workbench) -> None:
        """Take what the method needs of a run."""

    def loss(self, bench: Workbench) -> Loss:
        return losses.GrpoLoss.of(bench.recipe.learner)

    def readers(self, loop: Loop) -> int:
        """How many episodes of each group read the skills in this step."""
        return self.mixture.readers(loop.recipe.rollout.group)

    def samples(self, loop: Loop, groups: list[Group]) -> list[Sample]:
        """Every episode under its own prompt, with the advantages of its condition."""
        halves = apart(groups)
        return group_samples(halves, loop.scores(halves), loop.advantage)

    def carried_over(self, loop: Loop, groups: list[Group]) -> list[Sample]:
        """What is learned beside that."""
        return []

    def numbers(self) -> dict[str, float]:
        """What is logged beside the loss."""
        return {}

    def state(self) -> dict[str, dict[str, Any]]:
        return {}

    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        """Nothing is kept between steps."""


def _shows(library: SkillLibrary, readers: int) -> Show:
    return lambda task, index: (WITH if index < readers else WITHOUT).show(task, library)
