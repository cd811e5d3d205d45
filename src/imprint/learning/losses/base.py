"""What a loss is: a small, frozen, pure object over the log-probs of a micro-batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from torch import Tensor

from imprint.learning.sample import Sample
from imprint.learning.scoring import Scored

Metrics = dict[str, float]
Need = Literal["entropy", "reference", "teacher", "distributions", "distributions of the taught"]


class Loss(Protocol):
    """A loss of a batch, computed micro-batch by micro-batch: the sum over these equals the loss of the whole."""

    @property
    def needs(self) -> frozenset[Need]:
        """What `Scored` must hold: the entropy of each token, the log-probs of the starting policy, those of a teacher,
        both policies' log-probs of the whole vocabulary (policy and teacher), the teacher's of all samples or of those
        alone that have a prompt for it."""
        ...

    @property
    def damps_muon(self) -> bool:
        """Whether Muon's step shrinks where the gradient is smaller than usual (`Learner`)."""
        ...

    def keeps(self, sample: Sample) -> bool:
        """Whether `sample` can have a gradient; the others are left out of the forward pass."""
        ...

    def denominator(self, samples: Sequence[Sample]) -> float:
        """What the sum over the whole batch is divided by."""
        ...

    def __call__(self, scored: Scored) -> tuple[Tensor, Metrics]:
        """The share of a micro-batch in the loss (a scalar), and its metrics."""
        ...

    def merge(self, parts: Sequence[Metrics]) -> Metrics:
        """The metrics of a batch from those of its micro-batches."""
        ...


class Weighted:
    """The half of a loss that follows from its samples' advantages being weights."""

    __slots__ = ()

    def keeps(self, sample: Sample) -> bool:
        """Samples without any weight have no gradient, and a batch of them no mean."""
        return bool(sample.advantages_T[sample.mask_T].any())

    def denominator(self, samples: Sequence[Sample]) -> float:
        """The sum of the weights of the trained tokens."""
        return float(sum(sample.advantages_T[sample.mask_T].sum() for sample in samples))
