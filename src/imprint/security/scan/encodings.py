"""Text that an encoding hides: base64, hex, character codes, percent signs, rot13."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterator
from urllib.parse import unquote

MAX_LAYERS = 100
MIN_LETTERS = 0.55
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{20,}={0,2}(?![A-Za-z0-9+/=_-])")
_HEX = re.compile(r"(?<![0-9a-fA-F])(?:[0-9a-fA-F]{2}){12,}(?![0-9a-fA-F])")
_ESCAPES = re.compile(r"(?:\\{1,2}x[0-9a-fA-F]{2}){6,}")
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2}){8,}")
_CODES = re.compile(r"(?:\b\d{2,3}\s*,\s*){10,}\d{2,3}\b")
_ROT13 = re.compile(r"(?i)['\"]([^'\"\n]{12,2000})['\"]\s*,\s*['\"]rot[_-]?13")


def decoded_text(text: str) -> str:
    """Base64 or hex as text; empty if it is neither, or not text."""
    compact = re.sub(r"\s+", "", text)
    if len(compact) < 8 or not re.fullmatch(r"[A-Za-z0-9+/_-]+={0,2}", compact):
        return ""
    try:
        if re.fullmatch(r"(?:[0-9a-fA-F]{2})+", compact):
            raw = bytes.fromhex(compact)
        else:
            plain = compact.rstrip("=").replace("-", "+").replace("_", "/")
            raw = base64.b64decode(plain + "=" * (-len(plain) % 4))
    except (ValueError, binascii.Error):
        return ""
    return _readable(raw)


def layers(text: str) -> Iterator[tuple[int, str]]:
    """Each encoded run of a text that decodes to readable text: its index, and the decoded text."""
    count = 0
    for mark, pattern, decode in _KINDS:
        if mark not in text:
            continue
        for found in pattern.finditer(text):
            decoded = decode(found)
            if decoded and _is_readable(decoded):
                yield found.start(), decoded
                count += 1
                if count >= MAX_LAYERS:
                    return


def unescaped(text: str) -> str:
    """`\\x68` and `\\150` as `printf` prints them."""

    def character(found: re.Match[str]) -> str:
        return chr(int(found.group(1), 16) if found.group(1) else int(found.group(2), 8) & 0xFF)

    return re.sub(r"\\(?:x([0-9a-fA-F]{1,2})|0?([0-7]{3}))", character, text)


def _readable(raw: bytes) -> str:
    try:
        found = raw.decode("utf-8")
    except UnicodeDecodeError:
        if len(raw) < 4 or b"\0" not in raw:
            return ""
        try:
            found = raw.decode("utf-16-le")  # as PowerShell wants it
        except UnicodeDecodeError:
            return ""
    return found if found and sum(c.isprintable() or c in "\n\t\r" for c in found) > 0.95 * len(found) else ""


def _is_readable(text: str) -> bool:
    """Whether it is words, an address or code, and not a hash or a key that happens to be printable."""
    letters = sum(c.isascii() and (c.isalpha() or c in " /._-") for c in text)
    return len(text) >= 8 and letters >= MIN_LETTERS * len(text) and bool(re.search(r"[ /.;({]", text))


def _whole(found: re.Match[str]) -> str:
    run = found.group()
    if len(run) > 400 and not decoded_text(run[:64]):
        return ""  # an image, most likely
    return decoded_text(run)


def _from_escapes(found: re.Match[str]) -> str:
    return _readable(bytes(int(part, 16) for part in re.findall(r"x([0-9a-fA-F]{2})", found.group())))


def _from_percent(found: re.Match[str]) -> str:
    return unquote(found.group())


def _from_codes(found: re.Match[str]) -> str:
    numbers = [int(part) for part in re.findall(r"\d+", found.group())]
    return "".join(map(chr, numbers)) if all(9 <= number < 127 for number in numbers) else ""


def _from_rot13(found: re.Match[str]) -> str:
    return codecs.decode(found.group(1), "rot13")


_KINDS = (  # what a text must hold for it to be worth looking, the pattern, and how to read it
    ("", _BASE64, _whole),
    ("", _HEX, _whole),
    ("\\x", _ESCAPES, _from_escapes),
    ("%", _PERCENT, _from_percent),
    (",", _CODES, _from_codes),
    ("13", _ROT13, _from_rot13),
)
