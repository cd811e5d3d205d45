"""No training at all: the starting policy, tested with the skills in its context (`few_shot`, as the published tables
call it) and without (`zero_shot`). Both arms are in the run's figures; the two names say which one to read. The policy
may be behind an endpoint: what it was asked and what that costs is then in the run's metrics."""

from __future__ import annotations

from imprint.methods.skill0 import Skill0
from imprint.runs.metrics import MetricsWriter


class ZeroShot(Skill0):
    """The test at the end of SKILL0's loop, and nothing before it."""

    trains = False

    def train(self) -> None:
        """Test the policy as it is."""
        self.run.truncate_to(-1)  # of a run that was stopped; an endpoint's episodes are kept elsewhere
        self.progress.begin(2 * len(self.test_tasks))
        try:
            self.test(self.advance)
        finally:
            self.tell_usage()
        self.run.set_status("finished", 0, env_steps=0)

    def advance(self, turns: int) -> None:
        meter = self.engine.meter
        self.progress.advance(f"{turns} turns in the last episode" if meter is None else meter.line())

    def tell_usage(self) -> None:
        """What was asked of a server; a run that was stopped says what it had spent until then."""
        if self.engine.meter is not None:
            self.progress.note(self.engine.meter.sentences())
            with MetricsWriter(self.run, self.recipe.loggers) as metrics:
                metrics.log(0, self.engine.meter.metrics())
