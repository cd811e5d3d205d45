"""Imprint: SKILL0 with groups that mix two conditions, and the advantages of readers carried over to the prompt
without.

A small policy that has only learned to read a skill knows nothing when its text goes: what SKILL0 reinforces are the
actions *given the text*. Imprint is a composition of four parts, each of which is a setting, so that an ablation is a
recipe:

- mixed groups (`mixed.py`): each group plays its task with the skills and without (`transfer.skill_share`);
- transfer (`transfer.py`): the actions of the episodes that read them are learned under the prompt that lacks them,
  with A0(y1) = R(y1) - mean_j R(y0_j) as their advantage (RLTF-SD, arXiv 2602.02482; its "feedback" is our skill;
  `transfer.weight`, 0 for none). By itself it is `rltf_sd.py`;
- replay (`replay.py`): what readers did well is learned more than once, also after the last skill is withdrawn
  (`transfer.replay`, 0 for none);
- the Dynamic Curriculum (`curriculum.py`): the skills are withdrawn; `curriculum: {mode: fixed, schedule: [99]}` keeps
  them.

Departures from RLTF-SD: only positive transferred advantages are used (what a reader does wrong says little about what
to do without the text; `transfer.gains: all` uses both), the share of readers falls to 0 with the curriculum instead of
staying, and replay.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from imprint.context.shown import Shown
from imprint.learning.sample import OffPolicy, Sample
from imprint.methods.base import Workbench
from imprint.methods.loop import Group, Loop
from imprint.methods.weights import skill0
from imprint.methods.weights.curriculum import CurriculumConfig
from imprint.methods.weights.mixed import Mixture, apart
from imprint.methods.weights.replay import Replay
from imprint.methods.weights.transfer import Carrier, Gains
from imprint.rollout.base import derive_seed

if TYPE_CHECKING:
    from imprint.skills.library import SkillLibrary
    from imprint.types import Task

__all__ = ["SPEC", "Imprint", "Transfer"]


class Transfer(Mixture):
    """The `transfer` section of a recipe: how a skill is carried into the prompt without it."""

    weight: float = Field(default=1.0, ge=0, description="Weight of the transferred advantages.")
    gains: Gains = Field(
        default="positive",
        description="`positive`: the valid actions of successes that beat the episodes without skills; `all`: every "
        "action of every episode with skills, also with negative advantages, as in RLTF-SD.",
    )
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
        self.seed, self.readers = bench.seed, self.transfer.readers(bench.recipe.rollout.group)
        self.carrier = Carrier(bench, self.transfer.gains, self.transfer.rules)
        self.replay = Replay(self.transfer.replay, self.transfer.replay_size, self.transfer.rules, bench.draw)

    def show(self, task: Task, index: int, library: SkillLibrary) -> Shown:
        """The first part of a group reads the active skills, the rest plays without."""
        return super().show(task, index, library) if index < self.readers else Shown()

    def samples(self, loop: Loop, groups: list[Group]) -> list[Sample]:
        """GRPO within each condition, and the readers' gains, new and replayed, under the prompt without the skills."""
        samples = super().samples(loop, apart(groups))
        if self.transfer.weight > 0:
            rng = random.Random(derive_seed(self.seed, "replay", loop.step))
            samples += self.replay.draw(rng, self.transfer.weight)
            for group in groups:
                samples += self.transferred(group)
        return samples

    def transferred(self, group: Group) -> list[Sample]:
        """The readers of a group, each under the prompt that shows no skill; its successes are kept for replay."""
        baseline = self.carrier.baseline(group)
        if baseline is None:
            return []
        category = group[0].task.category
        self.replay.note_without(category, baseline)
        samples = []
        for episode in self.carrier.chosen(group):
            if self.transfer.replay and episode.success:
                for sample in self.carrier.carried(episode):
                    self.replay.add(category, sample, self.carrier.score(episode))
            samples += self.carrier.transferred(episode, baseline, self.transfer.weight)
        return samples

    def state(self) -> dict[str, dict[str, Any]]:
        return super().state() | {"tensors": self.replay.state()}

    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        super().restore(state)
        self.replay.restore(state["tensors"])


SPEC = replace(skill0.SPEC, method=Imprint, sections={**skill0.SPEC.sections, "transfer": Transfer})
