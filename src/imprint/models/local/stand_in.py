"""Small models that stand in for large ones: the same code, and nearly the same configuration.

Whether our masks, positions and caches fit a model depends on its class and its configuration, not on its weights or
its size. A stand-in keeps every kind of layer, the width of a head, and every switch; it has fewer layers, heads and
experts, a narrow feed-forward part, a small vocabulary, random weights, and few positions. Lengths at which the model
changes (windows, the original length of stretched rotary embeddings) are moved between those, in their order.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.initialization import no_init_weights

VOCABULARY = 96
LIMIT = 64  # positions
LARGEST = 100_000_000  # weights of a stand-in
LAYERS = 6

_LIMITS = re.compile(r"max(_target)?_position|n_positions|n_ctx|max_seq_len|model_max_length|context_length")
_CHANGES = re.compile(r"original_max_pos|window|attention_chunk|local_attention|attn_chunk_length|index_topk$|floor")
_COUNTS = re.compile(r"layer|pattern|block")  # of layers: no lengths
_WIDTHS = re.compile(r"intermediate_size|ffn|n_inner|d_inner|inner_dim|d_?ff$|dim_ff|feed_forward_size")
_EXPERTS = re.compile(r"(?<!shared_)experts$|expert_num$|moe_num_experts$")
_CHOSEN = re.compile(r"experts_per_tok|moe_top_?k$|top_k_experts|^moe_k$")


def changes(config: Any, below: int) -> list[int]:
    """The lengths below `below` at which the model changes, by its configuration: windows, stretched positions."""
    found = {value for _, key, value in _lengths(config) if _is_change(key) and 0 < value < below}
    return sorted(found)


def shrunk(config: Any, context: int) -> Any:
    """The configuration of a stand-in for sequences of up to `context` tokens."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    points = changes(config, context)
    moved = {point: LIMIT * (place + 1) // (len(points) + 1) for place, point in enumerate(points)}
    for holder, key, value in list(_lengths(config)):
        if _LIMITS.search(key) and value > 0 and not _is_change(key):
            _put(holder, key, LIMIT)
        elif _is_change(key) and value > 0:
            _put(holder, key, moved.get(value, LIMIT))
    for part in _parts(config):
        if part is not config and part is not text:
            for key in ("num_hidden_layers", "depth", "num_layers", "encoder_layers"):
                if isinstance(getattr(part, key, None), int):
                    setattr(part, key, 1)
    _thin(text)
    _shorten(text)
    _narrow(text)
    return config


def build(kind: Any, config: Any, attention: str | None = None) -> Any:
    """A model with weights that depend on their shapes alone; no global random number is drawn. Of a vision-language
    model, the weights that text does not pass are left as they are in memory.

    Args:
        kind: an auto class.
        attention: its implementation; the model's default if None.

    Raises:
        ValueError: it would be too large.
    """
    given = {} if attention is None else {"attn_implementation": attention}
    with torch.random.fork_rng(devices=[]), no_init_weights():
        with torch.device("meta"):
            size = sum(weight.numel() for _, weight in _text_weights(kind.from_config(copy.deepcopy(config))))
        if size > LARGEST:
            raise ValueError(f"{size} weights are too many")
        model = kind.from_config(copy.deepcopy(config), dtype=torch.float32, **given)
    model.tie_weights()
    dice = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in _text_weights(model):
            # Large enough that attention matters: the usual small start would hide a wrong mask.
            weight.normal_(0, weight.shape[-1] ** -0.5 if weight.dim() > 1 else 0.3, generator=dice)
            if weight.dim() == 1 and name.endswith("weight"):  # of a norm
                weight.add_(1)
    return model.eval()


def _text_weights(model: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    if model.config.get_text_config() is model.config:
        yield from model.named_parameters()
    else:
        yield from model.get_decoder().named_parameters()
        yield from model.get_output_embeddings().named_parameters()


def _parts(config: Any) -> Iterator[Any]:
    yield config
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from _parts(value)


def _lengths(config: Any) -> Iterator[tuple[Any, str, int]]:
    """Every whole number of the text's configuration, with its key and what holds it."""
    for part in (config, config.get_text_config()):
        yield from _numbers(part, vars(part))


def _numbers(holder: Any, values: dict[str, Any]) -> Iterator[tuple[Any, str, int]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield holder, str(key), value


def _is_change(key: str) -> bool:
    return bool(_CHANGES.search(key)) and not _COUNTS.search(key)


def _put(holder: Any, key: str, value: int | None) -> None:
    if isinstance(holder, dict):
        holder[key] = value
    else:
        setattr(holder, key, value)


def _thin(text: Any) -> None:
    """Keep the first layer of each kind, at least two layers."""
    layers = int(text.num_hidden_layers)
    tables = {key: v for key, v in vars(text).items() if isinstance(v, list | tuple) and len(v) == layers}
    kinds: dict[str, int] = {}
    for layer in range(layers):
        kinds.setdefault(repr([table[layer] for table in tables.values()]), layer)
    kept = sorted(kinds.values())[:LAYERS]
    if len(kept) < 2:
        kept = list(range(min(2, layers)))
    for key, table in tables.items():
        setattr(text, key, type(table)(table[layer] for layer in kept))
    text.num_hidden_layers = len(kept)
    if getattr(text, "first_k_dense_replace", None):  # then come the layers with experts
        text.first_k_dense_replace = 1


def _shorten(text: Any) -> None:
    """A small vocabulary, with the special tokens in it."""
    for key, value in list(vars(text).items()):
        if isinstance(value, int) and not isinstance(value, bool):
            if "vocab" in key:
                setattr(text, key, min(value, VOCABULARY))
            elif key.endswith("_token_id"):
                setattr(text, key, min(value, VOCABULARY - 1))
        elif key == "eos_token_id" and isinstance(value, list):
            setattr(text, key, [min(one, VOCABULARY - 1) for one in value])


def _narrow(text: Any) -> None:
    """Up to four heads, in two groups if they share keys and values, as wide as they were; few and narrow experts."""
    heads = int(getattr(text, "num_attention_heads", None) or 1)
    groups = int(getattr(text, "num_key_value_heads", None) or heads)
    few = min(groups, 2) if groups < heads else min(heads, 4)
    fewer = {groups: few, heads: few if groups == heads else few * min(heads // groups, 2)}
    hidden = int(text.hidden_size)
    narrow = -(-hidden * fewer[heads] // heads)
    narrow += -narrow % (8 if hidden % heads else 1)
    chosen = [value for _, key, value in _numbers(text, vars(text)) if _CHOSEN.search(key)]
    for holder, key, value in list(_numbers(text, vars(text))):
        if _LIMITS.search(key) or _is_change(key) or "vocab" in key or key.endswith("_id"):
            continue
        if "head" in key and not re.search("dim|size|width", key):
            _put(holder, key, fewer.get(value, value))
        elif value == hidden:
            _put(holder, key, narrow)
        elif _WIDTHS.search(key):
            _put(holder, key, min(value, 64))
        elif _EXPERTS.search(key):
            _put(holder, key, min(value, 2 * max([2, *chosen])))
        elif key in ("n_group", "topk_group", "num_expert_group"):
            _put(holder, key, 1)
