"""Closed-book fine-tuning: what succeeded with the skills in the prompt is learned under the prompt without them.

    1. play the training tasks with the skills shown;   2. keep the episodes that succeed;
    3. minimise  - sum log pi(a_t | x0, y_<t)  over their valid actions,  x0 the prompt that shows no skill

The simplest way into the weights, also known as context distillation by rejection sampling; named and measured by
SE-Bench (arXiv 2602.04811), whose open-book control (`open_book.py`) learns the same episodes under their own prompts.

Departures from SE-Bench: the tasks are games of many turns, checked by their world and not by unit tests; the learning
rate decays over the epochs. Two settings go beyond it: `rounds` (1. to 3. again, played by the policy that came of the
last round, as in expert iteration, arXiv 1705.08439) and `reading` (the same actions also under the prompt with the
skills, so that it is not forgotten how to read them).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from imprint.errors import RecipeError
from imprint.learning import losses
from imprint.learning.sample import Sample, off_prompt, packed, unpacked
from imprint.measurement.conditions import WITH, WITHOUT, Condition
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Loop
from imprint.rollout.base import derive_seed

if TYPE_CHECKING:
    from imprint.agent import Agent
    from imprint.recipe import Recipe
    from imprint.types import Episode

__all__ = ["SPEC", "ClosedBook", "Imitation"]


class Imitation(BaseModel):
    """The `imitation` section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: int = Field(default=4, ge=1, description="Passes over the kept episodes, in each round.")
    batch: int = Field(default=128, ge=1, description="Episodes per optimizer step.")
    rounds: int = Field(
        default=1,
        ge=1,
        description="Parts of the environment steps: what is kept is learned after each, and the policy that comes of "
        "it plays the next.",
    )
    reading: float = Field(
        default=0,
        ge=0,
        le=1,
        description="Share of the kept episodes that are learned with the skills in the prompt too.",
    )


class ClosedBook:
    """Gather the successes of readers, then learn them under another prompt."""

    learned_under: Condition = WITHOUT
    taught = False  # whether the loss needs a teacher, which reads the prompts of the readers
    successes_only = True

    def __init__(self, imitation: Imitation) -> None:
        self.settings = imitation
        self.kept: list[Sample] = []
        self.read: list[Sample] = []  # the same under the prompts they were played with

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        self.draw = bench.draw
        rounds, epochs = self.settings.rounds, self.settings.epochs
        loop = Loop(bench, self, extra=rounds * epochs, rewarded=self.successes_only)
        with loop:
            if loop.updates == 0:
                loop.validate(WITH, WITHOUT)
            for number in range(1, rounds + 1):
                for _ in loop.each(until=loop.steps * number // rounds):
                    groups = loop.play(lambda task, index: WITH.show(task, agent.library))
                    kept = [one for group in groups for one in group if one.success or not self.successes_only]
                    self.keep(kept, agent, bench)
                    loop.log(groups, {"imitation/kept": len(self.kept)}, active=len(agent.library))
                for epoch in loop.extra(until=epochs * number):
                    loop.log_extra(self.learn(bench, epoch))
                    if loop.extra_done == epochs * number or bench.recipe.keep_best:
                        loop.validate(WITH, WITHOUT, now=True)
            loop.test(WITH, WITHOUT)
        return agent.trained(loop.checkpoint, self.learned_under)

    def keep(self, episodes: Sequence[Episode], agent: Agent, bench: Workbench) -> None:
        """Keep valid actions, each with weight 1, under the prompt that is learned; if asked, under their own too."""
        assert bench.context is not None
        for episode in episodes:
            valid = [float(turn.valid) for turn in episode.turns]
            for shown, samples in ((self.learned_under, self.kept), (WITH, self.read)):
                if samples is self.kept or self.settings.reading:
                    prompts = bench.context.render(episode, shown.show(episode.task, agent.library))
                    samples += off_prompt(episode, valid, prompts, taught=self.taught)

    def loss(self) -> losses.Loss:
        return losses.SftLoss()

    def learn(self, bench: Workbench, epoch: int) -> dict[str, float]:
        """One pass over the kept samples, in an order drawn from the seed; the means of its metrics."""
        rng = random.Random(derive_seed(bench.seed, "imitation", epoch))
        order, size = list(self.kept), self.settings.batch
        order += rng.sample(self.read, round(self.settings.reading * len(self.read)))
        rng.shuffle(order)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        before, total = epoch % self.settings.epochs * len(batches), self.settings.epochs * len(batches)
        rows = [
            bench.learner.step(batch, self.loss(), done=(before + place) / total) for place, batch in enumerate(batches)
        ]
        return {name: sum(row[name] for row in rows) / len(rows) for name in (rows[0] if rows else ())}

    def state(self) -> dict[str, dict[str, Any]]:
        kept, read = ([packed(sample) for sample in samples] for samples in (self.kept, self.read))
        return {"tensors": {"kept": kept, "read": read}}

    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        tensors = state["tensors"]
        self.kept, self.read = (
            [unpacked(entry, draw=self.draw) for entry in tensors.get(name, ())] for name in ("kept", "read")
        )


def check_rounds(recipe: Recipe) -> None:
    """See that every round has a step to play, before anything is loaded.

    Raises:
        RecipeError: there are more rounds than steps.
    """
    rounds = recipe.section("imitation", Imitation).rounds
    if 0 < recipe.steps < rounds:  # without steps there is only a test
        raise RecipeError(
            f"{rounds} rounds cannot share {recipe.steps} steps",
            key="imitation.rounds",
            hint="raise steps, or lower it",
        )


SPEC = MethodSpec(ClosedBook, sections={"imitation": Imitation}, paced=None, check=check_rounds, least_group=1)
