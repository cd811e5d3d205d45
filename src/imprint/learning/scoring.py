"""Micro-batches, and the log-probs of a micro-batch with every shared prompt computed once.

Suffix `_T`: tokens of a sample after its prompt; `_M`: the trained tokens of a micro-batch, concatenated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imprint.learning.losses.tokens import entropy
from imprint.learning.sample import Sample
from imprint.models.local.continuation import sharing_pays, states_before
from imprint.models.local.forward import logits_of
from imprint.models.local.policy import Policy

PADDING = 0.25  # of a micro-batch, at most


def micro_batches(samples: Sequence[Sample], budget: int) -> Iterator[list[Sample]]:
    """Split into runs of at most `budget` padded tokens, at most a quarter of them padding where that can be helped.

    Samples that share a prompt stay together where computing it once pays (`continuation.sharing_pays`).
    """
    groups: dict[Any, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.prompt, []).append(sample)
    together: list[list[Sample]] = []
    whole: list[list[Sample]] = []
    for prompt, group in groups.items():
        if sharing_pays([prompt] * len(group), [sample.token_ids for sample in group]):
            together.append(group)
        else:
            whole += [[sample] for sample in group]
    yield from _filled(whole, budget, shared=False)
    yield from _filled(together, budget, shared=True)


@dataclass(frozen=True, slots=True)
class _Size:
    """Of a micro-batch: its rows and what each is padded to, the same of its shared prompts, and its tokens."""

    rows: int = 0
    width: int = 0
    prompts: int = 0
    prompt_width: int = 0
    tokens: int = 0

    def plus(self, own: int, prompt: int) -> _Size:
        """With another row of `own` tokens, and its prompt's unless that is shared already (0)."""
        return _Size(
            self.rows + 1,
            max(self.width, own),
            self.prompts + (prompt > 0),
            max(self.prompt_width, prompt),
            self.tokens + own + prompt,
        )

    def fits(self, budget: int) -> bool:
        """Whether it keeps to the budget, and little enough of it is padding."""
        padded = self.rows * self.width + self.prompts * self.prompt_width
        return padded <= budget and self.tokens >= (1 - PADDING) * padded


def _filled(groups: Sequence[Sequence[Sample]], budget: int, *, shared: bool) -> Iterator[list[Sample]]:
    """Micro-batches of these groups, each of which has one prompt."""

    def width(sample: Sample) -> int:
        return len(sample.token_ids) if shared else len(sample.prompt_ids) + len(sample.token_ids)

    batch, size = list[Sample](), _Size()
    # Like lengths next to each other: padding is wasted work.
    for group in sorted(groups, key=lambda group: max(map(width, group))):
        prompt = len(group[0].prompt_ids) if shared else 0
        for place, sample in enumerate(group):
            grown = size.plus(width(sample), 0 if place else prompt)
            if batch and not grown.fits(budget):
                yield batch
                batch, grown = [], _Size().plus(width(sample), prompt)
            batch.append(sample)
            size = grown
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Scored:
    """A micro-batch of samples under the current policy; every tensor has shape [M], or [M, V] with a vocabulary of V.

    Attributes:
        sample_M: which sample of the micro-batch each token belongs to.
        denominator: what the sums of the whole mini-batch are divided by (`Loss.denominator`).
        logprobs_MV: the policy's log-probs of every token that could stand there, with a gradient.
        teacher_logprobs_M, teacher_logprobs_MV: of the teacher, which reads the samples' other prompts; constants. Of
            the tokens of the samples that have such a prompt, where the loss asks for these alone.
    """

    logprobs_M: Tensor
    entropy_M: Tensor | None
    old_logprobs_M: Tensor
    advantages_M: Tensor
    sample_M: Tensor
    samples: Sequence[Sample]
    reference_logprobs_M: Tensor | None = None
    denominator: float = 1.0
    logprobs_MV: Tensor | None = None
    teacher_logprobs_M: Tensor | None = None
    teacher_logprobs_MV: Tensor | None = None


def score(
    policy: Policy,
    samples: Sequence[Sample],
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
    with_distribution: bool = False,
) -> Scored:
    """Log-probs of the trained tokens; where it pays, each distinct prompt is computed once.

    Equal to running every whole sequence by itself, up to rounding.
    """
    before, token_ids = states_before(
        policy, [sample.prompt for sample in samples], [sample.token_ids for sample in samples]
    )
    width, device = token_ids.shape[1], token_ids.device
    trained = _pad_arrays([sample.mask_T for sample in samples], width, torch.bool, device)
    logits = logits_of(policy, before[trained]) / temperature
    logprobs = torch.log_softmax(logits, dim=-1)
    targets = token_ids[trained]
    entropy_M = entropy(logits) if with_entropy else None
    return Scored(
        logprobs_M=logprobs.gather(-1, targets[:, None])[:, 0],
        entropy_M=entropy_M,
        old_logprobs_M=_pad_arrays([s.old_logprobs_T for s in samples], width, torch.float32, device)[trained],
        advantages_M=_pad_arrays([s.advantages_T for s in samples], width, torch.float32, device)[trained],
        sample_M=trained.nonzero()[:, 0],
        samples=samples,
        logprobs_MV=logprobs if with_distribution else None,
    )


@torch.no_grad()
def score_apart(
    policy: Policy,
    samples: Sequence[Sample],
    budget: int,
    values: Callable[[Scored], Tensor],
    *,
    temperature: float = 1.0,
    with_distribution: bool = False,
) -> list[Tensor]:
    """What `values` takes from each sample's trained tokens, without a gradient, in micro-batches of their own."""
    found: dict[int, Tensor] = {}
    for micro in micro_batches(samples, budget):
        scored = score(policy, micro, temperature=temperature, with_distribution=with_distribution)
        taken = values(scored)
        for index, sample in enumerate(micro):
            found[id(sample)] = taken[scored.sample_M == index]
    return [found[id(sample)] for sample in samples]


def _pad_arrays(
    arrays: Sequence[npt.NDArray[np.generic]], width: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    table = torch.zeros((len(arrays), width), dtype=dtype)
    for row, array in enumerate(arrays):
        table[row, : len(array)] = torch.from_numpy(np.ascontiguousarray(array)).to(dtype)
    return table.to(device)
