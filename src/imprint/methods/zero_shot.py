"""No training at all: the starting policy, tested with the skills in its context (`few_shot`, as the published tables
call it) and without (`zero_shot`). Both arms are in the run's figures; the two names say which one to read."""

from __future__ import annotations

from imprint.methods.skill0 import Skill0


class ZeroShot(Skill0):
    """The test at the end of SKILL0's loop, and nothing before it."""

    def train(self) -> None:
        """Test the policy as it is."""
        self.resume()
        self.progress.begin(0)
        self.test()
        self.run.set_status("finished", 0, env_steps=0)
