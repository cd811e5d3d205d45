"""Samples, micro-batches, and the log-probs of a micro-batch with every shared prompt computed once.

Suffix `_T`: tokens of a sample after its prompt; `_M`: the trained tokens of a micro-batch, concatenated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imprint.learning.config import Transfer
from imprint.learning.grpo import entropy
from imprint.models.local.cache import PrefixCache
from imprint.models.local.forward import hidden_states, logits_of, read_prompts
from imprint.models.local.policy import Policy
from imprint.models.sampling import Prompt
from imprint.types import Episode, Picture, View

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What the learner trains on: one sequence, of which the tokens under `mask_T` are the policy's own.

    Attributes:
        prompt_ids: read, never trained; samples with equal prompts share its computation.
        token_ids: T tokens after the prompt.
        mask_T: True where a token is trained.
        old_logprobs_T, advantages_T: at the masked positions; 0 elsewhere.
        transfer: set when the tokens were sampled under another prompt: the ratio is then held at 1 (nothing is
            clipped), and the transfer's own rules (least log-prob, importance weights) apply.
        pictures: those whose placeholders stand in the prompt; they are drawn again, to the same pixels.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    mask_T: npt.NDArray[np.bool_]
    old_logprobs_T: Floats
    advantages_T: Floats
    transfer: Transfer | None = None
    pictures: tuple[Picture, ...] = ()

    @classmethod
    def imitation(
        cls,
        prompt_ids: Sequence[int],
        token_ids: Sequence[int],
        weights: Sequence[float],
        pictures: tuple[Picture, ...] = (),
    ) -> Sample:
        """Tokens to be imitated (`Learner.imitate`), each with its weight; those of weight 0 are read alone."""
        values = np.asarray(weights, dtype=np.float32)
        return cls(tuple(prompt_ids), tuple(token_ids), values > 0, np.zeros_like(values), values, pictures=pictures)

    @property
    def prompt(self) -> tuple[tuple[int, ...], tuple[Picture, ...]]:
        """What stands before the tokens: samples in which it is equal share its computation."""
        return self.prompt_ids, self.pictures

    @property
    def trained_tokens(self) -> int:
        return int(self.mask_T.sum())

    def scaled(self, factor: float) -> Sample:
        """The same with every advantage times `factor`."""
        return replace(self, advantages_T=self.advantages_T * np.float32(factor))


def episode_sample(
    episode: Episode,
    advantages: Sequence[float],
    prompt: Prompt | None = None,
    transfer: Transfer | None = None,
) -> Sample:
    """The sample of an episode, with one advantage per turn.

    Args:
        prompt: put in the place of the episode's own (the same actions under another context).
    """
    size = len(episode.token_ids)
    mask = np.zeros(size, dtype=np.bool_)
    values = np.zeros(size, dtype=np.float32)
    for turn, advantage in zip(episode.turns, advantages, strict=True):
        mask[turn.start : turn.stop] = True
        values[turn.start : turn.stop] = advantage
    old = np.asarray(episode.logprobs, dtype=np.float32)
    ids, pictures = (episode.prompt_ids, episode.pictures) if prompt is None else (prompt.ids, prompt.pictures)
    return Sample(ids, episode.token_ids, mask, old, values, transfer, pictures)


def episode_samples(episode: Episode, advantages: Sequence[float]) -> list[Sample]:
    """All samples of an episode, with one advantage per turn: one, or one a turn where each had a prompt of its own."""
    if not episode.views:
        return [episode_sample(episode, advantages)]
    return [view_sample(view, advantage) for view, advantage in zip(episode.views, advantages, strict=True)]


def view_sample(view: View, advantage: float, prompt: Prompt | None = None, transfer: Transfer | None = None) -> Sample:
    """The sample of a turn that had a prompt of its own.

    Args:
        prompt: put in the place of its own (the same response under another context).
    """
    size = len(view.token_ids)
    return Sample(
        view.prompt_ids if prompt is None else prompt.ids,
        view.token_ids,
        np.ones(size, dtype=np.bool_),
        np.asarray(view.logprobs, dtype=np.float32),
        np.full(size, advantage, dtype=np.float32),
        transfer,
        view.pictures if prompt is None else prompt.pictures,
    )


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
    """A micro-batch of samples under the current policy; every tensor has shape [M]."""

    logprobs_M: Tensor
    entropy_M: Tensor | None
    old_logprobs_M: Tensor
    advantages_M: Tensor
    sample_M: Tensor  # which sample of the micro-batch each token belongs to
    samples: Sequence[Sample]


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
