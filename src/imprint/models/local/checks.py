"""Checks of a loaded model: what our masks, positions and caches do not fit is refused when the model is loaded."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch

from imprint.errors import PolicyError
from imprint.models.local.cache import PrefixCache
from imprint.models.local.forward import LoadedModel, hidden_states, logits_of


class CheckedModel(LoadedModel, Protocol):
    """What the checks need of a `Policy`."""

    tokenizer: Any
    name: str

    @property
    def layers(self) -> int: ...

    @property
    def max_context(self) -> int: ...


def check_vocabulary(policy: CheckedModel) -> None:
    """Refuse a tokenizer with tokens that the model has no embedding for.

    Raises:
        PolicyError: the model has fewer embeddings than the tokenizer has tokens.
    """
    known, used = int(policy.model.get_input_embeddings().weight.shape[0]), int(policy.tokenizer.vocab_size)
    if used > known:
        raise PolicyError(
            f"the tokenizer has {used} tokens and the model knows {known}",
            where=policy.name,
            key="model",
            hint="put the model's own tokenizer beside it",
        )


def check_attention(policy: CheckedModel) -> None:
    """Refuse models whose layers do not attend to the whole past: our caches hold all of it.

    Raises:
        PolicyError: the model has sliding-window or recurrent layers.
    """
    config = policy.model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or [])
    if not kinds:  # older configurations have one number for all layers
        window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
        kinds = {"sliding_attention"} if window and window < policy.max_context else {"full_attention"}
    if kinds != {"full_attention"}:
        raise PolicyError(
            f"layers of kind {sorted(kinds - {'full_attention'})} are not supported",
            where=policy.name,
            key="model",
            hint="use a model with full attention in every layer (Llama, Qwen2, Qwen3, SmolLM, ...)",
        )


@torch.no_grad()
def check_forward(policy: CheckedModel) -> None:
    """Refuse models that our forward pass (masks, positions, a cache of our own, the output head) does not fit.

    Raises:
        PolicyError: a few tokens, read in two parts through our cache, get other log-probs than from the model.
    """
    vocabulary = int(policy.model.get_input_embeddings().weight.shape[0])
    ids = (torch.arange(1, 10, device=policy.device) * 7919 % vocabulary)[None]
    mask = torch.ones((1, 1, 9, 9), dtype=torch.bool, device=policy.device).tril()
    positions, cache = torch.arange(9, device=policy.device)[None], PrefixCache(policy.layers)
    parts = []
    try:
        expected = torch.log_softmax(policy.model(input_ids=ids).logits.float(), dim=-1)
        for start, stop in ((0, 5), (5, 9)):
            states = hidden_states(
                policy,
                input_ids=ids[:, start:stop],
                position_ids=positions[:, start:stop],
                attention_mask=mask[:, :, start:stop, :stop],
                past_key_values=cache,
                use_cache=True,
            )
            parts.append(states)
            cache.share(torch.zeros(1, dtype=torch.long, device=policy.device))
        found = torch.log_softmax(logits_of(policy, torch.cat(parts, dim=1)), dim=-1)
        difference = float((found - expected).abs().max())
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        difference, reason = math.inf, f"{type(error).__name__}: {error}"
    else:
        reason = f"log-probs differ by {difference:.2g}"
    tolerance = 0.01 if policy.model.dtype == torch.float32 else 0.5
    if not difference <= tolerance:
        raise PolicyError(
            f"models of kind {type(policy.model).__name__} do not work with shared prompts ({reason.splitlines()[0]})",
            where=policy.name,
            key="model",
            hint="use a Llama, Qwen2, Qwen3, SmolLM, GPT-2 or another with standard masks and caches",
        )
