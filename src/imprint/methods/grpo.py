"""GRPO: the same loop with no skill in the context, ever (DeepSeekMath, arXiv 2402.03300). The baseline to beat."""

from __future__ import annotations

from dataclasses import replace

from imprint.curriculum import CurriculumState
from imprint.methods.skill0 import Skill0


class Grpo(Skill0):
    """SKILL0's loop from its last stage on."""

    def first_curriculum(self) -> CurriculumState:
        return replace(super().first_curriculum(), active=())

    def withdraw(self, before: int | None) -> None:
        """There is nothing to withdraw."""
