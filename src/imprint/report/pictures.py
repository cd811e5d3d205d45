"""The pictures that a policy saw, drawn again for a page: from the text and factor that a record keeps."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import cached_property
from io import BytesIO
from typing import Any

from imprint.context.config import ContextConfig
from imprint.context.image import Renderer

MAX_PICTURES = 240  # of a page: at some kilobytes each, a megabyte or two


class Gallery:
    """Draws pictures as PNG files within the page, until there are enough.

    Args:
        recipe: of the run; a picture is drawn as the policy saw it.
    """

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        self._recipe = recipe
        self._left = MAX_PICTURES

    @cached_property
    def _renderer(self) -> Renderer:
        """What drew them; most runs have no pictures, and need none."""
        return Renderer(ContextConfig.model_validate(self._recipe.get("context") or {}).image)

    def shown(self, view: Mapping[str, Any]) -> list[str]:
        """The pictures of a turn as `data:` addresses; none where it had none, or the page has enough."""
        pictures = list(view.get("pictures") or [])[: self._left]
        self._left -= len(pictures)
        return [self._png(str(one.get("text", "")), float(one.get("factor", 1.0))) for one in pictures]

    def _png(self, text: str, factor: float) -> str:
        file = BytesIO()
        picture = self._renderer.picture(text, max(1.0, factor))
        picture.quantize(32).save(file, "PNG", optimize=True)  # ink, paper, and the shades between
        return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
