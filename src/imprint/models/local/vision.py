"""The vision encoder of a vision-language model: its own image processor, its own token count, its own positions.

A picture stands in a prompt as `<|vision_start|>`, a placeholder for each of its tokens, `<|vision_end|>`. Positions of
the text after it continue from the picture's larger side, not from its number of tokens (M-RoPE, Qwen2-VL,
arXiv 2409.12191). The forward pass over such prompts is in `forward.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from imprint.errors import PolicyError
from imprint.types import Picture

CACHE_BYTES = 2**28  # for the features of pictures that a frozen vision tower has computed
CHUNK = 16  # pictures per call of the tower: those of a whole batch would not fit a processor's caches
IDS = ("image_token_id", "vision_start_token_id", "vision_end_token_id")

Features = tuple[Tensor, Tensor]  # of one picture: its tokens [T, width], and its grid [3]


class PictureCache:
    """The features of pictures under a vision tower whose weights do not change.

    Args:
        most: bytes; the least recently used entries are dropped.
    """

    def __init__(self, most: int = CACHE_BYTES) -> None:
        self.most, self.size = most, 0
        self._features: OrderedDict[Picture, Features] = OrderedDict()

    def of(
        self, pictures: Sequence[Picture], compute: Callable[[Sequence[Picture]], dict[Picture, Features]]
    ) -> Features:
        """All tokens of all pictures [T, width], and each one's grid [pictures, 3].

        Args:
            compute: gives the features of pictures that are not in the cache; called once for each of them.
        """
        new = [picture for picture in dict.fromkeys(pictures) if picture not in self._features]
        found = {picture: self._features[picture] for picture in pictures if picture in self._features}
        for start in range(0, len(new), CHUNK):
            found |= compute(new[start : start + CHUNK])
        for picture, features in found.items():
            if picture not in self._features:
                self.size += _bytes(features)
            self._features[picture] = features
            self._features.move_to_end(picture)
        while self.size > self.most:
            self.size -= _bytes(self._features.popitem(last=False)[1])
        tokens, grids = zip(*(found[picture] for picture in pictures), strict=True)
        return torch.cat(tokens), torch.stack(grids)


def _bytes(features: Features) -> int:
    return features[0].numel() * features[0].element_size()


class VisionEncoder:
    """The image processor of a model, and where pictures stand in its prompts.

    Attributes:
        cache: the features that a frozen vision tower has computed; None while they may change.
        frozen_cache: whether freezing the tower fixes its features, so that they may be cached. False while the tower
            is replaced by something that depends on other weights.

    Raises:
        PolicyError: the model marks pictures in an unknown way.
    """

    def __init__(self, config: Any, processor: Any, name: str) -> None:
        self.processor = processor
        if not all(isinstance(getattr(config, key, None), int) for key in IDS):
            raise PolicyError(
                f"models of kind {type(config).__name__} do not define {', '.join(IDS)}",
                where=name,
                key="model",
                hint="use a model of the Qwen-VL family (Qwen2.5-VL, Qwen3-VL), or contexts of text",
            )
        self.cache: PictureCache | None = None
        self.frozen_cache = True
        self.placeholder, self.start, self.end = (int(getattr(config, key)) for key in IDS)

    def count(self, height: int, width: int) -> int:
        """How many tokens a picture of this many pixels costs, its two marks not counted.

        For Qwen2.5-VL: both sides rounded to multiples of 28 within the processor's limits of area, a token for each
        28 x 28 pixels (patches of 14, merged 2 x 2).
        """
        patches = self.processor.get_number_of_image_patches(height, width, {})
        return int(patches) // int(self.processor.merge_size) ** 2

    def spelled(self, picture: Picture) -> list[int]:
        """The tokens that stand for a picture in a prompt."""
        height, width, _ = picture.pixels.shape
        return [self.start, *[self.placeholder] * self.count(height, width), self.end]

    def patches(self, pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        """The input of the vision tower: the patches of all pictures, and each one's grid (frames, rows, columns)."""
        processed = self.processor([picture.pixels for picture in pictures], return_tensors="pt")
        return processed["pixel_values"], processed["image_grid_thw"]
