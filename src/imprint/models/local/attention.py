"""Attention over a shared prefix: the keys and values of a prompt that many rows have in common are kept and read once.

For a row with prefix P and own tokens T, softmax over P and T together is computed in two parts and merged by their
log-sum-exp, which is exact. While decoding, reading keys and values from memory is most of the work, and of a
prompt with skills most is the skills. The idea is known as cascade attention or Hydragen (arXiv 2402.05099).

Sliding windows (Mistral, Gemma 2/3), soft-capped scores (Gemma 2) and attention sinks (GPT-OSS) are applied here too,
as the model passes them. What else a model may pass is found when it is loaded (`checks.py`).

Shapes: B rows, H key/value heads, G query heads for each of them, Q new tokens, V visible own tokens, D head dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from imprint.models.local.cache import RowCache

NAME = "imprint_shared_prefix"


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    row_cache: RowCache | None = None,
    causal: bool = False,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention function for transformers: ordinary (SDPA) unless `row_cache` has prefixes or scores are changed.

    Args:
        attention_mask: [B, 1, Q, V], True where a query may attend, without the window.
        causal: the mask is the causal one, so that the kernel need not read it and leaves out what it forbids.
        sliding_window: how many of the last keys a query attends to, its own included.
        softcap: scores become softcap * tanh(scores / softcap).
        s_aux: for each query head, the score of a sink: an additional key without a value.
    """
    prefixed = row_cache is not None and bool(row_cache.prefixes)
    if causal:
        attention_mask = None
    if sliding_window is not None or softcap is not None or s_aux is not None:
        attention_mask = _or_causal(attention_mask, query, key)
    own = attention_mask
    if sliding_window is not None and own is not None and key.shape[2] > sliding_window:
        attention_mask = _windowed(own, sliding_window)
    if not prefixed and softcap is None and s_aux is None:
        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    rows, heads_q, new, width = query.shape
    heads = key.shape[1]
    group = heads_q // heads
    scaled = query * (width**-0.5 if scaling is None else scaling)
    scaled = scaled.reshape(rows, heads, group * new, width)  # query heads of one key/value head are neighbours
    assert attention_mask is not None
    merged, lse = _weigh(scaled, key, value, _grouped(attention_mask, group), softcap)
    if prefixed:
        assert row_cache is not None
        layer: int = module.layer_idx  # type: ignore[assignment]
        reach = key.shape[2] + max((keys.shape[1] for _, keys, _ in row_cache.prefixes[layer]), default=0)
        window = None
        if sliding_window is not None and own is not None and reach > sliding_window:
            window = sliding_window - own.sum(dim=-1, keepdim=True)
        shared, shared_lse = _over_prefixes(scaled, row_cache.prefixes[layer], (merged, lse), window, softcap)
        merged = torch.lerp(merged, shared, torch.sigmoid(shared_lse - lse).to(merged.dtype))
        lse = lse if s_aux is None else torch.logaddexp(lse, shared_lse)
    if s_aux is not None:
        sinks = s_aux.reshape(1, heads, group, 1).expand(rows, -1, -1, new).reshape(rows, heads, -1, 1)
        merged = merged * torch.sigmoid(lse - sinks).to(merged.dtype)
    return merged.reshape(rows, heads_q, new, -1).transpose(1, 2).contiguous(), None


