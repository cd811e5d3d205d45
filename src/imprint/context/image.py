"""Text as a picture: what a policy with a vision encoder reads in place of tokens.

Monospace, with a font that comes with the package, so that nothing depends on the machine's own. A line that was drawn
once is kept: the pictures of an episode's turns, and of the episodes of a group, share nearly all of theirs.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from functools import lru_cache
from importlib import resources
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imprint.context.config import SMALLEST, ImageConfig
from imprint.context.layout import Row, rows
from imprint.errors import RecipeError
from imprint.types import Pixels

FONT = "DejaVuSansMono.ttf"
CACHE_BYTES = 128 * 2**20
READABLE = 6.0  # pixels of a row's height, below which letters cannot be distinguished
SLENDEST = 200  # times as high as wide: the processors of the models refuse a picture beyond

_log = logging.getLogger(__name__)


class Renderer:
    """Draws text; the same text gives the same pixels, whatever was drawn before.

    Args:
        cache_bytes: of drawn lines that are kept, the last used ones.

    Raises:
        RecipeError: a colour is none, the width holds no character, or even the smallest picture is too large.
    """

    def __init__(self, config: ImageConfig | None = None, cache_bytes: int = CACHE_BYTES) -> None:
        self.config = config = config or ImageConfig()
        self.font = _font(config.font_size)
        self.cell_width = math.ceil(self.font.getlength("M"))
        self.row_height = math.ceil(config.font_size * config.line_spacing)
        self.columns = config.width // self.cell_width
        if self.columns < 1:
            raise RecipeError(
                f"{config.width} pixels hold no character of {self.cell_width}",
                key="context.image.width",
                hint="widen it, or take a smaller font_size",
            )
        for mark, colour in config.marks.items():
            if not all(0 <= part <= 255 for part in colour):
                raise RecipeError(
                    f"{colour} is no colour", key=f"context.image.marks.{mark}", hint="give three of 0-255"
                )
        self._check_least()
        self._warned = False
        self.cache_bytes = cache_bytes
        self._glyph = lru_cache(maxsize=20_000)(self._draw_glyph)
        self._lines: OrderedDict[str, Pixels] = OrderedDict()
        self._held = 0
        wide = config.width + 2 * config.padding
        self._margin = np.full((config.padding, wide, 3), 255, dtype=np.uint8)
        self._blank = np.full((SMALLEST, SMALLEST + 2 * config.padding, 3), 255, dtype=np.uint8)

    def pixels(self, text: str, factor: float = 1.0) -> Pixels:
        """`text` as a picture, each side scaled by 1/sqrt(factor): it then costs a `factor`-th of the tokens.

        Without text it is blank.

        Raises:
            ValueError: the factor is below 1.
        """
        if not factor >= 1.0:
            raise ValueError(f"a picture is not enlarged: {factor}")
        lines = [self.line(line) for line in text.split("\n")] if text else [self._blank]
        height = sum(len(line) for line in lines)
        fill = max(SMALLEST - height, -height % self.config.height_step)
        height += max(0, fill)
        width = lines[0].shape[1] - 2 * self.config.padding
        size = self._size(width, height, factor)
        self._warn_of_squeezing(width, height)
        if fill > 0:
            lines.append(np.full((fill, lines[0].shape[1], 3), 255, dtype=np.uint8))
        margin = self._margin[:, : lines[0].shape[1]]
        drawn = np.concatenate([margin, *lines, margin])
        pad, wanted = self.config.padding, (size[1] + 2 * self.config.padding, size[0] + 2 * self.config.padding)
        if drawn.shape[:2] == wanted:
            return drawn
        inner = Image.fromarray(drawn[pad : len(drawn) - pad, pad : drawn.shape[1] - pad])
        out = np.full((*wanted, 3), 255, dtype=np.uint8)
        out[pad : pad + size[1], pad : pad + size[0]] = np.asarray(inner.resize(size, Image.Resampling.LANCZOS))
        return out

    def picture(self, text: str, factor: float = 1.0) -> Image.Image:
        """The same as a picture of Pillow, to be kept in a file or looked at."""
        return Image.fromarray(self.pixels(text, factor))

    def line(self, text: str) -> Pixels:
        """The pixels of one line of text with what is left and right of it, not to be written to."""
        found = self._lines.get(text)
        if found is not None:
            self._lines.move_to_end(text)
            return found
        drawn = np.concatenate([self._draw_row(row) for row in self.layout(text)])
        drawn.flags.writeable = False
        self._lines[text] = drawn
        self._held += drawn.nbytes
        while self._held > self.cache_bytes and len(self._lines) > 1:
            _, oldest = self._lines.popitem(last=False)
            self._held -= oldest.nbytes
        return drawn

    @property
    def held_bytes(self) -> int:
        """The size of the lines that are kept."""
        return self._held

    def layout(self, line: str) -> list[Row]:
        """The rows in which a line is drawn."""
        return list(rows(line, self.columns, self.config.marks, known))

    def _draw_row(self, row: Row) -> Pixels:
        out = np.full((self.row_height, self.config.width + 2 * self.config.padding, 3), 255, dtype=np.uint8)
        if not row.text:
            return out
        ink = np.concatenate([self._glyph(character) for character in row.text], axis=1).astype(np.uint32)
        paint = np.zeros((len(row.text), 3), dtype=np.uint32)  # black, but for the marks
        for place, colour in enumerate(row.colours):
            if colour is not None:
                paint[place] = colour
        paint = np.repeat(paint, self.cell_width, axis=0)
        left = self.config.padding
        out[:, left : left + ink.shape[1]] = (255 * 255 - ink[:, :, None] * (255 - paint[None]) + 127) // 255
        return out

    def _draw_glyph(self, character: str) -> Pixels:
        """How much ink each pixel of a cell gets."""
        glyph = Image.new("L", (self.cell_width, self.row_height))
        above, below = self.font.getmetrics()
        baseline = (self.row_height + above - below) // 2
        ImageDraw.Draw(glyph).text((0, baseline), character, fill=255, font=self.font, anchor="ls")
        return np.asarray(glyph)

    def _check_least(self) -> None:
        config, pad = self.config, 2 * self.config.padding
        width, height = self._size(config.width, SMALLEST, 1.0)
        if self._row(SMALLEST, height) < READABLE or (width + pad) * (height + pad) > config.max_pixels:
            raise RecipeError(
                f"{config.max_pixels:,} pixels hold no readable row of {config.width} with {config.padding} around it",
                key="context.image.max_pixels",
                hint="raise it, or take a smaller width or padding",
            )

    def _row(self, before: int, after: int) -> float:
        """How high a row is once a picture is squeezed from one height to another."""
        return self.row_height * after / before

    def _warn_of_squeezing(self, width: int, height: int) -> None:
        """Report once that the limits, whatever the policy asks for, leave nothing to read."""
        if self._warned:
            return
        height, pad = max(SMALLEST, height), 2 * self.config.padding
        row = self._row(height, self._size(width, height, 1.0)[1])
        if row < READABLE:
            self._warned = True
            key = "max_pixels" if (width + pad) * (height + pad) > self.config.max_pixels else "width"
            _log.warning(
                "context.image.%s: a picture of %d rows is squeezed until a row is %.1f pixels high and cannot be "
                "read; raise it, show less, or set context.skills or context.history to text",
                *(key, height // self.row_height, row),
            )

    def _size(self, width: int, height: int, factor: float) -> tuple[int, int]:
        """Width and height without the padding: no smaller than a token, no larger or slenderer than allowed."""
        pad = 2 * self.config.padding
        width, height = (max(SMALLEST, round(side / math.sqrt(factor))) for side in (width, height))
        area = (width + pad) * (height + pad)
        if area > self.config.max_pixels:
            scale = math.sqrt(self.config.max_pixels / area)
            width, height = (max(1, math.floor((side + pad) * scale) - pad) for side in (width, height))
            height = min(height, self.config.max_pixels // (width + pad) - pad)  # where the width could not shrink more
        return width, min(height, SLENDEST * (width + pad) - pad)


def known(character: str) -> bool:
    """Whether the font has a character."""
    return ord(character) in _characters()


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    data = (resources.files("imprint.context") / "fonts" / FONT).read_bytes()
    # The plain layout engine is part of Pillow; the other one is there on some machines and not on others.
    return ImageFont.truetype(BytesIO(data), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    from fontTools.ttLib import TTFont

    with (resources.files("imprint.context") / "fonts" / FONT).open("rb") as file:
        table: dict[int, Any] = TTFont(file)["cmap"].getBestCmap()
    return frozenset(table)
