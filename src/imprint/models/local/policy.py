"""Load and save a policy: any Hugging Face causal LM with its tokenizer, a vision-language model with its image
processor or for its text alone, or `imprint-tiny`."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from imprint.errors import PolicyError
from imprint.models.local.checks import check_architecture, check_loaded, check_vocabulary, check_weights
from imprint.models.local.device import check_device, within_memory
from imprint.models.local.forward import LoadedModel, context_limit
from imprint.models.local.vision import PictureCache, VisionEncoder
from imprint.models.names import TINY, may_be_hub_name

# What a vision-language model's folder holds beside weights and tokenizer; copied into every checkpoint.
COMPANIONS = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Policy(LoadedModel):
    """A causal LM with its tokenizer."""

    model: Any  # a transformers PreTrainedModel
    tokenizer: Any  # a transformers PreTrainedTokenizerFast
    name: str
    shares_prefixes: bool = True
    companions: tuple[Path, ...] = ()  # files to save with the weights
    vision: VisionEncoder | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        self.share(self.shares_prefixes)

    @property
    def parameters(self) -> int:
        """Number of weights; tied ones count once."""
        return sum(weight.numel() for weight in self.model.parameters())

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of `text`. Special tokens in the text are parsed only with `special`: text of skills and worlds
        must not be able to end a turn or to begin one."""
        whole = text.encode("utf-8", "replace").decode()  # a lone surrogate has no tokens
        ids: list[int] = self.tokenizer.encode(whole, add_special_tokens=False, split_special_tokens=not special)
        return ids

    def decode(self, ids: Sequence[int], *, keep: Collection[int] = ()) -> str:
        """The text of tokens, without the special ones except those to `keep`."""
        if keep:
            special = {index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}
            ids = [index for index in ids if index in keep or index not in special]
        text: str = self.tokenizer.decode(ids, skip_special_tokens=not keep, clean_up_tokenization_spaces=False)
        return text

    def freeze_vision(self) -> None:
        """Freeze the vision tower: none of its weights is trained, and the features of each picture are computed once.

        A tower whose features enter inner layers too (Qwen3-VL's DeepStack) is frozen but not cached.
        """
        assert self.vision is not None
        _freeze_all_but_text(self.model)
        layered = hasattr(self.model.model.visual, "deepstack_visual_indexes")
        if self.vision.cache is None and self.vision.frozen_cache and not layered:
            self.vision.cache = PictureCache()

    def save(self, folder: Path) -> None:
        """Write the Hugging Face folder layout (config, safetensors, tokenizer)."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        for file in self.companions:
            shutil.copyfile(file, folder / file.name)
        if self.vision is not None and not self.companions:
            self.vision.processor.save_pretrained(folder)

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        device: str = "auto",
        dtype: str = "float32",
        pictures: bool = False,
        max_context: int | None = None,
    ) -> Policy:
        """Load from the package (`imprint-tiny`), a local folder, or the hub.

        Without `pictures` a vision-language model acts on text alone, and its vision tower is frozen.

        Args:
            pictures: the policy is to read pictures too.
            max_context: most tokens of a sequence; the model's own limit if None.

        Raises:
            PolicyError: it cannot be loaded, its results would differ from its own (`checks.py`), or it has no vision
                encoder.
            RecipeError: there is no such device.
        """
        from transformers import AutoConfig, AutoTokenizer

        place_on = check_device(device)  # before the weights are read
        place = tiny_folder() if str(name) == TINY else Path(name)
        source = str(place) if place.exists() else str(name)
        if not place.exists() and not may_be_hub_name(source):
            raise PolicyError(
                "there is no such folder", where=source, key="model", hint="check the path, or give a hub name"
            )
        if (place / "adapter_config.json").is_file():
            raise PolicyError(
                "the folder holds an adapter (LoRA)",
                where=source,
                key="model",
                hint="merge it into its base, PeftModel.from_pretrained(base, adapter).merge_and_unload(), and give "
                "the folder of that",
            )
        with _loading(source):
            config = AutoConfig.from_pretrained(source)
            kind, has_vision = _model_class(config)
            context = context_limit(config, source, max_context)
        shares = check_architecture(kind, config, source, context)
        with _loading(source), without_bars():
            model, found = kind.from_pretrained(source, dtype=DTYPES[dtype], output_loading_info=True)
            tokenizer = AutoTokenizer.from_pretrained(source)
        check_weights(model, found, source)
        with within_memory():
            moved = model.to(place_on).eval()
        companions = _companions(source) if has_vision else ()
        policy = cls(moved, tokenizer, str(name), shares, companions, limit=max_context)
        if pictures:
            policy.vision = _vision_encoder(policy, source, has_vision)
        elif has_vision:
            _freeze_all_but_text(moved)
        check_vocabulary(policy, tokenizer)
        check_loaded(policy)
        return policy


@contextmanager
def _loading(source: str) -> Iterator[None]:
    """What goes wrong within is an error of ours: the libraries raise their own kinds for every way a folder can be
    wrong."""
    try:
        yield
    except PolicyError:
        raise
    except Exception as error:
        raise PolicyError(
            "cannot load a policy: " + ": ".join([type(error).__name__, *str(error).splitlines()[:1]]),
            where=source,
            key="model",
            hint=f"name {TINY!r}, a folder with config.json, model.safetensors and a tokenizer, or a hub model",
        ) from error


def _model_class(config: Any) -> tuple[Any, bool]:
    """The auto class that loads a model of this configuration, and whether it has a vision encoder."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    )

    kind = type(config)
    has_vision = kind not in MODEL_FOR_CAUSAL_LM_MAPPING and kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return (AutoModelForImageTextToText if has_vision else AutoModelForCausalLM), has_vision


def _vision_encoder(policy: Policy, source: str, has_vision: bool) -> VisionEncoder:
    """The image processor that belongs to the model.

    Raises:
        PolicyError: the model has no vision encoder, or its image processor is not there.
    """
    from transformers import AutoImageProcessor

    if not has_vision:
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
    return VisionEncoder(policy.model.config, processor, source)


def _companions(source: str) -> tuple[Path, ...]:
    from transformers.utils import cached_file

    found = (cached_file(source, name, _raise_exceptions_for_missing_entries=False) for name in COMPANIONS)
    return tuple(Path(path) for path in found if path is not None)


def _freeze_all_but_text(model: Any) -> None:
    """Freeze the vision tower (from text no gradient reaches it), so that it takes no memory in the optimizer."""
    text = {id(weight) for part in (model.get_decoder(), model.get_output_embeddings()) for weight in part.parameters()}
    for weight in model.parameters():
        weight.requires_grad_(id(weight) in text)


def tiny_folder() -> Path:
    """The folder of the package with the weights of `imprint-tiny`."""
    return Path(str(resources.files("imprint.models") / "tiny"))


@contextmanager
def without_bars() -> Iterator[None]:
    """Without the progress bars of transformers: one for each loading of a few megabytes hides our own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
