"""A vision encoder for a small text policy: a Qwen2.5-VL whose language part is the policy's own weights.

A Llama with biased attention and a Qwen2 are one function but for a bias, and M-RoPE on text is RoPE: on text the
policy stays what it was. The vision tower is new and untrained (`vision_lesson.py` trains it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imprint.errors import PolicyError
from imprint.models.local.policy import Policy
from imprint.pretrain.recipe import VisionConfig

PATCH = 14  # pixels a side; 2 x 2 patches are a token
MARKS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
WHITE = {
    "image_mean": [1.0, 1.0, 1.0],
    "image_std": [0.3, 0.3, 0.3],
}  # blank paper is 0, so that only ink has a signal
RIDGE = 1e-5


def add_vision(policy: Policy, config: VisionConfig, folder: Path, seed: int = 0) -> Policy:
    """Write a vision-language model with the language part of `policy` into an empty `folder`, and load it.

    Raises:
        PolicyError: the policy is no Llama with biased attention.
    """
    from transformers import Qwen2VLImageProcessorPil

    tokenizer = policy.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS.values())})
    torch.manual_seed(seed)
    model = _new_model(policy, config)
    _carry_over(policy.model, model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    area = (2 * PATCH) ** 2
    Qwen2VLImageProcessorPil(
        min_pixels=area, max_pixels=config.max_tokens * area, patch_size=PATCH, temporal_patch_size=1, **WHITE
    ).save_pretrained(folder)
    loaded = Policy.load(folder, device=str(policy.device), pictures=True)
    loaded.name, loaded.companions = policy.name, ()  # the folder may be deleted
    return loaded


def _new_model(policy: Policy, config: VisionConfig) -> Any:
    """A Qwen2.5-VL with random weights whose language part has the shape of `policy`."""
    from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig

    old, tokenizer = policy.model.config, policy.tokenizer
    if old.model_type != "llama" or not old.attention_bias or old.mlp_bias or not old.tie_word_embeddings:
        raise PolicyError(
            "only a small Llama with biased attention and tied embeddings can be given a vision encoder",
            where=policy.name,
            key="init",
            hint="use imprint-tiny, or a policy that `imprint pretrain` made",
        )
    planes = old.head_dim // 2
    across = planes // 2
    down = planes - across - planes // 8  # the rest is for time, which is constant in a picture
    text = {
        "hidden_size": old.hidden_size,
        "intermediate_size": old.intermediate_size,
        "num_hidden_layers": old.num_hidden_layers,
        "num_attention_heads": old.num_attention_heads,
        "num_key_value_heads": old.num_key_value_heads,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": old.max_position_embeddings,
        "rms_norm_eps": old.rms_norm_eps,
        "initializer_range": old.initializer_range,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [planes // 8, down, across],
            "rope_theta": old.rope_parameters["rope_theta"],
        },
        "bos_token_id": old.bos_token_id,
        "eos_token_id": old.eos_token_id,
        "pad_token_id": old.pad_token_id,
    }
    vision = {
        "depth": config.layers,
        "hidden_size": config.width,
        "intermediate_size": 2 * config.width,
        "num_heads": config.heads,
        "out_hidden_size": old.hidden_size,
        "patch_size": PATCH,
        "temporal_patch_size": 1,  # for pictures alone
        "fullatt_block_indexes": list(range(config.layers)),
        "window_size": 64 * 2 * PATCH,  # no layer attends in windows; they only permute the tokens
        "initializer_range": 0.6 / config.width**0.5,
    }
    ids = {key: tokenizer.convert_tokens_to_ids(mark) for key, mark in MARKS.items()}
    shape = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    return AutoModelForImageTextToText.from_config(shape)


@torch.no_grad()
def _carry_over(old: Any, new: Any) -> None:
    """Copy the language part. A Qwen2 has no bias after attention; as attention's weights sum to 1, a constant in the
    values is that constant after attention, and the bias moves there. Nearly all of it: directions
    that the mixing matrix hardly passes on would need values many times as large as all others, and a policy with these
    learns badly."""
    weights: dict[str, Tensor] = dict(old.get_decoder().state_dict())
    for name in [name for name in weights if name.endswith("o_proj.bias")]:
        layer = name.removesuffix("o_proj.bias")
        mixing, bias = weights[f"{layer}o_proj.weight"].double(), weights.pop(name).double()
        ridge = RIDGE * torch.linalg.matrix_norm(mixing, 2) ** 2 * torch.eye(len(bias), dtype=torch.float64)
        moved = torch.linalg.solve(mixing.T @ mixing + ridge, mixing.T @ bias)
        weights[f"{layer}v_proj.bias"] = (weights[f"{layer}v_proj.bias"].double() + moved).float()
    words = weights.pop("embed_tokens.weight")
    new.get_input_embeddings().weight[: len(words)] = words
    missing, unexpected = new.get_decoder().load_state_dict(weights, strict=False)
    assert missing == ["embed_tokens.weight"], missing
    assert not unexpected, unexpected
