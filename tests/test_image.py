"""Text as pictures: nothing is lost, nothing depends on what was drawn before, and the pixels stay what they are."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, PngImagePlugin, features

from imprint.context.image import SMALLEST, ImageConfig, Renderer, known
from imprint.context.layout import TAB, rows
from imprint.errors import RecipeError

GOLDEN = Path(__file__).parent / "golden"
HISTORY = (
    "[Observation]: You are in the middle of a room. Looking quickly around you, you see a cabinet 4, a countertop 1.\n"
    "[Action]: go to cabinet 4\n"
    "[Observation]: On the cabinet 4, you see nothing.\n"
    "\n"
    "Zoë’s café — 5 °C, naïve;\ttab, 中 and \x07."
)
PAGE = ImageConfig(width=560, font_size=12, marks={"<search>": (0, 0, 255), "</search>": (0, 0, 255)})
PICTURES = {
    "household": (ImageConfig(), HISTORY, 1.0),
    "household-half": (ImageConfig(), HISTORY, 2.0),
    "search": (PAGE, "<search>who wrote the Ballad of Orrin Vale</search>\nDoc 1: " + "Orrin Vale " * 12, 1.0),
    "blank": (ImageConfig(), "", 1.0),
}
# Any character, and many of those that matter here.
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from(" \t\n[]abcé中\u0301\u200b\x00\x1b")), max_size=300)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_those_that_were_looked_at(name: str) -> None:
    """`python tests/test_image.py` draws them anew, to be looked at before they are committed."""
    config, text, factor = PICTURES[name]
    drawn, kept = Renderer(config).picture(text, factor), Image.open(GOLDEN / f"{name}.png")
    assert drawn.size == kept.size and drawn.mode == kept.mode == "RGB"
    difference = np.asarray(ImageChops.difference(drawn, kept))
    if kept.info["freetype"] == features.version("freetype2"):
        assert not difference.any()
    else:  # another version of the rasteriser may shade edges otherwise
        assert difference.mean() < 4


@given(TEXTS.map(lambda text: text.replace("\n", " ")), st.integers(1, 80))
def test_no_character_is_lost(line: str, width: int) -> None:
    found = list(rows(line, width, {}, known))
    assert found and all(len(row.text) == len(row.colours) <= width for row in found)
    assert not [row for row in found[:-1] if not row.text]
    shown = "".join(row.text for row in found)
    numbers = re.sub(r"<U\+([0-9A-F]{4,6})>", lambda match: chr(int(match[1], 16)), shown)
    expected = re.sub(r"<U\+([0-9A-F]{4,6})>", lambda match: chr(int(match[1], 16)), unicodedata.normalize("NFC", line))
    assert re.sub(r"\s", "", numbers) == re.sub(r"\s", "", expected)


@given(st.lists(st.from_regex(r"[a-z]{1,12}", fullmatch=True), max_size=20), st.integers(12, 40))
def test_words_that_fit_are_not_cut(words: list[str], width: int) -> None:
    assert " ".join(row.text for row in rows(" ".join(words), width, {}, known)).split() == words


def test_tabs_marks_and_numbers() -> None:
    (row,) = rows("a\tb\u0301 [X] \x1b", 40, {"[X]": (1, 2, 3), "[X": (9, 9, 9)}, known)
    assert row.text == "a" + " " * (TAB - 1) + "b<U+0301> [X] <U+001B>"
    assert row.colours[13:18] == (None, (1, 2, 3), (1, 2, 3), (1, 2, 3), None)


def test_a_mark_that_is_cut_keeps_its_colour() -> None:
    found = list(rows("ab[Action]", 5, {"[Action]": (255, 0, 0)}, known))
    assert [row.text for row in found] == ["ab[Ac", "tion]"]
    assert [row.colours.count(None) for row in found] == [2, 0]


@settings(max_examples=60)
@given(st.lists(TEXTS, min_size=1, max_size=4), st.floats(1.0, 5.0))
def test_any_text_is_drawn_and_the_cache_changes_nothing(texts: list[str], factor: float) -> None:
    warm, tight = Renderer(), Renderer(cache_bytes=1)
    for text in texts:
        alone = Renderer().picture(text, factor)
        for other in (warm, tight):
            assert np.array_equal(np.asarray(alone), np.asarray(other.picture(text, factor)))
        pad = 2 * warm.config.padding
        assert min(alone.size) >= SMALLEST + pad
        full = warm.row_height * sum(len(warm.layout(line)) for line in text.split("\n"))
        wanted = max(SMALLEST, round(full / factor**0.5)) + pad
        assert not text or alone.size[1] == wanted


def test_every_character_that_the_font_has_leaves_ink() -> None:
    renderer = Renderer()
    for character in "abcxyzABCXYZ0189.,:;!?()[]{}<>éßжλ—’":
        assert np.asarray(renderer.picture(character)).min() < 160, character


def test_marks_are_coloured_and_the_rest_is_grey() -> None:
    pixels = np.asarray(Renderer().picture("[Action]: go")).astype(int)
    red = (pixels[..., 0] - pixels[..., 1]) > 100
    plain = np.asarray(Renderer(ImageConfig(marks={})).picture("[Action]: go")).astype(int)
    assert red.any() and np.all(plain == plain[..., :1])
    columns = np.nonzero(red.any(axis=0))[0]
    assert columns.max() < 5 + len("[Action]") * 6


def test_compression_divides_the_area_and_the_padding_is_added_after_it() -> None:
    renderer = Renderer()
    text = "\n".join(f"line {number} of a long history" for number in range(40))
    whole, quarter = renderer.picture(text), renderer.picture(text, 4.0)
    assert [(side - 10) / 2 for side in whole.size] == [side - 10 for side in quarter.size]


def test_what_is_too_large_is_scaled_down_whole() -> None:
    renderer = Renderer(ImageConfig(max_pixels=60_000))
    large = renderer.picture("a line\n" * 400)
    assert 50_000 < large.size[0] * large.size[1] <= 60_000


@settings(max_examples=60)
@given(
    width=st.integers(28, 200),
    padding=st.integers(0, 60),
    size=st.integers(6, 20),
    limit=st.integers(28 * 28, 150_000),
    rows=st.integers(1, 400),
    factor=st.floats(1.0, 5.0),
)
def test_every_picture_keeps_the_limits_with_its_padding_or_the_settings_are_refused(
    width: int, padding: int, size: int, limit: int, rows: int, factor: float
) -> None:
    try:
        renderer = Renderer(ImageConfig(width=width, padding=padding, font_size=size, max_pixels=limit))
    except RecipeError as told:
        assert told.key == "context.image.max_pixels"
        return
    high, wide = renderer.pixels("\n".join("ab" * (rows % 2) for _ in range(rows)), factor).shape[:2]
    assert high * wide <= limit and high <= 200 * wide
    assert min(high, wide) > 2 * padding


def test_a_picture_that_cannot_be_read_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    renderer = Renderer(ImageConfig(max_pixels=60_000))
    renderer.pixels("a line\n" * 20, 5.0)  # the policy's own choice
    assert caplog.messages == []
    for _ in range(2):
        renderer.pixels("a line\n" * 400)
    (told,) = caplog.messages
    assert told.startswith("context.image.max_pixels: a picture of 401 rows is squeezed until a row is 2.1 pixels high")
    Renderer(ImageConfig(width=28, max_pixels=10**9)).pixels("a line\n" * 3000)
    assert caplog.messages[1].startswith("context.image.width: ")


def test_a_picture_is_never_too_slender_for_a_processor() -> None:
    pixels = Renderer(ImageConfig(width=28)).pixels("a line\n" * 500)
    assert len(pixels) <= 200 * pixels.shape[1]  # Qwen-VL's refuses more, whatever the size


def test_the_cache_holds_what_it_may() -> None:
    renderer = Renderer(cache_bytes=100_000)
    for number in range(200):
        renderer.line(f"line {number}")
    assert 0 < renderer.held_bytes <= 100_000
    assert not renderer.line("line 199").flags.writeable


@pytest.mark.parametrize(
    "config",
    [
        {"width": 30, "font_size": 64},
        {"marks": {"[X]": (300, 0, 0)}},
        {"max_pixels": 2_000},
        {"padding": 256, "max_pixels": 200_000},
    ],
)
def test_settings_that_draw_nothing_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(RecipeError) as told:
        Renderer(ImageConfig.model_validate(config))
    assert told.value.hint and (told.value.key or "").startswith("context.image.")


def test_a_picture_is_not_enlarged() -> None:
    for factor in (0.5, float("nan")):
        with pytest.raises(ValueError, match="enlarged"):
            Renderer().picture("a", factor)


if __name__ == "__main__":
    for name, (config, text, factor) in PICTURES.items():
        info = PngImagePlugin.PngInfo()
        info.add_text("freetype", str(features.version("freetype2")))
        Renderer(config).picture(text, factor).save(GOLDEN / f"{name}.png", pnginfo=info, optimize=True)
