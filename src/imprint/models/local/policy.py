"""Load, build and save a policy: any Hugging Face causal LM with its tokenizer, a vision-language model with its image
processor or for its text alone, or `imprint-tiny`."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imprint.errors import PolicyError, RecipeError
from imprint.models.local import attention
from imprint.models.local.cache import PrefixCache
from imprint.models.local.vision import Eyes, Kept

TINY = "imprint-tiny"
# What a vision-language model's folder holds beside weights and tokenizer: it stays with every checkpoint.
COMPANIONS = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Policy:
    """A causal LM that acts, and the tokenizer it reads with."""

    model: Any  # a transformers PreTrainedModel
    tokenizer: Any  # a transformers PreTrainedTokenizerFast
    name: str
    shares_prefixes: bool = False  # whether rollouts keep shared prompts once (`policy/attention.py`)
    companions: tuple[Path, ...] = ()  # files to keep with the weights
    eyes: Eyes | None = None  # how it reads pictures, where it is to

    def __post_init__(self) -> None:
        self.shares_prefixes = attention.enable(self.model)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def layers(self) -> int:
        return int(self.model.config.get_text_config().num_hidden_layers)

    @property
    def max_context(self) -> int:
        return int(self.model.config.get_text_config().max_position_embeddings)

    @property
    def parameters(self) -> int:
        """Number of weights; tied ones count once."""
        return sum(weight.numel() for weight in self.model.parameters())

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of `text`. What looks like a special token is one only with `special`: text of skills and worlds
        must not be able to end a turn or to begin one."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not special)
        return ids

    def decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def freeze_eyes(self) -> None:
        """Let the vision tower stay as it is: none of its weights is learned, and each picture is looked at once.

        (But for a tower that speaks to inner layers too, as Qwen3-VL's does: it looks each time.)
        """
        assert self.eyes is not None
        _freeze_all_but_text(self.model)
        tower = self.model.model.visual
        blindfolded = next(tower.parameters(), None) is None  # its sums of words may change (`methods/eyes.py`)
        if self.eyes.kept is None and not blindfolded and not hasattr(tower, "deepstack_visual_indexes"):
            self.eyes.kept = Kept()

    def save(self, folder: Path) -> None:
        """Write the Hugging Face folder layout (config, safetensors, tokenizer)."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        for file in self.companions:
            shutil.copyfile(file, folder / file.name)
        if self.eyes is not None and not self.companions:
            self.eyes.processor.save_pretrained(folder)

    @classmethod
    def load(cls, name: str | Path, *, device: str = "auto", dtype: str = "float32", pictures: bool = False) -> Policy:
        """Load from the package (`imprint-tiny`), a local folder, or the hub.

        Without `pictures` a vision-language model acts on text alone, and its vision tower is kept as it is.

        Args:
            pictures: it is to read pictures too.

        Raises:
            PolicyError: nothing loadable is there, the architecture cannot share prompts, or it cannot see.
            RecipeError: there is no such device.
        """
        from transformers import AutoTokenizer

        place = tiny_folder() if str(name) == TINY else Path(name)
        source = str(place) if place.exists() else str(name)
        if source.startswith((".", "/", "~")) and not place.exists():
            raise PolicyError("there is no such folder", where=source, key="model", hint="check the path")
        try:
            kind, sees = _model_class(source)
            with without_bars():
                model = kind.from_pretrained(source, dtype=DTYPES[dtype])
            tokenizer = AutoTokenizer.from_pretrained(source)
        except Exception as error:  # the libraries below raise their own kinds for every way a folder can be wrong
            raise PolicyError(
                f"cannot load a policy: {type(error).__name__}: {str(error).splitlines()[0]}",
                where=source,
                key="model",
                hint=f"name {TINY!r}, a folder with config.json, model.safetensors and a tokenizer, or a hub model",
            ) from error
        moved = _moved(model, device).eval()
        policy = cls(moved, tokenizer, str(name), companions=_companions(source) if sees else ())
        if pictures:
            policy.eyes = _open_eyes(policy, source, sees)
        elif sees:
            _freeze_all_but_text(moved)
        check_vocabulary(policy)
        check_attention(policy)
        check_forward(policy)
        return policy


def _model_class(source: str) -> tuple[Any, bool]:
    """The auto class that loads `source`, and whether it is one that sees."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    )

    kind = type(AutoConfig.from_pretrained(source))
    sees = kind not in MODEL_FOR_CAUSAL_LM_MAPPING and kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return (AutoModelForImageTextToText if sees else AutoModelForCausalLM), sees


def _open_eyes(policy: Policy, source: str, sees: bool) -> Eyes:
    """The image processor that belongs to the model.

    Raises:
        PolicyError: the model has no eyes, or nothing says how its pictures are prepared.
    """
    from transformers import AutoImageProcessor

    if not sees:
        raise PolicyError(
            "the model reads no pictures",
            where=source,
            key="context",
            hint="use a vision-language model (Qwen2.5-VL, ...), or set context.skills and context.history to text",
        )
    try:
        processor = AutoImageProcessor.from_pretrained(source, backend="pil")  # the same pixels on every machine
    except (OSError, ValueError, ImportError) as error:
        raise PolicyError(
            f"the image processor cannot be loaded: {str(error).splitlines()[0]}",
            where=source,
            key="model",
            hint="put the model's preprocessor_config.json beside its weights",
        ) from error
    return Eyes(policy.model.config, processor, source)


def _companions(source: str) -> tuple[Path, ...]:
    from transformers.utils import cached_file

    found = (cached_file(source, name, _raise_exceptions_for_missing_entries=False) for name in COMPANIONS)
    return tuple(Path(path) for path in found if path is not None)


def _freeze_all_but_text(model: Any) -> None:
    """The vision tower is not learned (from text no gradient reaches it): it needs no room in the optimizer."""
    text = {id(weight) for part in (model.get_decoder(), model.get_output_embeddings()) for weight in part.parameters()}
    for weight in model.parameters():
        weight.requires_grad_(id(weight) in text)


def tiny_folder() -> Path:
    """Where the package keeps the weights of `imprint-tiny`."""
    return Path(str(resources.files("imprint.models") / "tiny"))


@contextmanager
def without_bars() -> Iterator[None]:
    """Our own progress says what is going on; a bar for each loading of a few megabytes hides it."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _moved(model: Any, device: str) -> Any:
    """The model on a device.

    Raises:
        RecipeError: there is no such device, or no room on it.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # PyTorch's word for an unknown device and for an absent one
        raise RecipeError(
            f"the device {device!r} cannot be used: {str(error).splitlines()[0]}",
            key="device",
            hint="use auto, cpu, cuda, or cuda:1",
        ) from error


def check_vocabulary(policy: Policy) -> None:
    """Refuse a tokenizer that says tokens which the model does not know.

    Raises:
        PolicyError: the model has fewer embeddings than the tokenizer has tokens.
    """
    known, said = int(policy.model.get_input_embeddings().weight.shape[0]), int(policy.tokenizer.vocab_size)
    if said > known:
        raise PolicyError(
            f"the tokenizer has {said} tokens and the model knows {known}",
            where=policy.name,
            key="model",
            hint="put the model's own tokenizer beside it",
        )


def check_attention(policy: Policy) -> None:
    """Refuse models whose layers do not attend to the whole past: our caches hold all of it.

    Raises:
        PolicyError: the model has sliding-window or recurrent layers.
    """
    config = policy.model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or [])
    if not kinds:  # older kinds of model say it in one number for all layers
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
def check_forward(policy: Policy) -> None:
    """Refuse models that our forward pass (masks, positions, a cache of our own, the output head) does not fit.

    Raises:
        PolicyError: a few tokens, read in two parts by way of our cache, are scored otherwise than by the model itself.
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


def build_tiny(
    vocab_size: int, *, width: int, layers: int, heads: int, max_context: int, seed: int, eos: int, bos: int
) -> Any:
    """A from-scratch Llama: `width` is the hidden size, the feed-forward is 8/3 as wide (SwiGLU's convention).

    The first layer's heads start out looking one, two, ... tokens back. A small model finds these by itself only after
    very many examples, and cannot read a page (find the words that stood beside these before) until it has them.
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


def hidden_states(policy: Policy, **inputs: Any) -> Tensor:
    """The last hidden states [B, T, width]: the decoder without the output head."""
    decoder: nn.Module = policy.model.get_decoder()
    states: Tensor = decoder(**inputs).last_hidden_state
    return states


def logits_of(policy: Policy, states: Tensor) -> Tensor:
    """The output head on hidden states [..., width], in float32, with the scalings some architectures put there."""
    config = policy.model.config.get_text_config()
    logits: Tensor = policy.model.get_output_embeddings()(states).float()
    scale = getattr(config, "logits_scaling", None)
    if scale:
        logits = logits / scale
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if not cap else torch.tanh(logits / cap) * cap
