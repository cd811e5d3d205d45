"""Attention over a shared prefix: the keys and values of a prompt that many rows have in common are kept and read once.

For a row with prefix P and own tokens T, softmax over P and T together is computed in two parts and merged by their
log-sum-exp, which is exact. While decoding, reading keys and values from memory is most of the work, and of a
prompt with skills most is the skills. The idea is known as cascade attention or Hydragen (arXiv 2402.05099).

Shapes: B rows, H key/value heads, G query heads for each of them, Q new tokens, V visible own tokens, D head dimension.
"""

from __future__ import annotations

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
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention function for transformers: ordinary (SDPA) unless `row_cache` has prefixes."""
    if row_cache is None or not row_cache.prefixes:
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
    mask = attention_mask.unsqueeze(2).expand(rows, 1, group, new, -1).reshape(rows, 1, group * new, -1)
    own, own_lse = _weigh(scaled, key, value, mask)
    layer: int = module.layer_idx  # type: ignore[assignment]
    shared, shared_lse = torch.zeros_like(own), torch.full_like(own_lse, float("-inf"))
    for places, keys, values in row_cache.prefixes[layer]:
        # All the queries of the rows that share this prefix, as one matrix per head.
        mine = scaled.index_select(0, places).transpose(0, 1).reshape(1, heads, -1, width)
        out, lse = _weigh(mine, keys[None], values[None])
        shared[places] = out.view(heads, len(places), group * new, width).transpose(0, 1)
        shared_lse[places] = lse.view(heads, len(places), group * new, 1).transpose(0, 1)
    share = torch.sigmoid(shared_lse - own_lse).to(own.dtype)
    merged = torch.lerp(own, shared, share)
    return merged.reshape(rows, heads_q, new, width).transpose(1, 2).contiguous(), None


def _weigh(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention with scaled queries [B, H, Q, D] over keys and values [B, H, K, D], and the scores' log-sum-exp.

    The public SDPA keeps the log-sum-exp to itself; the kernel behind it on CPUs, twice as fast as the plain formula
    for many queries, gives it.
    """
    if queries.device.type == "cpu" and queries.dtype == torch.float32:
        bias = None if mask is None else torch.zeros(mask.shape).masked_fill_(~mask, float("-inf"))
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, lse = kernel(queries, keys, values, 0.0, False, attn_mask=bias, scale=1.0)
        return out, lse.unsqueeze(-1)
    scores = (queries @ keys.transpose(-1, -2)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    lse = torch.logsumexp(scores, dim=-1, keepdim=True)
    return (scores - lse).exp().to(values.dtype) @ values, lse


def enable(model: Any) -> bool:
    """Let `model` use it; False when the architecture has an attention of its own that cannot be replaced."""
    AttentionInterface.register(NAME, shared_prefix_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    if not getattr(model, "_supports_attention_backend", False):
        return False
    model.set_attn_implementation(NAME)
    return True
