"""Forward passes of a loaded model: hidden states, logits, and prompts with pictures.

Shapes: B rows, U prompts, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from imprint.errors import PolicyError
from imprint.models.local import attention
from imprint.models.local.vision import Features, VisionEncoder
from imprint.types import Picture


class LoadedModel:
    """A model in this process: what a forward pass needs of a `Policy`.

    Attributes:
        model: a transformers PreTrainedModel.
        name: for errors.
        shares_prefixes: whether rollouts keep shared prompts once (`attention.py`).
        vision: where it is loaded with pictures.
        limit: most tokens of a sequence; the model's own limit if None.
    """

    model: Any
    name: str
    shares_prefixes: bool
    vision: VisionEncoder | None
    limit: int | None

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def layers(self) -> int:
        return int(self.model.config.get_text_config().num_hidden_layers)

    @property
    def max_context(self) -> int:
        """Most tokens of a sequence."""
        return context_limit(self.model.config, self.name, self.limit)

    def share(self, shared: bool) -> None:
        """Let rows share the keys and values of a prefix, where the architecture can, or let each have a copy."""
        if self.shares_prefixes and not shared:
            attention.disable(self.model)
        self.shares_prefixes = shared and attention.enable(self.model)

    def decode(self, ids: list[int]) -> str:
        """The text of tokens."""
        raise NotImplementedError("this model has no tokenizer")


def context_limit(config: Any, name: str, wanted: int | None = None) -> int:
    """Most tokens of a sequence: `wanted`, or the model's own limit.

    Raises:
        PolicyError: the model has a lower limit, or none is known.
    """
    limit: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    if limit is None and wanted is None:
        raise PolicyError(
            "the configuration has no max_position_embeddings", where=name, key="max_context", hint="set max_context"
        )
    if limit is not None and wanted is not None and wanted > limit:
        raise PolicyError(
            f"{wanted} tokens are more than the model's {limit}", where=name, key="max_context", hint="lower it"
        )
    return wanted or limit or 0


def hidden_states(policy: LoadedModel, *, attention_mask: Tensor, **inputs: Any) -> Tensor:
    """The last hidden states [B, T, width]: the decoder without the output head.

    Args:
        attention_mask: [B, 1, T, keys], True where a query may attend.
    """
    decoder: nn.Module = policy.model.get_decoder()
    states: Tensor = decoder(attention_mask=_fitting(policy, attention_mask), **inputs).last_hidden_state
    return states


def _fitting(policy: LoadedModel, mask: Tensor) -> Tensor:
    """The mask as the model's attention takes it: ours is boolean, a model's own may add it to the scores."""
    if policy.shares_prefixes:
        return mask
    dtype = policy.model.dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def logits_of(policy: LoadedModel, states: Tensor) -> Tensor:
    """The output head on hidden states [..., width], in float32, with the scalings some architectures put there."""
    config = policy.model.config.get_text_config()
    logits: Tensor = policy.model.get_output_embeddings()(states).float()
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        logits = logits / divisor
    if isinstance(factor := getattr(config, "logit_scale", None), float):  # Cohere
        logits = logits * factor
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if not cap else torch.tanh(logits / cap) * cap


@torch.no_grad()
def picture_features(policy: LoadedModel, pictures: Sequence[Picture]) -> dict[Picture, Features]:
    """What the vision tower computes for each picture."""
    assert policy.vision is not None
    pixels, grids = (part.to(policy.device) for part in policy.vision.patches(pictures))
    tokens = policy.model.model.get_image_features(pixels, grids, return_dict=True).pooler_output
    # Copies: a view would keep the tokens of all.
    return {picture: (own.clone(), grid) for picture, own, grid in zip(pictures, tokens, grids, strict=True)}


def read_prompts(
    policy: LoadedModel, ids: Tensor, lengths: Tensor, pictures: Sequence[Sequence[Picture]], mask: Tensor, cache: Any
) -> tuple[Tensor, Tensor]:
    """One forward pass over prompts with pictures.

    Args:
        ids: [U, T], right-padded.
        lengths: [U], of the prompts.
        pictures: of each prompt, in the order of their placeholders.
        mask: [U, 1, T, T] (or as many keys as `cache` shows), True where a query may attend.

    Returns:
        The last hidden states [U, T, width], and by how much each prompt's next position is behind its number of tokens
        [U] (0 or less).
    """
    vision, body = policy.vision, policy.model.model
    assert vision is not None
    everything = [picture for row in pictures for picture in row]
    kinds = (ids == vision.placeholder).int()
    inside = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    inputs: dict[str, Tensor] = {"input_ids": ids}
    grid: Tensor | None = None
    if everything and vision.cache is not None:
        tokens, grid = vision.cache.of(everything, partial(picture_features, policy))
        words = body.get_input_embeddings()(ids)
        inputs = {"inputs_embeds": words.masked_scatter(kinds.bool()[..., None], tokens.to(words.dtype))}
    elif everything:
        pixels, grid = (part.to(ids.device) for part in vision.patches(everything))
        inputs |= {"pixel_values": pixels, "image_grid_thw": grid}
    positions, behind = body.get_rope_index(
        ids, mm_token_type_ids=kinds, image_grid_thw=grid, attention_mask=inside.int()
    )
    states: Tensor = body(
        attention_mask=_fitting(policy, mask),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        mm_token_type_ids=kinds,
        **inputs,
    ).last_hidden_state
    body.rope_deltas = None  # positions are always given; a value of an earlier call must not be used
    return states, behind[:, 0].to(ids.device)
