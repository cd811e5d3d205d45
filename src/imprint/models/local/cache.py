"""Key/value caches that let rows of one batch have different lengths and share a prompt.

Both follow the cache interface of transformers, so any causal LM with full attention can use them. The caller
passes a four-dimensional mask and explicit positions; the caches only decide where keys and values are stored.

Shapes: B rows, H key/value heads, T tokens, D head dimension, U distinct prompts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin


class _RowLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer of `RowCache`: buffers [B, H, capacity, D] written in place at each row's own length."""

    def __init__(self, cache: RowCache) -> None:
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, heads, _, width = key_states.shape
        self.keys = key_states.new_zeros((rows, heads, self.cache.capacity, width))
        self.values = value_states.new_zeros((rows, heads, self.cache.capacity, value_states.shape[-1]))
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        keys, values = self.keys, self.values
        assert keys is not None
        assert values is not None
        rows, slots, visible = self.cache.rows, self.cache.slots, self.cache.visible
        keys[rows, :, slots] = key_states.transpose(1, 2)
        values[rows, :, slots] = value_states.transpose(1, 2)
        return keys[:, :, :visible], values[:, :, :visible]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.visible, 0

    def get_seq_length(self) -> int:
        return self.cache.visible

    def get_max_length(self) -> int:
        return -1


class RowCache(Cache):  # type: ignore[misc]
    """Keys and values of B sequences of different lengths, without gaps.

    A forward pass over a right-padded chunk is `advance(chunk_lengths, width)`, then the model's forward with the
    mask and positions that `advance` returned, then `commit()`. Padding writes beyond a row's length; nothing
    attends there, and the row's next chunk overwrites it.

    Rows may begin with a prefix that others share (`after`); its keys and values are then kept once, outside the
    rows, and `attention.py` attends to them.

    Attributes:
        lengths: of the rows' own tokens [B], their prefixes not counted.
        prefixes: for each layer, (rows [n], keys [H, P, D], values [H, P, D]) of every prefix; empty without.
    """

    def __init__(self, layers: int, rows: int, device: torch.device, capacity: int = 256) -> None:
        self.capacity = capacity
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.offsets = torch.zeros(rows, dtype=torch.long, device=device)  # length of each row's prefix
        self.prefixes: list[list[tuple[Tensor, Tensor, Tensor]]] = []
        self.visible = 0
        super().__init__(layers=[_RowLayer(self) for _ in range(layers)])

    def advance(self, chunk_lengths: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Make room for chunks of `chunk_lengths` [B] tokens padded to `width`.

        Returns:
            mask [B, 1, width, visible], True where a query may attend, and positions [B, width]: of padding the row's
            last one, as beyond it a model may have none.
        """
        slots = self.lengths[:, None] + torch.arange(width, device=self.lengths.device)
        self.visible = int(self.lengths.max()) + width
        self._grow(self.visible)
        self.rows = torch.arange(len(slots), device=slots.device)[:, None]
        self.slots = slots
        mask = torch.arange(self.visible, device=slots.device) <= slots[:, None, :, None]
        self._next_lengths = self.lengths + chunk_lengths
        last = (self._next_lengths - 1).clamp(min=0)
        return mask, torch.minimum(slots, last[:, None]) + self.offsets[:, None]

    def commit(self) -> None:
        """Count the chunk of the last `advance` as read."""
        self.lengths = self._next_lengths

    def take(self, rows: Tensor) -> RowCache:
        """A new cache whose row i is a copy of this one's row `rows[i]`."""
        other = RowCache(len(self.layers), len(rows), self.lengths.device, self.capacity)
        other.lengths, other.offsets = self.lengths[rows], self.offsets[rows]
        other.prefixes = [
            [(places, keys, values) for old, keys, values in layer if len(places := _where(rows, old))]
            for layer in self.prefixes
        ]
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            if mine.is_initialized:
                theirs.keys, theirs.values = mine.keys[rows], mine.values[rows]
                theirs.is_initialized = True
        return other

    def after(self, prefix_of: Tensor) -> RowCache:
        """Empty rows, row i of which begins with this cache's row `prefix_of[i]`, shared and not copied."""
        other = RowCache(len(self.layers), len(prefix_of), self.lengths.device, self.capacity)
        other.offsets = self.lengths[prefix_of]
        for layer in self.layers:
            shared = []
            for row, length in enumerate(self.lengths.tolist()):
                if length:
                    places = (prefix_of == row).nonzero()[:, 0]
                    shared.append((places, layer.keys[row, :, :length], layer.values[row, :, :length]))
            other.prefixes.append(shared)
        return other

    def _grow(self, needed: int) -> None:
        if needed <= self.capacity:
            return
        extra = max(needed, self.capacity * 3 // 2) - self.capacity
        self.capacity += extra
        for layer in self.layers:
            if layer.is_initialized:
                layer.keys = torch.nn.functional.pad(layer.keys, (0, 0, 0, extra))
                layer.values = torch.nn.functional.pad(layer.values, (0, 0, 0, extra))


def _where(rows: Tensor, wanted: Tensor) -> Tensor:
    """The places in `rows` whose value is among `wanted`."""
    return torch.isin(rows, wanted).nonzero()[:, 0]


class _PrefixLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer of `PrefixCache`: first collects the prompts' keys and values, then puts them before others'."""

    def __init__(self, cache: PrefixCache) -> None:
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values, self.is_initialized = key_states, value_states, True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        rows = self.cache.rows
        if rows is None:
            self.lazy_initialization(key_states, value_states)
            return key_states, value_states
        assert self.keys is not None
        assert self.values is not None
        keys = torch.cat([self.keys.index_select(0, rows), key_states], dim=2)
        values = torch.cat([self.values.index_select(0, rows), value_states], dim=2)
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return 0 if self.keys is None else int(self.keys.shape[2])

    def get_max_length(self) -> int:
        return -1


class PrefixCache(Cache):  # type: ignore[misc]
    """Prompts computed once, with gradient, for all the continuations that share them.

    The first forward fills it with U prompts; after `share(rows)` the next forward runs N continuations, row i
    after prompt `rows[i]`, and gradients flow back through the shared keys and values.
    """

    def __init__(self, layers: int) -> None:
        self.rows: Tensor | None = None
        super().__init__(layers=[_PrefixLayer(self) for _ in range(layers)])

    def share(self, rows: Tensor) -> None:
        self.rows = rows
