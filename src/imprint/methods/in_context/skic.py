"""Skills-in-context prompting, SKiC (arXiv 2308.00304): nothing is trained, everything stands in the prompt.

    context = skills that serve the task, composed exemplars, the task

An exemplar is a training task of the same family, solved, whose every step names the skill that it follows: it shows
how skills are put together, which a skill's text by itself does not.

Departures: exemplars are made by the world (`TeachingWorld.exemplar`), not written by hand, and differ from seed to
seed; shown are the skills that serve the task, not all there are; the query takes many turns, and the prompt is read at
every one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from imprint.measurement.conditions import WITHOUT, exemplars
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.in_context.exemplars import draw_exemplars
from imprint.methods.in_context.measuring import Measuring
from imprint.types import Episode, StopReason, Task

if TYPE_CHECKING:
    from imprint.agent import Agent

__all__ = ["SPEC", "Skic", "SkicSettings"]

EXEMPLARS = "exemplars"  # the condition: skills, then exemplars


class SkicSettings(BaseModel):
    """The `skic` section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exemplars: int = Field(default=2, ge=1, description="Solved tasks of the same family after the skills.")


class Skic:
    """The test with skills and exemplars, and with neither."""

    def __init__(self, skic: SkicSettings) -> None:
        self.settings = skic

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        measuring = Measuring(bench)
        train, count = bench.tasks("train"), self.settings.exemplars
        drawn = {
            category: draw_exemplars(bench.world, agent.library, train, category, count, bench.seed)
            for category in sorted({task.category for task in measuring.test_tasks})
        }
        shown = exemplars(EXEMPLARS, drawn)

        def played(tasks: Sequence[Task]) -> dict[str, list[Episode]]:
            found = bench.evaluator.conditions(tasks, (shown, WITHOUT), measuring.advance)
            full = [episode.stop is StopReason.CONTEXT_LIMIT for episode in found[EXEMPLARS]]
            measuring.numbers["skic/context_limit"] = sum(full) / len(full)
            if any(full):
                bench.progress.note(f"{sum(full)} of {len(full)} episodes with exemplars ended: the context was full")
            return found

        with measuring:
            measuring.test(played)
        return agent.showing(shown)


SPEC = MethodSpec(Skic, sections={"skic": SkicSettings}, needs={"solutions"}, least_group=1)
