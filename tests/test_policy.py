"""Which models can act: those whose log-probs, in batches with shared pages, are their own. The others are refused."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BioGptConfig,
    CohereConfig,
    DeepseekV2Config,
    DeepseekV3Config,
    DiffLlamaConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GptOssConfig,
    JetMoeConfig,
    Lfm2Config,
    Llama4TextConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    Qwen2Config,
)

from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.errors import PolicyError, RecipeError
from imprint.learning.sample import Sample
from imprint.learning.scoring import score
from imprint.models.local import policy as policies
from imprint.models.local.device import within_memory
from imprint.models.local.policy import Policy
from imprint.models.local.sampler import LocalSampler, Prompt, Sampling
from models import apart, fresh, own_logprobs, played, saved
from tiny import saved_policy, tiny_policy

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"max_position_embeddings": 128, "pad_token_id": 0}
GROUPED = {**SIZES, "num_key_value_heads": 2}
HEADS = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
LATENT = {
    **SIZES,
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
}
LATENT |= {"v_head_dim": 12, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 48}
LONG |= {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
LONG = {"rope_parameters": LONG, "original_max_position_embeddings": 48}
NEO = {"hidden_size": 32, "num_heads": 4, "num_layers": 2, "max_position_embeddings": 128}
NEO |= {"attention_types": [[["global", "local"], 1]]}
KINDS = ["sliding_attention", "full_attention"]
GROWING = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}  # beyond the last position
OSS = {"head_dim": 8, "num_local_experts": 4, "sliding_window": 24, "rope_parameters": {"rope_theta": 1e4}}


@pytest.mark.parametrize(
    ("config", "shares"),
    [
        (Qwen2Config(**GROUPED), True),
        (GPT2Config(**HEADS), True),
        (OPTConfig(**SIZES, ffn_dim=64, word_embed_proj_dim=32), True),
        (BioGptConfig(**SIZES), False),
        (GPTJConfig(**HEADS, rotary_dim=4), False),
        (CohereConfig(**GROUPED, logit_scale=0.1), True),
        (MistralConfig(**GROUPED, sliding_window=None), True),
        (MistralConfig(**GROUPED, sliding_window=24), True),
        (Gemma2Config(**GROUPED, head_dim=8, sliding_window=24), True),
        (Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=24, layer_types=KINDS), True),
        (GptOssConfig(**GROUPED, **OSS), True),
        (DeepseekV2Config(**LATENT, first_k_dense_replace=1), False),
        (DeepseekV3Config(**LATENT, n_group=1, topk_group=1, first_k_dense_replace=1), False),
        (JetMoeConfig(**{**GROUPED, "num_attention_heads": None}, kv_channels=8, num_local_experts=4), False),
        (DiffLlamaConfig(**GROUPED), False),
        (LlamaConfig(**GROUPED, rope_parameters=GROWING), True),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)  # fmt: skip
def test_models_whose_rows_are_their_own_load(tmp_path, config, shares):
    policy = Policy.load(saved(tmp_path, config))
    assert policy.max_context == 128
    assert policy.shares_prefixes == shares
    assert apart(policy, tmp_path) < 1e-3


@pytest.mark.parametrize(
    ("config", "reason", "hint"),
    [
        (GPTNeoConfig(**NEO, window_size=32), "RuntimeError", "use a model"),
        (MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4), "max_position_embeddings", "set max_context"),
        (Lfm2Config(**GROUPED, layer_types=["conv", "full_attention"]), "forward pass fails", "use a model"),
        (BertConfig(**SIZES, is_decoder=False), "log-probs differ", "use a model"),
        (Llama4TextConfig(**GROUPED, attention_chunk_size=32), "last_hidden_state", "use a model"),
        (Phi3Config(**GROUPED, **LONG), "log-probs differ", "set max_context: 48"),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)  # fmt: skip
def test_other_models_are_refused_before_their_weights_are_read(tmp_path, config, reason, hint):
    with pytest.raises(PolicyError, match=reason) as error:
        Policy.load(saved(tmp_path, config, weights=False))
    assert str(tmp_path) in str(error.value)
    assert hint in str(error.value.hint)


@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(**GROUPED, head_dim=8, sliding_window=24),
        GptOssConfig(**GROUPED, **OSS),
        GPTJConfig(**HEADS, rotary_dim=4),
    ],
    ids=lambda value: value.model_type,
)
def test_gradients_are_the_models_own(tmp_path, config):
    policy = Policy.load(saved(tmp_path, config))
    native, samples = fresh(tmp_path), played(policy)
    score(policy, samples).logprobs_M.sum().backward()
    torch.cat([own_logprobs(native, sample) for sample in samples]).sum().backward()
    learned = dict(policy.model.named_parameters())
    for name, weight in native.named_parameters():
        if weight.grad is not None:  # an expert may have read nothing
            assert torch.allclose(learned[name].grad, weight.grad, rtol=1e-3, atol=1e-3), name


def test_up_to_the_length_that_the_error_names_a_model_loads(tmp_path):
    config = Phi3Config(**GROUPED, **LONG)
    policy = Policy.load(saved(tmp_path, config), max_context=48)
    assert policy.max_context == 48
    assert apart(policy, tmp_path) < 1e-3


@pytest.mark.parametrize("window", [None, 24])
def test_rows_stay_when_all_that_share_a_page_have_left(tmp_path, window):
    policy = Policy.load(saved(tmp_path, MistralConfig(**GROUPED, sliding_window=window)))
    prompts = [Prompt(tuple(range(3, 33)), 28), Prompt(tuple(range(40, 80)))]
    session = LocalSampler(policy).open(prompts, [0, 1], [], Sampling(1.0, 4))
    first = session.act({0: (), 1: ()})[1]
    second = session.act({1: (7, 8)})[1]
    ids = (*first.tokens, 7, 8, *second.tokens)
    old = np.array([*first.logprobs, 0, 0, *second.logprobs])
    sample = Sample(prompts[1].ids, ids, old != 0, old, old)
    assert torch.allclose(own_logprobs(fresh(tmp_path), sample), torch.tensor(old[old != 0]).float(), atol=1e-3)


def test_a_model_without_a_length_needs_one_and_is_checked(tmp_path):
    folder = saved(tmp_path, MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4), weights=False)
    with pytest.raises(PolicyError, match="in a small copy, its forward pass fails"):
        Policy.load(folder, max_context=64)


def test_max_context_is_at_most_the_models_own(tmp_path):
    with pytest.raises(PolicyError, match="max_context: 600 tokens are more than the model's 512"):
        Policy.load(saved_policy(tmp_path), max_context=600)


def test_loading_draws_no_random_number(tmp_path):
    folder = saved_policy(tmp_path)
    before = torch.get_rng_state(), random.getstate()
    Policy.load(folder)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


def test_the_weights_themselves_are_checked_too(tmp_path, monkeypatch):
    monkeypatch.setattr(policies, "check_architecture", lambda *_: True)
    folder = saved(tmp_path, GPTNeoConfig(**NEO, window_size=8))
    with pytest.raises(PolicyError, match="log-probs differ"):
        Policy.load(folder)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    policy = tiny_policy()
    policy.model.lm_head.weight.data[5] = float("nan")
    policy.save(tmp_path)
    with pytest.raises(PolicyError, match=r"the weight model\.embed_tokens\.weight is not finite"):
        Policy.load(tmp_path)


def test_log_probs_that_are_no_numbers_are_refused(tmp_path):
    policy = tiny_policy()
    for part in ("q_proj", "k_proj"):
        getattr(policy.model.model.layers[0].self_attn, part).weight.data.fill_(1e30)
    policy.save(tmp_path)
    with pytest.raises(PolicyError, match="the model's log-probs are nan"):
        Policy.load(tmp_path)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"num_hidden_layers": 4}, r"weights are missing, the first is model\.layers\.[23]\."),
        ({"num_hidden_layers": 1}, r"weights have no place in the model, the first is model\.layers\.1\."),
    ],
)
def test_weights_that_are_not_those_of_the_configuration_are_refused(tmp_path, config, problem):
    """transformers fills up with random weights, and leaves out layers."""
    saved(tmp_path, LlamaConfig(**SIZES))
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    with pytest.raises(PolicyError, match=problem):
        Policy.load(tmp_path)


def test_an_adapter_is_no_model(tmp_path):
    saved(tmp_path, LlamaConfig(**SIZES))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(PolicyError, match=r"holds an adapter(.|\n)*merge_and_unload"):
        Policy.load(tmp_path)


def test_an_end_that_is_no_number_is_told():
    policy = tiny_policy()
    policy.model.generation_config.eos_token_id = "</s>"
    with pytest.raises(PolicyError, match="eos_token_id: is '</s>', and no number"):
        Context(policy, ContextConfig(style="plain"))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_what_is_drawn_from_no_numbers_is_an_error(temperature, value):
    policy = tiny_policy()
    session = LocalSampler(policy).open([Prompt((3, 4, 5))], [0], [], Sampling(temperature, 4))
    policy.model.lm_head.weight.data[7] = float(value)
    with pytest.raises(PolicyError, match="log-prob of a sampled token is nan"):
        session.act({0: []})


def test_tokens_that_the_model_does_not_know_are_refused(tmp_path):
    policy = tiny_policy()
    policy.tokenizer.add_tokens(["<tool>"])
    policy.save(tmp_path)
    with pytest.raises(PolicyError, match="'<tool>' with number"):
        Policy.load(tmp_path)


def test_special_tokens_need_be_known_only_where_they_can_be_written(tmp_path):
    policy = tiny_policy()
    policy.tokenizer.add_special_tokens({"pad_token": "<pad>", "additional_special_tokens": ["<tool>"]})
    policy.save(tmp_path)
    loaded, known = Policy.load(tmp_path), policy.model.config.vocab_size
    assert max(loaded.encode("a <tool> and <pad>")) < known <= len(loaded.tokenizer)
    policy.tokenizer.chat_template = "{% for m in messages %}<tool>{{ m.content }}{% endfor %}"
    policy.save(tmp_path)
    with pytest.raises(PolicyError, match="'<tool>' with number"):
        Policy.load(tmp_path)


@pytest.mark.parametrize("device", ["cuda:77", "tpu", "meta", "cuda:x", ""])
def test_a_device_that_is_not_there_is_told_before_the_weights_are_read(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *args: pytest.fail("it was read"))
    with pytest.raises(RecipeError, match=r"(?s)device: there is no device .* here.*this machine has: auto, cpu"):
        Policy.load("imprint-tiny", device=device)


def test_a_full_device_is_an_error_with_a_hint() -> None:
    @within_memory()
    def fill() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    with pytest.raises(PolicyError, match=r"(?s)Tried to allocate 2 GiB.*learner\.micro_tokens"):
        fill()


def test_what_prefixes_give_is_laid_out_as_what_own_tokens_give():
    """In another layout elementwise kernels round the last digit differently, and a resume would not be exact."""
    from imprint.models.local.attention import _over_prefixes, _weigh

    keys, prefix = torch.randn(3, 2, 7, 8), torch.randn(2, 5, 8)
    queries = torch.randn(3, 2, 4, 8)
    own = _weigh(queries, keys, keys)
    shared = _over_prefixes(queries, [(torch.arange(3), prefix, prefix)], own, None, None)
    assert [one.stride() for one in shared] == [one.stride() for one in own]
    torch.testing.assert_close(
        shared[0], _weigh(queries, prefix.expand(3, -1, -1, -1), prefix.expand(3, -1, -1, -1))[0]
    )
