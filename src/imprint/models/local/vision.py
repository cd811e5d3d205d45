"""How a vision-language model reads pictures: its own processor, its own count of tokens, its own positions.

A picture stands in a prompt as `<|vision_start|>`, a placeholder for each of its tokens, `<|vision_end|>`. Text after
it goes on counting from the picture's larger side, not from its number of tokens (M-RoPE, Qwen2-VL, arXiv 2409.12191).

Shapes: U prompts, T tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from imprint.errors import PolicyError
from imprint.types import Picture

if TYPE_CHECKING:
    from imprint.models.local.policy import Policy

KEPT = 2**28  # bytes of what a frozen tower makes of pictures
CHUNK = 16  # pictures at a time: those of a whole batch would not fit a processor's caches
IDS = ("image_token_id", "vision_start_token_id", "vision_end_token_id")


class Kept:
    """The tokens that pictures are to a language model, as a vision tower gives them that does not change.

    Args:
        most: bytes; the least recently used are dropped.
    """

    def __init__(self, most: int = KEPT) -> None:
        self.most, self.size = most, 0
        self._tokens: OrderedDict[Picture, tuple[Tensor, Tensor]] = OrderedDict()

    def of(self, policy: Policy, pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        """All tokens of all pictures [T, width], and each one's grid [pictures, 3]; looked at once each."""
        new = [picture for picture in dict.fromkeys(pictures) if picture not in self._tokens]
        found = {picture: self._tokens[picture] for picture in pictures if picture in self._tokens}
        for start in range(0, len(new), CHUNK):
            found |= _look(policy, new[start : start + CHUNK])
        for picture, seen in found.items():
            if picture not in self._tokens:
                self.size += _bytes(seen)
            self._tokens[picture] = seen
            self._tokens.move_to_end(picture)
        while self.size > self.most:
            self.size -= _bytes(self._tokens.popitem(last=False)[1])
        tokens, grids = zip(*(found[picture] for picture in pictures), strict=True)
        return torch.cat(tokens), torch.stack(grids)


@torch.no_grad()
def _look(policy: Policy, pictures: Sequence[Picture]) -> dict[Picture, tuple[Tensor, Tensor]]:
    """What the tower makes of each picture, and its grid."""
    assert policy.eyes is not None
    pixels, grids = (part.to(policy.device) for part in policy.eyes.patches(pictures))
    tokens = policy.model.model.get_image_features(pixels, grids, return_dict=True).pooler_output
    # Copies: a view would keep the tokens of all.
    return {picture: (own.clone(), grid) for picture, own, grid in zip(pictures, tokens, grids, strict=True)}


def _bytes(seen: tuple[Tensor, Tensor]) -> int:
    return seen[0].numel() * seen[0].element_size()


class Eyes:
    """The image processor of a model, and where pictures stand in its prompts.

    Attributes:
        kept: what a frozen tower has made of pictures, the least recently used first; None while it may change.

    Raises:
        PolicyError: the model marks pictures in a way that is not known here.
    """

    def __init__(self, config: Any, processor: Any, name: str) -> None:
        self.processor = processor
        if not all(isinstance(getattr(config, key, None), int) for key in IDS):
            raise PolicyError(
                f"models of kind {type(config).__name__} do not say {', '.join(IDS)}",
                where=name,
                key="model",
                hint="use a model of the Qwen-VL family (Qwen2.5-VL, Qwen3-VL), or contexts of text",
            )
        self.kept: Kept | None = None
        self.placeholder, self.start, self.end = (int(getattr(config, key)) for key in IDS)

    def count(self, height: int, width: int) -> int:
        """How many tokens a picture of so many pixels costs, its two marks not counted.

        For Qwen2.5-VL: both sides rounded to multiples of 28 within the processor's limits of area, a token for each
        28 x 28 pixels (patches of 14, merged 2 x 2).
        """
        patches = self.processor.get_number_of_image_patches(height, width, {})
        return int(patches) // int(self.processor.merge_size) ** 2

    def spelled(self, picture: Picture) -> list[int]:
        """A picture as it stands among the tokens of a prompt."""
        height, width, _ = picture.pixels.shape
        return [self.start, *[self.placeholder] * self.count(height, width), self.end]

    def patches(self, pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        """What the vision tower reads: all patches of all pictures, and each picture's grid (frames, rows, columns)."""
        seen = self.processor([picture.pixels for picture in pictures], return_tensors="pt")
        return seen["pixel_values"], seen["image_grid_thw"]


def read_prompts(
    policy: Policy, ids: Tensor, lengths: Tensor, pictures: Sequence[Sequence[Picture]], mask: Tensor, cache: Any
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
    assert policy.eyes is not None
    body = policy.model.model
    everything = [picture for row in pictures for picture in row]
    kinds = (ids == policy.eyes.placeholder).int()
    inside = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    seen: dict[str, Tensor] = {"input_ids": ids}
    grid: Tensor | None = None
    if everything and policy.eyes.kept is not None:
        tokens, grid = policy.eyes.kept.of(policy, everything)
        words = body.get_input_embeddings()(ids)
        seen = {"inputs_embeds": words.masked_scatter(kinds.bool()[..., None], tokens.to(words.dtype))}
    elif everything:
        pixels, grid = (part.to(ids.device) for part in policy.eyes.patches(everything))
        seen |= {"pixel_values": pixels, "image_grid_thw": grid}
    positions, behind = body.get_rope_index(
        ids, mm_token_type_ids=kinds, image_grid_thw=grid, attention_mask=inside.int()
    )
    states: Tensor = body(
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        mm_token_type_ids=kinds,
        **seen,
    ).last_hidden_state
    body.rope_deltas = None  # positions are always given; a stale remainder must not be used by anybody
    return states, behind[:, 0].to(ids.device)
