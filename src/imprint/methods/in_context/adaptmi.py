"""AdaptMI and AdaptMI+ (arXiv 2505.00147): skills in the context only where a first attempt looks difficult.

    y  = first attempt, without skills;  r_1..r_k = scores of its steps
    difficult  iff  r_k <= t1  or  mean(r) <= t1  or  some r_i <= t2
    answer = y if not difficult, else a second attempt that reads the skills (AdaptMI+: those that y did not show)

Nothing is trained. It is SKILL0's premise, a skill in the context can hurt, decided for each task on its own. Read
`Gate.attempt`.

Where this departs from the paper: what scores is no process reward model (see `gate.py` for what does, and what it is
worth); a first attempt reads no examples, where theirs has fixed ones; "missing" is a rule over commands
(`exemplars.missing_skills`), where theirs asks a language model; and a second attempt begins in a world put back as it
was: a question can always be answered anew, an act cannot always be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imprint.engine.base import Engine
from imprint.engine.local import LocalEngine
from imprint.measure.evaluate import Evaluator, Names
from imprint.methods.in_context.exemplars import draw_exemplars, missing_skills, needs_of
from imprint.methods.in_context.scorers import (
    GateConfig,
    both_attempts,
    confidence,
    is_difficult,
    make_scorer,
    unknown_logprobs,
)
from imprint.methods.in_context.zero_shot import ZeroShot
from imprint.runs.run import Run
from imprint.support.progress import Progress
from imprint.types import Episode, Task

COMPARED = 8  # exemplars of a family that say what its skills' steps have in common


class Gate:
    """Decides of every first attempt whether it stands, or what a second one is to read.

    Args:
        tasks: those of the training split, for exemplars of what the skills ask for (AdaptMI+ only).

    Raises:
        RecipeError: the scorer cannot be had, or does not work here; or the world shows no solutions.
    """

    def __init__(self, engine: Engine, config: GateConfig, tasks: Sequence[Task]) -> None:
        self.config = config
        self.library = engine.library
        self.score = make_scorer(config.scorer)
        if self.score is confidence and engine.recipe.endpoint is not None:
            raise unknown_logprobs()  # before anything is paid for
        self.needs = {}
        if config.show == "missing":
            for category in engine.world.categories:
                seed = engine.recipe.seed
                exemplars = draw_exemplars(engine.world, self.library, tasks, category, COMPARED, seed, least=1)
                self.needs[category] = needs_of(exemplars)

    def attempt(
        self, evaluator: Evaluator, first: Sequence[Episode], progress: Callable[[int], None] | None = None
    ) -> list[Episode]:
        """What becomes of each first attempt: itself, or with the second one that was made."""
        shown = {episode.task.id: names for episode in first if (names := self.to_read(episode))}
        second = evaluator.play([(e.task, shown[e.task.id]) for e in first if e.task.id in shown], progress)
        return [both_attempts(e, second[e.task.id, shown[e.task.id]]) if e.task.id in shown else e for e in first]

    def to_read(self, first: Episode) -> Names:
        """The skills that a second attempt reads; none where the first one stands."""
        if not is_difficult(self.score(first), self.config):
            return ()
        category = first.task.category
        serving = self.library.serving(category)
        if self.config.show == "missing":
            return missing_skills(serving, first, self.needs[category])
        return tuple(skill.name for skill in serving)


class AdaptMI(ZeroShot):
    """Zero-shot's test, whose arm `with` reads skills in second attempts only."""

    def __init__(self, engine: LocalEngine, run: Run, progress: Progress) -> None:
        super().__init__(engine, run, progress)
        self.gate = Gate(engine, self.recipe.gate or GateConfig(), self.train_tasks)

    def test_arms(self, progress: Callable[[int], None] | None) -> tuple[list[Episode], list[Episode]]:
        """Through the gate, and first attempts alone."""
        evaluator = self.engine.evaluator
        played = evaluator.play([(task, ()) for task in self.test_tasks], progress)
        first = [played[task.id, ()] for task in self.test_tasks]
        gated = self.gate.attempt(evaluator, first, progress)
        self.numbers["gate/second_attempts"] = sum(a is not b for a, b in zip(gated, first, strict=True)) / len(first)
        return gated, first
