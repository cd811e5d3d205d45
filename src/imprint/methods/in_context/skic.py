"""Skills-in-context prompting, SKiC (arXiv 2308.00304): nothing is trained, everything stands in the prompt.

    context = skills that serve the task, composed exemplars, the task

An exemplar is a training task of the same family, solved, whose every step names the skill that it follows: it shows
how skills are put together, which a page by itself does not. Read `Skic.test_arms`.

Where this departs from the paper: exemplars are made by the world (`TeachingWorld.exemplar`), not written by hand, and
differ from seed to seed; shown are the skills that serve the task, not all there are; the query takes many turns, and
the prompt is read at every one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from imprint.context.config import SkicConfig
from imprint.engine.local import LocalEngine
from imprint.methods.in_context.exemplars import draw_exemplars
from imprint.methods.in_context.zero_shot import ZeroShot
from imprint.runs.run import Run
from imprint.support.progress import Progress
from imprint.types import Episode, StopReason


class Skic(ZeroShot):
    """Zero-shot's test, whose arm `with` reads exemplars after the skills."""

    def __init__(self, engine: LocalEngine, run: Run, progress: Progress) -> None:
        super().__init__(engine, run, progress)
        config, seed = self.recipe.skic or SkicConfig(), self.recipe.seed
        self.exemplars = {
            category: draw_exemplars(engine.world, engine.library, self.train_tasks, category, config.exemplars, seed)
            for category in sorted({task.category for task in self.test_tasks})
        }

    def test_arms(self, progress: Callable[[int], None] | None) -> tuple[list[Episode], list[Episode]]:
        """With skills and exemplars, and with neither."""
        evaluator = self.engine.evaluator
        bare = [evaluator.request(task, ()) for task in self.test_tasks]
        pages = [evaluator.request(task, evaluator.shown(task, evaluator.library.names)) for task in self.test_tasks]
        dressed = [replace(request, exemplars=self.exemplars[request.task.category]) for request in pages]
        episodes = self.engine.rollout.play([*dressed, *bare], evaluator.sampling, progress)
        self.tell_full(episodes[: len(dressed)])
        return episodes[: len(dressed)], episodes[len(dressed) :]

    def tell_full(self, episodes: list[Episode]) -> None:
        """How many episodes the long prompt left too little room for."""
        full = sum(episode.stop is StopReason.CONTEXT_LIMIT for episode in episodes)
        self.numbers["skic/context_limit"] = full / max(1, len(episodes))
        if full:
            self.progress.note(f"{full} of {len(episodes)} episodes with exemplars ended because the context was full")
