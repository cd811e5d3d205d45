"""The text in archives, Office files and PDFs, within bounds that no bomb gets past; only in memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

MAX_MEMBERS = 500
MAX_MEMBER_BYTES = 2_000_000
MAX_UNPACKED = 16_000_000
MAX_MEMORY = 256_000_000  # an xz file may ask for gigabytes
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"%PDF")
_OFFICE = re.compile(r"^(?:word|xl|ppt)/.*\.xml$|^content\.xml$|^docProps/.*\.xml$|^customXml/.*\.xml$|^meta\.xml$")
_TOO_MUCH = "holds more than a scan unpacks"
Member = tuple[str, bytes, str]  # name, content, and why it was not read


def is_archive(data: bytes) -> bool:
    """Whether the bytes are of a kind that `archive_members` opens."""
    return data.startswith(_ARCHIVES) or data[257:262] == b"ustar"


def archive_members(data: bytes) -> Iterator[Member]:
    """The members of an archive; a damaged one ends in a member that is marked as damaged."""
    try:
        if data.startswith(b"PK"):
            yield from _zip(data)
        elif data.startswith(b"%PDF"):
            yield "text", _pdf(data), ""
        elif data[257:262] == b"ustar":
            yield from _tar(data)
        else:
            yield from _compressed(data)
    except (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile, tarfile.TarError, zlib.error,
            lzma.LZMAError, RuntimeError, NotImplementedError, MemoryError, RecursionError) as error:  # fmt: skip
        yield "", b"", f"is a damaged or locked archive: {type(error).__name__}"


def _zip(data: bytes) -> Iterator[Member]:
    left = MAX_UNPACKED
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for count, info in enumerate(archive.infolist()):
            if count >= MAX_MEMBERS or left <= 0:
                yield "", b"", _TOO_MUCH
                return
            if info.is_dir():
                continue
            with archive.open(info) as file:
                content = file.read(min(MAX_MEMBER_BYTES, left) + 1)
            left -= len(content)
            if len(content) > MAX_MEMBER_BYTES:
                yield info.filename, b"", _TOO_MUCH
            elif _OFFICE.search(info.filename):
                yield f"{info.filename}.txt", _xml_text(content), ""
            else:
                yield info.filename, content, ""


def _tar(data: bytes) -> Iterator[Member]:
    left = MAX_UNPACKED
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for count, info in enumerate(archive):
            if count >= MAX_MEMBERS or left <= 0:
                yield "", b"", _TOO_MUCH
                return
            file = archive.extractfile(info) if info.isfile() else None
            if file is None:
                if info.issym() or info.islnk():
                    out = info.linkname.startswith("/") or ".." in info.linkname.split("/")
                    yield info.name, b"", "is a link that leads out of the archive" if out else ""
                continue
            content = file.read(min(MAX_MEMBER_BYTES, left) + 1)
            left -= len(content)
            yield (info.name, b"", _TOO_MUCH) if len(content) > MAX_MEMBER_BYTES else (info.name, content, "")


def _compressed(data: bytes) -> Iterator[Member]:
    if data.startswith(b"\x1f\x8b"):
        content = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_UNPACKED + 1)
    elif data.startswith(b"BZh"):
        content = bz2.BZ2Decompressor().decompress(data, MAX_UNPACKED + 1)
    else:
        content = lzma.LZMADecompressor(memlimit=MAX_MEMORY).decompress(data, MAX_UNPACKED + 1)
    if len(content) > MAX_UNPACKED:
        yield "", b"", _TOO_MUCH
    elif content[257:262] == b"ustar":
        yield from _tar(content)
    else:
        yield "content", content, ""


def _xml_text(data: bytes) -> bytes:
    """The words of an Office part: a paragraph a line. No XML parser, so that no entity can unfold."""
    text = data.decode("utf-8", "replace")
    text = re.sub(r"</(?:w:p|a:p|text:p|text:h|row|si)>|<w:br/>", "\n", text)
    text = re.sub(r"<[^<>]{0,2000}>", "", text)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text.encode("utf-8")


def _pdf(data: bytes) -> bytes:
    """The text that a PDF shows, as far as it is plain or deflated; fonts with their own codes stay unread."""
    lines, left = [], MAX_UNPACKED
    for count, found in enumerate(re.finditer(rb"stream\r?\n", data)):
        if count > MAX_MEMBERS or left <= 0:
            break
        end = data.find(b"endstream", found.end())
        raw = data[found.end() : end if end >= 0 else None]
        try:
            content = zlib.decompressobj().decompress(raw, min(MAX_MEMBER_BYTES, left))
        except zlib.error:
            content = raw[:MAX_MEMBER_BYTES]
        left -= len(content)
        if b"Tj" in content or b"TJ" in content:
            lines += [_pdf_line(block) for block in re.findall(rb"BT(.{0,20000}?)ET", content, re.DOTALL)]
    lines += [match[:2000] for match in re.findall(rb"/(?:JS|JavaScript|URI|Launch)\s*\(([^)]{1,2000})\)", data)]
    return b"\n".join(lines)


def _pdf_line(block: bytes) -> bytes:
    return b"".join(re.findall(rb"\(((?:\\.|[^\\()]){0,2000})\)", block))
