"""SkillRL's setting: the skills stand in every prompt of the whole training (their evolution is left out, as in the
comparison of the SKILL0 paper). Its arm `without` shows what is left when they are then taken away."""

from __future__ import annotations

from imprint.methods.weights.curriculum import CurriculumState, held_state
from imprint.methods.weights.skill0 import Skill0


class SkillRL(Skill0):
    """SKILL0's loop held in its first stage."""

    def first_curriculum(self) -> CurriculumState:
        return held_state(self.engine.library.names, self.engine.library.names)

    def withdraw(self, before: int | None) -> None:
        """Nothing is ever withdrawn."""
