"""Which models can act: what our forward pass does not fit is refused at the door."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, CohereConfig, GPT2Config, GPTJConfig, MistralConfig, Qwen2Config

from imprint.errors import PolicyError
from imprint.models.local.policy import Policy
from tiny import tiny_policy

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
HEADS = {"n_embd": 32, "n_layer": 2, "n_head": 4}


def saved(folder, config):
    tokenizer = tiny_policy().tokenizer
    config.vocab_size = len(tokenizer)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():  # the usual small start would hide a wrong forward pass
        weight.data.normal_(0, 0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(**SIZES, num_key_value_heads=2, max_position_embeddings=128),
        GPT2Config(**HEADS, n_positions=128),
        MistralConfig(**SIZES, num_key_value_heads=2, max_position_embeddings=128, sliding_window=None),
    ],
    ids=lambda config: config.model_type,
)
def test_models_with_standard_attention_load(tmp_path, config):
    assert Policy.load(saved(tmp_path, config)).max_context == 128


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (GPTJConfig(**HEADS, n_positions=128, rotary_dim=4), "log-probs differ|shared prompts"),
        (CohereConfig(**SIZES, num_key_value_heads=2, logit_scale=0.1), "log-probs differ"),
        (MistralConfig(**SIZES, num_key_value_heads=2, max_position_embeddings=128, sliding_window=32), "sliding"),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_models_that_our_forward_pass_does_not_fit_are_refused(tmp_path, config, reason):
    with pytest.raises(PolicyError, match=reason):
        Policy.load(saved(tmp_path, config))
