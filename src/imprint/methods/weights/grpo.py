"""GRPO: the same loop with no skill in the context, ever (DeepSeekMath, arXiv 2402.03300). The baseline to beat."""

from __future__ import annotations

from imprint.methods.weights.curriculum import CurriculumState, held_state
from imprint.methods.weights.skill0 import Skill0


class Grpo(Skill0):
    """SKILL0's loop from its last stage on."""

    def first_curriculum(self) -> CurriculumState:
        return held_state(self.engine.library.names)

    def withdraw(self, before: int | None) -> None:
        """There is nothing to withdraw."""
