"""The teacher of a distillation: which weights it has, and how they follow the policy's."""

from __future__ import annotations

import copy
from typing import Any

import torch

from imprint.learning.config import TeacherKind
from imprint.models.local.policy import Policy


class Teacher:
    """A policy whose distributions another one learns; no gradient reaches it.

    With phi its weights and theta the student's, after each optimizer step:

        base: phi stays what theta was at the start;   live: phi = theta;
        ema:  phi <- decay * phi + (1 - decay) * theta      (SDFT, arXiv 2601.19897)

    Args:
        decay: of `ema`, in [0, 1): 0 is `live`, and near 1 the teacher hardly moves.
        start: of `base`, the policy that training starts from; it is used and not copied.

    Attributes:
        policy: whose distributions are learned.
    """

    def __init__(self, student: Policy, kind: TeacherKind, decay: float = 0.0, start: Policy | None = None) -> None:
        self.student = student
        self.kind = kind
        self.decay = decay
        if kind == "live":
            self.policy = student
        elif kind == "base" and start is not None:
            self.policy = start
        else:
            self.policy = copy.deepcopy(student)

    @torch.no_grad()
    def follow(self) -> None:
        """Move towards the student, after an optimizer step."""
        if self.kind == "ema":
            own, new = self.policy.model.parameters(), self.student.model.parameters()
            for mean, weight in zip(own, new, strict=True):
                mean.lerp_(weight, 1.0 - self.decay)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold: `base` is what training started from, and `live` the checkpoint's policy."""
        return {"teacher": self.policy.model.state_dict()} if self.kind == "ema" else {}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        if self.kind == "ema":
            self.policy.model.load_state_dict(state["teacher"])
