"""What can be put on a model and taken off again: an adapter, a graft, a mask, a delta."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol


class Patch(Protocol):
    """A change of a model's weights or forward pass that composes with others and leaves no trace."""

    def applied(self, model: Any) -> AbstractContextManager[None]:
        """The model with the change, as long as the context lasts."""
        ...
