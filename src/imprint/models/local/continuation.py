"""The hidden states of continuations: of a prompt that many share, computed once, or of whole sequences.

Gradients flow through both. A shared prompt is computed once and its keys and values are put before each continuation's
own. That takes a mask and a second pass, and so costs more a token than causal attention over whole sequences.

Shapes: U distinct prompts, N continuations, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from imprint.models.local.cache import PrefixCache
from imprint.models.local.forward import LoadedModel, hidden_states, read_prompts
from imprint.types import Picture

PromptKey = tuple[tuple[int, ...], tuple[Picture, ...]]  # token ids, and the pictures among them

SHARING_PAYS = 1.5  # tokens of whole sequences, for each one that is computed where prompts are shared


def sharing_pays(prompts: Sequence[PromptKey], continuations: Sequence[Sequence[int]]) -> bool:
    """Whether to compute each distinct prompt once. Prompts with pictures always are."""
    own = sum(map(len, continuations))
    whole = own + sum(len(ids) for ids, _ in prompts)
    shared = own + sum(len(ids) for ids, _ in set(prompts))
    return whole > SHARING_PAYS * shared or any(pictures for _, pictures in prompts)


def states_before(
    policy: LoadedModel,
    prompts: Sequence[PromptKey],
    continuations: Sequence[Sequence[int]],
    *,
    shared: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """The hidden states that predict the tokens of `continuations`, the i-th of which follows `prompts[i]`.

    Args:
        shared: compute each distinct prompt once; whatever costs less if None. Both are equal up to rounding.

    Returns:
        states [N, T, width], of which `states[:, t]` predicts token t, and the token ids [N, T], right-padded with 0.
    """
    if sharing_pays(prompts, continuations) if shared is None else shared:
        return _after_shared_prompts(policy, prompts, continuations)
    return _of_whole_sequences(policy, prompts, continuations)


def _of_whole_sequences(
    policy: LoadedModel, prompts: Sequence[PromptKey], continuations: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """One pass over prompts and continuations together, right-padded: nothing of a row attends to its padding."""
    device, token_ids = policy.device, padded(continuations, policy.device)
    ids = padded([(*prompt, *own) for (prompt, _), own in zip(prompts, continuations, strict=True)], device)
    width = ids.shape[1]
    states = hidden_states(
        policy,
        input_ids=ids,
        position_ids=torch.arange(width, device=device).expand(len(ids), -1),
        attention_mask=_causal(width, device)[None, None],
        use_cache=False,
        **({"causal": True} if policy.shares_prefixes else {}),
    )
    # The state before a token predicts it: the prompt's last state predicts the first.
    last = torch.tensor([len(prompt) - 1 for prompt, _ in prompts], device=device)
    before = last[:, None] + torch.arange(token_ids.shape[1], device=device)
    rows = torch.arange(len(ids), device=device)[:, None]
    return states[rows, before.clamp(max=width - 1)], token_ids


def _after_shared_prompts(
    policy: LoadedModel, prompts: Sequence[PromptKey], continuations: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """The prompts as one batch, then the continuations with the prompts' keys and values before their own."""
    device = policy.device
    distinct = list(dict.fromkeys(prompts))
    place = {prompt: row for row, prompt in enumerate(distinct)}
    rows = torch.tensor([place[prompt] for prompt in prompts], device=device)
    prompt_lengths = torch.tensor([len(ids) for ids, _ in distinct], device=device)

    cache = PrefixCache(policy.layers)
    prompt_width = int(prompt_lengths.max())
    prompt_states, next_positions = _read(policy, distinct, prompt_lengths, cache)
    last_states = prompt_states[torch.arange(len(distinct), device=device), prompt_lengths - 1]

    cache.share(rows)
    token_ids = padded(continuations, device)
    width = token_ids.shape[1]
    in_prompt = torch.arange(prompt_width, device=device) < prompt_lengths[rows][:, None]
    mask = torch.cat(
        [
            in_prompt[:, None, None, :].expand(-1, 1, width, -1),
            _causal(width, device).expand(len(continuations), 1, -1, -1),
        ],
        dim=-1,
    )
    # Padding takes the position of its row's last token: beyond it a model may have none.
    last = torch.tensor([len(tokens) - 1 for tokens in continuations], device=device).clamp(min=0)
    steps = torch.minimum(torch.arange(width, device=device), last[:, None])
    states = hidden_states(
        policy,
        input_ids=token_ids,
        position_ids=next_positions[rows][:, None] + steps,
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
    )
    return torch.cat([last_states[rows][:, None], states[:, :-1]], dim=1), token_ids


def padded(sequences: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Sequences as one table of ids, filled up with 0 on the right."""
    table = np.zeros((len(sequences), max(map(len, sequences))), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        table[row, : len(sequence)] = sequence
    return torch.from_numpy(table).to(device)


def _read(
    policy: LoadedModel, prompts: Sequence[PromptKey], lengths: Tensor, cache: PrefixCache
) -> tuple[Tensor, Tensor]:
    """The states of the prompts [U, T, width], and the position after each [U]."""
    ids = padded([ids for ids, _ in prompts], policy.device)
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
