"""How likely the policy finds, without the skills, what it did with them before training.

A success rate without skills may stand still for a hundred updates while the knowledge arrives, or while it does not.
This number tells the two apart: before training, successes with the skills are kept; at each validation the log-prob of
their actions is measured under the prompt that shows no skill.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from imprint.context.shown import Shown
from imprint.errors import CheckpointError
from imprint.learning.config import RARE
from imprint.learning.sample import Floats, Sample, off_prompt, packed, unpacked
from imprint.support.files import atomic_write

if TYPE_CHECKING:
    from imprint.context.prompt import Context
    from imprint.types import Draw, Episode

__all__ = ["ClosedBookProbe"]


class Scorer(Protocol):
    """Gives log-probs: the learner."""

    def logprobs(self, samples: Sequence[Sample]) -> list[Floats]: ...


class ClosedBookProbe:
    """The kept actions, in a file, so that a resumed run measures the same ones.

    Args:
        count: episodes to keep, at most.
        draw: gives restored pictures their pixels.

    Raises:
        CheckpointError: the file is damaged.
    """

    def __init__(self, path: Path, count: int, context: Context, draw: Draw | None = None) -> None:
        self.path, self.count, self.context = path, count, context
        self.samples = _load(path, draw) if path.exists() else None

    def keep(self, episodes: Sequence[Episode]) -> None:
        """Take the first successes of `episodes`, which were played with the skills, unless some are kept already."""
        if self.samples is not None:
            return
        chosen = [one for one in episodes if one.success and any(turn.valid for turn in one.turns)][: self.count]
        self.samples = [
            sample
            for episode in chosen
            for sample in off_prompt(
                episode, [float(turn.valid) for turn in episode.turns], self.context.render(episode, Shown())
            )
        ]
        _save(self.path, self.samples)

    def measure(self, scorer: Scorer) -> dict[str, float]:
        """The mean log-prob of a token, in nats, and the share of rare tokens; nothing where no action is kept."""
        samples = self.samples or []
        logprobs = np.array(
            [
                value
                for values, sample in zip(scorer.logprobs(samples), samples, strict=True)
                for value in values[sample.advantages_T[sample.mask_T] > 0]
            ]
        )
        if not logprobs.size:
            return {}
        return {
            "probe/with_skills_logprob": float(logprobs.mean()),
            "probe/with_skills_rare": float((logprobs < RARE).mean()),
        }


def _save(path: Path, samples: Sequence[Sample]) -> None:
    import torch

    stream = io.BytesIO()
    torch.save([packed(sample) for sample in samples], stream)
    atomic_write(path, stream.getvalue())


def _load(path: Path, draw: Draw | None) -> list[Sample]:
    import torch

    try:
        entries: list[dict[str, Any]] = torch.load(path, weights_only=True)
        return [unpacked(entry, draw=draw) for entry in entries]
    except Exception as error:  # whatever the bytes lead to
        raise CheckpointError(f"cannot be read: {error}", where=path, hint="start the run anew") from error
