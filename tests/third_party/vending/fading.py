"""A method of another package: GRPO whose skills fade from the prompt at random, with a setting of its own."""

from __future__ import annotations

import random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from imprint.agent import Agent
from imprint.context.shown import Shown
from imprint.learning import losses
from imprint.learning.sample import group_samples
from imprint.measurement.conditions import WITH, WITHOUT
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Loop
from imprint.rollout.base import derive_seed
from imprint.types import Task


class FadingSettings(BaseModel):
    """The `fading` section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    start: float = Field(default=1.0, ge=0, le=1, description="Share of the episodes that read skills at the start.")


class Fading:
    """Each episode reads the skills with a probability that falls linearly to 0."""

    def __init__(self, fading: FadingSettings) -> None:
        self.settings = fading
        self.readers = 0

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        loop = Loop(bench, self)
        loss = losses.GrpoLoss.of(bench.recipe.learner)

        def show(task: Task, index: int) -> Shown:
            rng = random.Random(derive_seed(bench.seed, "fading", loop.updates, task.id, index))
            reads = rng.random() < self.settings.start * (1 - loop.share)
            self.readers += reads
            return (WITH if reads else WITHOUT).show(task, agent.library)

        with loop:
            for _ in loop.each():
                groups = loop.play(show)
                loop.learn(groups, group_samples(groups, loop.scores(groups), loop.advantage), loss)
            loop.test(WITH, WITHOUT)
        return agent.trained(loop.checkpoint, WITHOUT)

    def state(self) -> dict[str, dict[str, Any]]:
        return {"json": {"readers": self.readers}}

    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        self.readers = state["json"]["readers"]


SPEC = MethodSpec(Fading, sections={"fading": FadingSettings})
