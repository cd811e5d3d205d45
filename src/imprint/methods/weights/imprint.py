"""Imprint: SKILL0 with groups that mix both arms, and the advantages of reading carried over to not reading.

A small policy that has only learned to read a page knows nothing when the page goes: what SKILL0 reinforces are the
actions *given the page*. Here each group plays its task with the page and without, and the actions of the episodes
that had it are learned under the prompt that lacks it:

    g = E_{y1 ~ pi(.|x1)} [ A0(y1) grad log pi(y1 | x0) ],    A0(y1) = R(y1) - mean_j R(y0_j)

with x1 the prompt that shows the skills, x0 the same prompt without them, and the baseline from the group's episodes
under x0 (RLTF-SD, arXiv 2602.02482; its "feedback" is our skill). As there, the ratio is 1 (nothing corrects
for having sampled under x1, unless `transfer.importance_cap` is set), and tokens that are too unlikely under x0 can be
left out.

Differences from RLTF-SD: only positive transferred advantages are used (what a reader does wrong says little about
what to do by heart), the share of readers falls to 0 with the Dynamic Curriculum instead of staying, and what readers
did well is learned more than once (`learning/replay.py`), also after the last page is gone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from imprint.context.visual import VisualContext
from imprint.engine.local import LocalEngine
from imprint.learning.rewards import turn_scores
from imprint.learning.scoring import Sample, episode_sample, view_sample
from imprint.methods.weights.replay import Replay
from imprint.methods.weights.skill0 import Skill0
from imprint.models.sampling import Prompt
from imprint.rollout.tokens import derive_seed
from imprint.runs.run import Run
from imprint.support.progress import Progress
from imprint.types import Episode, Task


class Imprint(Skill0):
    """SKILL0's loop with another `skills_for` and another `samples`."""

    def __init__(self, engine: LocalEngine, run: Run, progress: Progress) -> None:
        super().__init__(engine, run, progress)
        self.replay = Replay(self.recipe.transfer, engine.draw)

    def skills_for(self, task: Task, index: int) -> tuple[Any, ...]:
        """The first part of a group reads the active skills, the rest plays by heart."""
        readers = round(self.recipe.transfer.skill_share * self.recipe.rollout.group)
        return super().skills_for(task, index) if index < readers else ()

    def samples(self, groups: Sequence[Sequence[Episode]]) -> list[Sample]:
        """GRPO within each arm, and the readers' gains, new and replayed, under the prompt without the page."""
        arms = [
            [episode for episode in group if (episode.arm == "with") is reads]
            for group in groups
            for reads in (True, False)
        ]
        samples = super().samples([arm for arm in arms if arm])
        if self.recipe.transfer.weight > 0:
            samples += self.replay.draw(random.Random(derive_seed(self.recipe.seed, "replay", self.updates)))
            for group in groups:
                samples += self.transferred(group)
        return samples

    def transferred(self, group: Sequence[Episode]) -> list[Sample]:
        """The successful readers of a group, each under the prompt that its skill-free neighbours read."""
        by_heart = [episode for episode in group if episode.arm == "without"]
        if not by_heart:
            return []
        category = by_heart[0].task.category
        baseline = sum(self.score(episode) for episode in by_heart) / len(by_heart)
        self.replay.note_by_heart(category, baseline)
        samples = []
        for episode in group:
            score = self.score(episode)
            if episode.arm == "with" and episode.success:
                carried = self.by_heart(episode, by_heart[0])
                if self.recipe.transfer.replay:
                    for sample in carried:
                        self.replay.add(category, sample, score)
                if score > baseline:
                    gain = self.recipe.transfer.weight * (score - baseline)
                    samples += [sample.scaled(gain) for sample in carried]
        return samples

    def by_heart(self, episode: Episode, neighbour: Episode) -> list[Sample]:
        """A reader's valid actions, each to be learned with weight 1 under what a skill-free episode reads."""
        learned = [float(turn.valid) for turn in episode.turns]
        transfer = self.recipe.transfer
        if not episode.views:  # the same task has the same first observation
            read = Prompt(neighbour.prompt_ids, pictures=neighbour.pictures)
            return [episode_sample(episode, learned, read, transfer)]
        context = self.engine.context
        assert isinstance(context, VisualContext)
        turns = zip(episode.views, learned, context.shown_again(episode, ()), strict=True)
        return [view_sample(view, value, prompt, transfer) for view, value, prompt in turns if value]

    def score(self, episode: Episode) -> float:
        scores = turn_scores(episode, self.recipe.reward)
        return sum(scores) / len(scores)

    def memory(self) -> dict[str, Any]:
        return self.replay.state()

    def remember(self, memory: dict[str, Any]) -> None:
        self.replay.restore(memory)
