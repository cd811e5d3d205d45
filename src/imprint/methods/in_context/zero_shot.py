"""No training at all: the starting policy, tested with the skills in its context (`few_shot`, as the published tables
call it) and without (`zero_shot`). Both conditions are in the run's figures; the two names tell which one to read. The
policy may be behind an endpoint: what it was asked and what that costs is then in the run's metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imprint.measurement.conditions import WITH, WITHOUT
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.in_context.measuring import Measuring

if TYPE_CHECKING:
    from imprint.agent import Agent

__all__ = ["SPEC", "ZeroShot"]


class ZeroShot:
    """The test of the agent as it is."""

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        with Measuring(bench) as measuring:
            measuring.test(lambda tasks: bench.evaluator.conditions(tasks, (WITH, WITHOUT), measuring.advance))
        return agent


SPEC = MethodSpec(ZeroShot, needs=(), least_group=1)
