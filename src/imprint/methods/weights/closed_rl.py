"""Closed-book RL: episodes are played with the skills in the prompt, and GRPO learns them under the prompt without.

    play  y ~ pi(.|x1),  x1 the prompt with the skills;   A as in GRPO, within the group of a task
    maximise  min( r_t A, clip(r_t, 1 - e, 1 + e) A ),    r_t = pi(y_t | x0, y_<t) / pi_old(y_t | x0, y_<t)

with x0 the prompt that shows no skill: SE-Bench's Closed-RL (arXiv 2602.04811), the reinforcement counterpart of
`closed_book`, which learns the successes of the same episodes by maximum likelihood. SE-Bench finds that it fails where
the other works, and names two causes, which are logged (`learning.losses.rare`): the clip ends the gradient of a token
that x0 makes unlikely after one small step, and what failed is pushed down, with names that were hardly ever said.

`old_logprobs: with` takes pi_old under x1, as a sampler reports it. The ratio of an unlikely token is then next to 0:
there is hardly a gradient where A > 0, and none where A < 0.

Departure: SE-Bench learns stored rollouts in up to 30 passes; here each update plays new ones. Nothing can be clipped
in the first optimizer step on a batch: for the clip to act, `learner.minibatches` must be 2 or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from imprint.learning import losses
from imprint.learning.sample import Sample, off_prompt, turn_advantages_of
from imprint.measurement.conditions import WITH, WITHOUT
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Group, Loop
from imprint.methods.weights.grpo import Grpo

if TYPE_CHECKING:
    from imprint.learning.losses import Loss
    from imprint.skills.library import SkillLibrary

__all__ = ["SPEC", "ClosedRl", "PromptSwap"]


class PromptSwap(BaseModel):
    """The `prompt_swap` section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    old_logprobs: Literal["without", "with"] = Field(
        default="without",
        description="The prompt under which the old policy's log-probs are taken: the one that is learned, or the one "
        "that was played with.",
    )


class ClosedRl(Grpo):
    """GRPO whose episodes are played under one prompt and learned under the other."""

    shown = WITH

    def __init__(self, prompt_swap: PromptSwap) -> None:
        self.settings = prompt_swap

    def loss(self, bench: Workbench) -> Loss:
        return losses.RareTokenLoss.of(bench.recipe.learner)

    def samples(self, loop: Loop, groups: Sequence[Group], library: SkillLibrary) -> list[Sample]:
        """Every episode under the prompt without skills, with the advantages of its group."""
        context = loop.bench.context
        assert context is not None
        episodes = [episode for group in groups for episode in group]
        advantages = turn_advantages_of(groups, loop.scores(groups), loop.advantage)
        samples = [
            sample
            for episode, values in zip(episodes, advantages, strict=True)
            for sample in off_prompt(episode, values, context.render(episode, WITHOUT.show(episode.task, library)))
        ]
        return samples if self.settings.old_logprobs == "with" else self._rescored(loop, samples)

    def _rescored(self, loop: Loop, samples: list[Sample]) -> list[Sample]:
        """With old log-probs under their own prompt."""
        rescored = []
        for sample, logprobs in zip(samples, loop.learner.logprobs(samples), strict=True):
            old_T = sample.old_logprobs_T.copy()
            old_T[sample.mask_T] = logprobs
            rescored.append(replace(sample, old_logprobs_T=old_T))
        return rescored


SPEC = MethodSpec(ClosedRl, sections={"prompt_swap": PromptSwap}, paced=())