def _over_prefixes(
    scaled: Tensor,
    prefixes: Sequence[tuple[Tensor, Tensor, Tensor]],
    like: tuple[Tensor, Tensor],
    window: Tensor | None,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    """What scaled queries [B, H, G * Q, D] find in their prefixes: values [B, H, G * Q, D of values], and log-sum-exps.

    Args:
        like: the same of the own tokens. The result is laid out in memory as they are: in another layout elementwise
            kernels round the last digit differently, and equal runs are equal to the last digit.
        window: how many of the last keys of its prefix each query attends to [B, 1, Q, 1]; may be negative.
    """
    _, heads, queries, width = like[0].shape
    shared, shared_lse = torch.zeros_like(like[0]), torch.full_like(like[1], float("-inf"))
    for places, keys, values in prefixes:
        # All the queries of the rows that share this prefix, as one matrix per head.
        mine = scaled.index_select(0, places).transpose(0, 1).reshape(1, heads, -1, scaled.shape[-1])
        mask = None
        if window is not None:
            from_end = torch.arange(keys.shape[1], 0, -1, device=keys.device)
            seen = from_end <= window.index_select(0, places)
            mask = _grouped(seen, queries // seen.shape[2]).reshape(1, 1, -1, keys.shape[1])
        out, lse = _weigh(mine, keys[None], values[None], mask, softcap)
        if mask is not None:  # the kernel has another value for queries without a key
            lse = lse.masked_fill(~mask.any(dim=-1, keepdim=True), float("-inf"))
        shared[places] = out.view(heads, len(places), queries, width).transpose(0, 1)
        shared_lse[places] = lse.view(heads, len(places), queries, 1).transpose(0, 1)
    return shared, shared_lse


def _or_causal(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor:
    """The mask, or that of new tokens at the end of all keys."""
    if mask is not None:
        return mask
    new, keys = query.shape[2], key.shape[2]
    ones = torch.ones((new, keys), dtype=torch.bool, device=key.device)
    return ones.tril(keys - new).expand(query.shape[0], 1, -1, -1)


def _windowed(mask: Tensor, window: int) -> Tensor:
    """Of the keys that a query may attend to, the last `window`: what is visible ends at the query's own key."""
    return mask & (mask.flip(-1).cumsum(dim=-1).flip(-1) <= window)


def _grouped(mask: Tensor, group: int) -> Tensor:
    """A mask [B, 1, Q, V] for `group` query heads as one matrix [B, 1, G * Q, V]."""
    rows, _, new, keys = mask.shape
    return mask.unsqueeze(2).expand(rows, 1, group, new, keys).reshape(rows, 1, group * new, keys)


def _weigh(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """Attention with scaled queries [B, H, Q, D] over keys and values [B, H, K, D], and the scores' log-sum-exp.

    The public SDPA keeps the log-sum-exp to itself; the kernel behind it on CPUs, twice as fast as the plain formula
    for many queries, gives it, but no gradient flows through that. A query without a key gets zeros.
    """
    plain = queries.shape[-1] == values.shape[-1] and softcap is None
    learning = any(part.requires_grad for part in (queries, keys, values))
    if plain and not learning and queries.device.type == "cpu" and queries.dtype == torch.float32:
        bias = None if mask is None else torch.zeros(mask.shape).masked_fill_(~mask, float("-inf"))
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, lse = kernel(queries, keys, values, 0.0, False, attn_mask=bias, scale=1.0)
        return out, lse.unsqueeze(-1)
    scores = (queries @ keys.transpose(-1, -2)).float()
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    lse = torch.logsumexp(scores, dim=-1, keepdim=True)
    finite = lse.clamp(min=torch.finfo(lse.dtype).min)
    return (scores - finite).exp().to(values.dtype) @ values, lse


def enable(model: Any) -> bool:
    """Let `model` use it; False when the architecture has an attention of its own that cannot be replaced."""
    AttentionInterface.register(NAME, shared_prefix_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    if not getattr(model, "_supports_attention_backend", False):
        return False
    model.set_attn_implementation(NAME)
    return True


def disable(model: Any) -> None:
    """Let `model` use the attention that transformers gives it by default."""
    model.set_attn_implementation("sdpa" if getattr(model, "_supports_sdpa", False) else "eager")


@contextmanager
def native(model: Any) -> Iterator[None]:
    """Let `model` use the attention that its own module defines."""
    used = model.config._attn_implementation
    if used != "eager":
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if used != "eager":
            model.set_attn_implementation(used)
