"""Forward passes of a loaded model: hidden states, logits, and prompts with pictures.

Shapes: B rows, U prompts, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from imprint.models.local.vision import Features, VisionEncoder
from imprint.types import Picture


class LoadedModel(Protocol):
    """What a forward pass needs of a `Policy`."""

    model: Any
    vision: VisionEncoder | None

    @property
    def device(self) -> torch.device: ...


def hidden_states(policy: LoadedModel, **inputs: Any) -> Tensor:
    """The last hidden states [B, T, width]: the decoder without the output head."""
    decoder: nn.Module = policy.model.get_decoder()
    states: Tensor = decoder(**inputs).last_hidden_state
    return states


def logits_of(policy: LoadedModel, states: Tensor) -> Tensor:
    """The output head on hidden states [..., width], in float32, with the scalings some architectures put there."""
    config = policy.model.config.get_text_config()
    logits: Tensor = policy.model.get_output_embeddings()(states).float()
    scale = getattr(config, "logits_scaling", None)
    if scale:
        logits = logits / scale
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
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        mm_token_type_ids=kinds,
        **inputs,
    ).last_hidden_state
    body.rope_deltas = None  # positions are always given; a value of an earlier call must not be used
    return states, behind[:, 0].to(ids.device)
