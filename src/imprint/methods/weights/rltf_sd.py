"""RLTF-SD: self-distillation from text feedback (arXiv 2602.02482), with the skill's page as the feedback.

    maximise  J(y0 | x0) + J(y1 | x1),  and  g = E_{y1 ~ pi(.|x1)} [ w A0(y1) grad log pi(y1 | x0) ]  is added,
    A0(y1) = R(y1) - mean_j R(y0_j)

A group plays its task under x0, the prompt that shows no skill, and under x1, that shows those that serve the task
(`mixed.py`). What was done under x1 is learned under x0 too (`transfer.py`): with either sign of A0, the ratio starting
at 1 (the log-probs under x0 are taken for those of the sampler), and without the tokens that x0 makes too unlikely.
`imprint` composes the same parts in another way.

Departures: their x1 holds a first attempt and a critique of it, ours the prompt and a page that is the same for every
attempt; so y1 does not follow on y0, and no return flows back from it. w is constant (their runs on mathematics raise
it from 0), and with several minibatches the ratio is held at 1 in each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from imprint.learning.sample import OffPolicy, Sample
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Group, Loop
from imprint.methods.weights.mixed import MixedGrpo, Mixture
from imprint.methods.weights.transfer import Carrier

if TYPE_CHECKING:
    from imprint.skills.library import SkillLibrary

__all__ = ["SPEC", "RltfSd", "SelfDistillation"]


class SelfDistillation(Mixture):
    """The `self_distillation` section of a recipe."""

    weight: float = Field(default=0.1, ge=0, description="Weight of the distilled advantages.")
    min_logprob: float | None = Field(
        default=-5.0, le=0, description="Leave out tokens less likely than this without the skill text; null: none."
    )


class RltfSd(MixedGrpo):
    """Mixed groups, and the transfer from one prompt to the other."""

    def __init__(self, self_distillation: SelfDistillation) -> None:
        super().__init__(self_distillation)
        self.settings = self_distillation

    def begin(self, library: SkillLibrary, bench: Workbench) -> None:
        self.carrier = Carrier(bench, "all", OffPolicy(self.settings.min_logprob))

    def carried_over(self, loop: Loop, groups: list[Group]) -> list[Sample]:
        """y1 under x0, each token with w A0."""
        samples = []
        for group in groups:
            baseline = self.carrier.baseline(group)
            if baseline is not None and self.settings.weight > 0:
                for reader in self.carrier.chosen(group):
                    samples += self.carrier.transferred(reader, baseline, self.settings.weight)
        return samples


SPEC = MethodSpec(RltfSd, sections={"self_distillation": SelfDistillation}, paced=())
