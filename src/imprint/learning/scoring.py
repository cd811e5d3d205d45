"""Micro-batches, and the log-probs of a micro-batch with every shared prompt computed once.

Suffix `_T`: tokens of a sample after its prompt; `_M`: the trained tokens of a micro-batch, concatenated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imprint.learning.losses.tokens import entropy
from imprint.learning.sample import Sample
from imprint.models.local.cache import PrefixCache
from imprint.models.local.forward import hidden_states, logits_of, read_prompts
from imprint.models.local.policy import Policy
from imprint.types import Picture


def micro_batches(samples: Sequence[Sample], budget: int) -> Iterator[list[Sample]]:
    """Split into runs of at most `budget` padded tokens, keeping samples that share a prompt together."""
    groups: dict[Any, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.prompt, []).append(sample)
    # Like lengths next to each other: padding is wasted work.
    by_length = sorted(groups.values(), key=lambda group: max(len(sample.token_ids) for sample in group))
    ordered = [sample for group in by_length for sample in group]
    batch: list[Sample] = []
    prompts: set[Any] = set()
    longest = longest_prompt = 0
    for sample in ordered:
        grown = prompts | {sample.prompt}
        width = max(longest, len(sample.token_ids))
        prompt_width = max(longest_prompt, len(sample.prompt_ids))
        if batch and width * (len(batch) + 1) + prompt_width * len(grown) > budget:
            yield batch
            batch, grown = [], {sample.prompt}
            width, prompt_width = len(sample.token_ids), len(sample.prompt_ids)
        batch.append(sample)
        prompts, longest, longest_prompt = grown, width, prompt_width
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Scored:
    """A micro-batch of samples under the current policy; every tensor has shape [M].

    Attributes:
        sample_M: which sample of the micro-batch each token belongs to.
        denominator: what the sums of the whole mini-batch are divided by (`Loss.denominator`).
    """

    logprobs_M: Tensor
    entropy_M: Tensor | None
    old_logprobs_M: Tensor
    advantages_M: Tensor
    sample_M: Tensor
    samples: Sequence[Sample]
    reference_logprobs_M: Tensor | None = None
    denominator: float = 1.0


def score(policy: Policy, samples: Sequence[Sample], *, temperature: float = 1.0, with_entropy: bool = False) -> Scored:
    """Log-probs of the trained tokens, each distinct prompt computed once (gradients flow through it).

    The prompts run as one batch; the continuations then run with the prompts' keys and values before their own.
    Equal to running every whole sequence, up to rounding.
    """
    device = policy.device
    prompts = list(dict.fromkeys(sample.prompt for sample in samples))
    place = {prompt: row for row, prompt in enumerate(prompts)}
    rows = torch.tensor([place[sample.prompt] for sample in samples], device=device)
    prompt_lengths = torch.tensor([len(ids) for ids, _ in prompts], device=device)

    cache = PrefixCache(policy.layers)
    prompt_width = int(prompt_lengths.max())
    prompt_states, next_positions = _read(policy, prompts, prompt_lengths, cache)
    last_states = prompt_states[torch.arange(len(prompts), device=device), prompt_lengths - 1]

    cache.share(rows)
    token_ids = _pad([sample.token_ids for sample in samples], device)
    width = token_ids.shape[1]
    in_prompt = torch.arange(prompt_width, device=device) < prompt_lengths[rows][:, None]
    mask = torch.cat(
        [
            in_prompt[:, None, None, :].expand(-1, 1, width, -1),
            _causal(width, device).expand(len(samples), 1, -1, -1),
        ],
        dim=-1,
    )
    positions = next_positions[rows][:, None] + torch.arange(width, device=device)
    states = hidden_states(
        policy,
        input_ids=token_ids,
        position_ids=positions,
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
    )
    # The state before a token predicts it: the prompt's last state predicts the first.
    before = torch.cat([last_states[rows][:, None], states[:, :-1]], dim=1)
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
    )


def _read(
    policy: Policy,
    prompts: Sequence[tuple[tuple[int, ...], tuple[Picture, ...]]],
    lengths: Tensor,
    cache: PrefixCache,
) -> tuple[Tensor, Tensor]:
    """The states of the prompts [U, T, width], and the position after each [U]."""
    ids = _pad([ids for ids, _ in prompts], policy.device)
    mask = _causal(ids.shape[1], policy.device).expand(len(prompts), 1, -1, -1)
    if any(pictures for _, pictures in prompts):
        states, behind = read_prompts(policy, ids, lengths, [pictures for _, pictures in prompts], mask, cache)
        return states, lengths + behind
    states = hidden_states(
        policy,
        input_ids=ids,
        position_ids=torch.arange(ids.shape[1], device=policy.device).expand(len(prompts), -1),
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
    )
    return states, lengths


def _causal(width: int, device: torch.device) -> Tensor:
    return torch.ones((width, width), dtype=torch.bool, device=device).tril()


def _pad(sequences: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    width = max(len(sequence) for sequence in sequences)
    table = np.zeros((len(sequences), width), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        table[row, : len(sequence)] = sequence
    return torch.from_numpy(table).to(device)


def _pad_arrays(
    arrays: Sequence[npt.NDArray[np.generic]], width: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    table = torch.zeros((len(arrays), width), dtype=dtype)
    for row, array in enumerate(arrays):
        table[row, : len(array)] = torch.from_numpy(np.ascontiguousarray(array)).to(dtype)
    return table.to(device)
