"""Every causal language model of the installed transformers: it loads and its rows are its own, or it is refused."""

from __future__ import annotations

import pytest
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from imprint.errors import PolicyError
from imprint.models.local.policy import Policy
from imprint.models.local.stand_in import shrunk
from models import apart, saved

# What a default configuration lacks to be a model's
GIVEN = {
    "deepseek_v2": {"num_experts_per_tok": 2, "topk_method": "greedy", "n_routed_experts": 4, "q_lora_rank": None},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "hunyuan_v1_dense": {"head_dim": 32},
    "hunyuan_v1_moe": {"head_dim": 32},
    "ministral": {"head_dim": 32},
    "nemotron": {"head_dim": 32},
    "bert": {"is_decoder": True},
    "roberta": {"is_decoder": True},
}
# Those that must not be lost: what they need is in `attention.py`, `forward.py` or the caches.
WORK = {
    *(
        "llama",
        "qwen2",
        "qwen3",
        "qwen3_moe",
        "mistral",
        "mixtral",
        "gemma",
        "gemma2",
        "gemma3_text",
        "gpt2",
        "gpt_neox",
    ),
    *("gpt_oss", "opt", "phi", "phi3", "olmo2", "smollm3", "granite", "cohere", "deepseek_v3", "youtu", "jetmoe"),
    *("diffllama", "biogpt", "falcon", "gptj", "starcoder2"),
}


def small(kind: type[PreTrainedConfig]) -> PreTrainedConfig:
    """A small configuration of a class, with windows and the like within its few positions."""
    config = kind(**GIVEN.get(kind.model_type, {}))
    return shrunk(config, getattr(config.get_text_config(), "max_position_embeddings", 64))


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODEL_FOR_CAUSAL_LM_MAPPING, ids=lambda kind: kind.__name__)
def test_it_is_exact_or_refused(kind, tmp_path):
    try:
        folder = saved(tmp_path, small(kind))
        config = AutoConfig.from_pretrained(folder)
    except Exception as error:
        pytest.skip(f"transformers cannot make one: {type(error).__name__}")
    try:
        policy = Policy.load(folder)
    except PolicyError as error:
        assert config.model_type not in WORK, str(error)
        assert error.hint
        return
    assert apart(policy, folder) < 1e-3
