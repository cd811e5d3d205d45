"""A tiny Qwen2.5-VL or Qwen3-VL: random weights, a tokenizer, a chat template and an image processor of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig, Qwen2VLImageProcessorPil, Qwen3VLConfig

from imprint.context.config import ImageConfig
from imprint.pretrain.tokenizer import train_tokenizer
from imprint.skills.library import load_library

# As Qwen's own: a turn ends with a token that is not the end of the text.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Whole characters in each token of 28 x 28 pixels, as the household's recipes draw them.
IMAGE = ImageConfig(width=112, font_size=6, line_spacing=2.33, padding=0, height_step=28)
MARKS = {"image_token_id": "<|image_pad|>", "vision_start_token_id": "<|vision_start|>"}
MARKS |= {"vision_end_token_id": "<|vision_end|>", "video_token_id": "<|video_pad|>"}


def build_tiny_vision(folder: Path, *, chat: bool = True, kind: str = "qwen2.5-vl", seed: int = 0) -> Path:
    """Write one into `folder`."""
    tokenizer = train_tokenizer([skill.body for skill in load_library("household").skills], 600, 8192)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *MARKS.values()]})
    if chat:
        tokenizer.chat_template = TEMPLATE
    text = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 32,
    }
    newer = kind == "qwen3-vl"
    side = 16 if newer else 14  # pixels of a patch
    if newer:
        text |= {"head_dim": 8}
        vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 256, "patch_size": side}
    else:
        vision |= {"fullatt_block_indexes": [1]}
    ids = {key: tokenizer.convert_tokens_to_ids(mark) for key, mark in MARKS.items()}
    torch.manual_seed(seed)
    config = (Qwen3VLConfig if newer else Qwen2_5_VLConfig)(text_config=text, vision_config=vision, **ids)
    model = AutoModelForImageTextToText.from_config(config)
    for weight in model.parameters():  # the usual small start would hide a wrong forward pass
        weight.data.normal_(0, 0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    area = (2 * side) ** 2  # of a token
    Qwen2VLImageProcessorPil(min_pixels=area, max_pixels=400 * area, patch_size=side).save_pretrained(folder)
    return folder
