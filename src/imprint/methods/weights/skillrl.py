"""SkillRL's setting: GRPO with the skills in every prompt of the whole training (arXiv 2602.08234).

Their evolution is left out, as in the comparison of the SKILL0 paper. The condition `without` shows what is left when
the skills are then taken away.
"""

from __future__ import annotations

from imprint.measurement.conditions import WITH
from imprint.methods.base import MethodSpec
from imprint.methods.weights.grpo import Grpo

__all__ = ["SPEC", "SkillRL"]


class SkillRL(Grpo):
    """GRPO that shows the whole library."""

    shown = learned_under = WITH


SPEC = MethodSpec(SkillRL, paced=())
