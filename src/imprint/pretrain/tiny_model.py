"""The architecture of `imprint-tiny`: a small Llama whose first heads start out attending to the last tokens."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def build_tiny(
    vocab_size: int, *, width: int, layers: int, heads: int, max_context: int, seed: int, eos: int, bos: int
) -> Any:
    """A from-scratch Llama: `width` is the hidden size, the feed-forward is 8/3 as wide (SwiGLU's convention).

    The first layer's heads start out attending one, two, ... tokens back. A small model learns these by itself only
    after very many examples, and cannot look words up in its context (an induction head builds on them) until then.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=round(width * 8 / 3 / 32) * 32,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=max_context,
        tie_word_embeddings=True,
        attention_bias=True,
        initializer_range=0.05,  # about 0.6 / sqrt(width): the usual 0.02 is for models many times as wide
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=eos,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    decoder: Any = model.get_decoder()
    _look_back(decoder.layers[0].self_attn, decoder.rotary_emb.inv_freq, heads - 1)
    return model


@torch.no_grad()
def _look_back(layer: Any, frequencies: Tensor, heads: int, sharpness: float = 2.0) -> None:
    """Set the biases of a layer's first `heads` heads so that head h attends h + 1 tokens back, whatever stands there.

    With rotary positions (RoFormer, eq. 16), a constant key (1, 0) in every plane and a constant query turned by
    -h * frequency give the logit `sharpness * sum_j cos(frequency_j * (distance - h))`, largest at distance h.
    """
    width = 2 * len(frequencies)
    scale = math.sqrt(sharpness * math.sqrt(width))
    for head in range(heads):
        mine = slice(head * width, (head + 1) * width)
        layer.q_proj.weight[mine] *= 0.1
        layer.k_proj.weight[mine] *= 0.1
        angles = -(head + 1) * frequencies
        layer.q_proj.bias[mine] = scale * torch.cat([angles.cos(), angles.sin()])
        layer.k_proj.bias[mine] = scale * torch.cat([torch.ones_like(angles), torch.zeros_like(angles)])
