"""No training at all: the starting policy, tested with the skills in its context (`few_shot`, as the published tables
call it) and without (`zero_shot`). Both arms are in the run's figures; the two names say which one to read. The policy
may be behind an endpoint: what it was asked and what that costs is then in the run's metrics."""

from __future__ import annotations

from imprint.engine.local import LocalEngine
from imprint.methods.weights.curriculum import CurriculumState, held_state
from imprint.methods.weights.skill0 import Skill0
from imprint.runs.metrics import MetricsWriter
from imprint.runs.run import Run
from imprint.support.progress import Progress


class ZeroShot(Skill0):
    """The test at the end of SKILL0's loop, and nothing before it."""

    trains = False

    def __init__(self, engine: LocalEngine, run: Run, progress: Progress) -> None:
        super().__init__(engine, run, progress)
        self.numbers: dict[str, float | None] = {}  # what a test shows beside success, for the metrics

    def first_curriculum(self) -> CurriculumState:
        """Nothing is withdrawn where nothing is trained."""
        return held_state(self.engine.library.names)

    def train(self) -> None:
        """Test the policy as it is."""
        self.run.truncate_to(-1)  # of a run that was stopped; an endpoint's episodes are kept elsewhere
        self.progress.begin(2 * len(self.test_tasks))
        try:
            self.test(self.advance)
        finally:
            self.tell()
        self.run.set_status("finished", 0, env_steps=0)

    def advance(self, turns: int) -> None:
        meter = self.engine.meter
        self.progress.advance(f"{turns} turns in the last episode" if meter is None else meter.line())

    def tell(self) -> None:
        """The test's numbers, and what was asked of a server; a run that was stopped says what it had until then."""
        if self.engine.meter is not None:
            self.progress.note(self.engine.meter.sentences())
            self.numbers |= self.engine.meter.metrics()
        if self.numbers:
            with MetricsWriter(self.run, self.recipe.loggers) as metrics:
                metrics.log(0, self.numbers)
