"""Imprint: SKILL0 with groups that mix two conditions, and the advantages of readers carried over to the prompt
without.

A small policy that has only learned to read a skill knows nothing when its text goes: what SKILL0 reinforces are the
actions *given the text*. Here each group plays its task with the skills and without, and the actions of the episodes
that read them are learned under the prompt that lacks them:

    g = E_{y1 ~ pi(.|x1)} [ A0(y1) grad log pi(y1 | x0) ],    A0(y1) = R(y1) - mean_j R(y0_j)

with x1 the prompt that shows the skills, x0 the same prompt without them, and the baseline from the group's episodes
under x0 (RLTF-SD, arXiv 2602.02482; its "feedback" is our skill). As there, the ratio is 1 (nothing corrects
for having sampled under x1, unless `transfer.importance_cap` is set), and tokens that are too unlikely under x0 can be
left out.

Departures from RLTF-SD: only positive transferred advantages are used (what a reader does wrong says little about what
to do without the text), the share of readers falls to 0 with the Dynamic Curriculum instead of staying, and what
readers did well is learned more than once (`replay.py`), also after the last skill is withdrawn.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from imprint.context.shown import Shown
from imprint.learning.rewards import turn_scores
from imprint.learning.sample import OffPolicy, Sample, off_prompt
from imprint.methods.base import Workbench
from imprint.methods.loop import Group, Loop
from imprint.methods.weights import skill0
from imprint.methods.weights.curriculum import CurriculumConfig
from imprint.methods.weights.replay import Replay
from imprint.rollout.base import derive_seed

if TYPE_CHECKING:
    from imprint.skills.library import SkillLibrary
    from imprint.types import Episode, Task

__all__ = ["SPEC", "Imprint", "Transfer"]


class Transfer(BaseModel):
    """The `transfer` section of a recipe: how a skill is carried into the prompt without it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    skill_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of each group that reads the skills (while they are active).",
    )
    weight: float = Field(default=1.0, ge=0, description="Weight of the transferred advantages.")
    replay: int = Field(
        default=0, ge=0, description="Earlier readers' episodes drawn to be learned again in each step."
    )
    replay_size: int = Field(default=256, ge=1, description="The newest so many of each family are kept for that.")
    min_logprob: float | None = Field(
        default=None,
        le=0,
        description="Leave out tokens less likely than this without the skill text; RLTF-SD: -5.",
    )
    importance_cap: float | None = Field(
        default=None,
        gt=0,
        description="Weigh by pi(a | without skills) / pi(a | with skills), at most this; null: no correction.",
    )

    @property
    def rules(self) -> OffPolicy:
        """How the transferred tokens are learned."""
        return OffPolicy(self.min_logprob, self.importance_cap)


class Imprint(skill0.Skill0):
    """SKILL0's loop with another `show` and another `samples`."""

    replay: Replay

    def __init__(self, curriculum: CurriculumConfig, transfer: Transfer) -> None:
        super().__init__(curriculum)
        self.transfer = transfer

    def begin(self, library: SkillLibrary, bench: Workbench) -> None:
        super().begin(library, bench)
        self.bench, self.reward = bench, bench.recipe.reward
        self.readers = round(self.transfer.skill_share * bench.recipe.rollout.group)
        self.replay = Replay(self.transfer.replay, self.transfer.replay_size, self.transfer.rules, bench.draw)

    def show(self, task: Task, index: int, library: SkillLibrary) -> Shown:
        """The first part of a group reads the active skills, the rest plays without."""
        return super().show(task, index, library) if index < self.readers else Shown()

    def samples(self, loop: Loop, groups: list[Group]) -> list[Sample]:
        """GRPO within each condition, and the readers' gains, new and replayed, under the prompt without the skills."""
        # Readers are recognised by what they were shown: once nothing is active, a group is one again.
        apart = [[e for e in group if bool(e.skills) is reads] for group in groups for reads in (True, False)]
        samples = super().samples(loop, [part for part in apart if part])
        if self.transfer.weight > 0:
            rng = random.Random(derive_seed(self.bench.seed, "replay", loop.updates))
            samples += self.replay.draw(rng, self.transfer.weight)
            for group in groups:
                samples += self.transferred(group)
        return samples

    def transferred(self, group: Group) -> list[Sample]:
        """The successful readers of a group, each under the prompt that shows no skill."""
        without = [episode for episode in group if not episode.skills]
        if not without:
            return []
        category = without[0].task.category
        baseline = sum(self.score(episode) for episode in without) / len(without)
        self.replay.note_without(category, baseline)
        samples = []
        for episode in group:
            score = self.score(episode)
            if episode.skills and episode.success:
                carried = self.carried(episode)
                if self.transfer.replay:
                    for sample in carried:
                        self.replay.add(category, sample, score)
                if score > baseline:
                    gain = self.transfer.weight * (score - baseline)
                    samples += [sample.scaled(gain) for sample in carried]
        return samples

    def carried(self, episode: Episode) -> list[Sample]:
        """A reader's valid actions, each to be learned with weight 1 under the prompt that shows no skill."""
        assert self.bench.context is not None
        valid = [float(turn.valid) for turn in episode.turns]
        return off_prompt(episode, valid, self.bench.context.render(episode, Shown()), self.transfer.rules)

    def score(self, episode: Episode) -> float:
        """The mean score of an episode's turns, without the bonus for compressing."""
        scores = turn_scores(episode, self.reward)
        return sum(scores) / len(scores)

    def state(self) -> dict[str, dict[str, Any]]:
        return super().state() | {"tensors": self.replay.state()}

    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        super().restore(state)
        self.replay.restore(state["tensors"])


SPEC = replace(skill0.SPEC, method=Imprint, sections={**skill0.SPEC.sections, "transfer": Transfer})
