"""Closed-book fine-tuning: what succeeded with the skills in the prompt is learned under the prompt without them.

    1. play the training tasks with the skills shown;   2. keep the episodes that succeed;
    3. minimise  - sum log pi(a_t | x0, y_<t)  over their valid actions,  x0 the prompt that shows no skill

The simplest way into the weights, also known as context distillation by rejection sampling; named and measured by
SE-Bench (arXiv 2602.04811), whose open-book control (`open_book.py`) learns the same episodes under their own prompts.

Departures from SE-Bench: the tasks are games of many turns, checked by their world and not by unit tests; the learning
rate decays over the epochs; all episodes are played by the starting policy at `rollout.temperature`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from imprint.learning import losses
from imprint.learning.sample import Sample, off_prompt, packed, unpacked
from imprint.measurement.conditions import WITH, WITHOUT, Condition
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Loop
from imprint.rollout.base import derive_seed

if TYPE_CHECKING:
    from imprint.agent import Agent
    from imprint.types import Episode

__all__ = ["SPEC", "ClosedBook", "Imitation"]


class Imitation(BaseModel):
    """The `imitation` section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=4, ge=1, description="Passes over the kept episodes.")
    batch: int = Field(default=128, ge=1, description="Episodes per optimizer step.")


class ClosedBook:
    """Gather the successes of readers, then learn them under another prompt."""

    learned_under: Condition = WITHOUT
    taught = False  # whether the loss needs a teacher, which reads the prompts of the readers
    successes_only = True

    def __init__(self, imitation: Imitation) -> None:
        self.settings = imitation
        self.kept: list[Sample] = []
        self.epochs = 0  # done

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        self.draw = bench.draw
        loop = Loop(bench, self, extra=self.settings.epochs, rewarded=self.successes_only)
        with loop:
            if loop.updates == 0:
                loop.validate(WITH, WITHOUT)
            for _ in loop.each():
                groups = loop.play(lambda task, index: WITH.show(task, agent.library))
                kept = [one for group in groups for one in group if one.success or not self.successes_only]
                self.kept += [sample for episode in kept for sample in self.samples(episode, agent, bench)]
                loop.log(groups, {"imitation/kept": len(self.kept)}, active=len(agent.library))
            for _ in loop.extra(self.epochs):
                loop.log_extra(self.learn(bench, self.epochs))
                self.epochs += 1
                loop.validate(WITH, WITHOUT, now=True)
            loop.test(WITH, WITHOUT)
        return agent.trained(loop.checkpoint, self.learned_under)

    def samples(self, episode: Episode, agent: Agent, bench: Workbench) -> list[Sample]:
        """A reader's valid actions, each with weight 1, under the prompt that is learned."""
        assert bench.context is not None
        shown = self.learned_under.show(episode.task, agent.library)
        valid = [float(turn.valid) for turn in episode.turns]
        return off_prompt(episode, valid, bench.context.render(episode, shown), taught=self.taught)

    def loss(self) -> losses.Loss:
        return losses.SftLoss()

    def learn(self, bench: Workbench, epoch: int) -> dict[str, float]:
        """One pass over the kept samples, in an order drawn from the seed; the means of its metrics."""
        order, size = list(self.kept), self.settings.batch
        random.Random(derive_seed(bench.seed, "imitation", epoch)).shuffle(order)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        total = len(batches) * self.settings.epochs
        rows = [
            bench.learner.step(batch, self.loss(), done=(epoch * len(batches) + place) / total)
            for place, batch in enumerate(batches)
        ]
        return {name: sum(row[name] for row in rows) / len(rows) for name in (rows[0] if rows else ())}

    def state(self) -> dict[str, dict[str, Any]]:
        return {"json": {"epochs": self.epochs}, "tensors": {"kept": [packed(sample) for sample in self.kept]}}

    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        self.epochs = int(state["json"]["epochs"])
        self.kept = [unpacked(entry, draw=self.draw) for entry in state["tensors"]["kept"]]


SPEC = MethodSpec(ClosedBook, sections={"imitation": Imitation}, paced=None)
