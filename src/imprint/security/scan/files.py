"""All files of a skill, read within bounds; links out of it are never followed, and nothing is unpacked to the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imprint.security.scan.archives import archive_members, is_archive

MAX_FILES = 3_000
MAX_FILE_BYTES = 4_000_000
MAX_TOTAL_BYTES = 40_000_000
MAX_DEPTH = 30
HEAD = 4_096  # of what is refused, for signatures
SKIPPED_FOLDERS = frozenset({".git"})

_CODE_MAGIC = (
    (b"\x7fELF", "a Linux program"),
    (b"MZ", "a Windows program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xce\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "Java bytecode or a macOS program"),
    (b"\x00asm", "a WebAssembly program"),
    (b"dex\n", "Android bytecode"),
    (b"\x1bLua", "Lua bytecode"),
    (b"!<arch>\n", "compiled code"),
)
_CODE_SUFFIXES = (
    ".pyc",
    ".pyo",
    ".pyd",
    ".so",
    ".dll",
    ".dylib",
    ".exe",
    ".class",
    ".jar",
    ".node",
    ".bin",
    ".wasm",
    ".o",
    ".a",
)
# Data that cannot act by itself and holds no text worth reading.
_MEDIA_MAGIC = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"\x00\x01\x00\x00\x00", b"OTTO", b"wOFF", b"wOF2", b"true\x00",
    b"ttcf", b"ID3", b"OggS", b"fLaC", b"\x00\x00\x01\x00", b"BM", b"II*\x00", b"MM\x00*", b"8BPS", b"\x1aE\xdf\xa3",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SkillFile:
    """One file, or one member of an archive (`notes.zip!a/b.txt`).

    Attributes:
        data: its bytes; only the head of what is refused.
        refused: why its content was not read, if it was not, e.g. that it is a compiled program.
        compiled: it is refused because it is code that cannot be read.
    """

    name: str
    data: bytes = b""
    refused: str = ""
    compiled: bool = False


def read_skill(folder: Path) -> Iterator[SkillFile]:
    """Every file below `folder`, in the order of their names, as far as the bounds go."""
    total = count = 0
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        count += 1
        if count > MAX_FILES or total > MAX_TOTAL_BYTES:
            yield SkillFile(name, refused="the skill holds more than a scan reads")
            return
        if path.is_symlink():
            if not _leads_inside(path, folder):
                yield SkillFile(name, refused="is a link that leads out of the skill")
            continue
        try:
            if not path.is_file():
                yield SkillFile(name, refused="is not a plain file")
                continue
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            yield SkillFile(name, refused=f"cannot be read: {error.strerror}")
            continue
        total += len(data)
        yield from classify(name, data)


def classify(name: str, data: bytes, depth: int = 0) -> Iterator[SkillFile]:
    """A file's content: itself if it is text, its members if it is an archive, a refusal if it is compiled."""
    compiled = _compiled(name, data)
    if compiled:
        yield SkillFile(name, data[:HEAD], refused=compiled, compiled=True)
    elif is_archive(data):
        yield SkillFile(name, refused="")
        for member, content, problem in archive_members(data):
            inner = f"{name}!{member}"
            if problem:
                yield SkillFile(inner, refused=problem)
            elif depth < 3:
                yield from classify(inner, content, depth + 1)
            else:
                yield SkillFile(inner, refused="is an archive in an archive in an archive")
    elif data.startswith(_MEDIA_MAGIC):
        yield SkillFile(name)
    elif len(data) > MAX_FILE_BYTES:
        yield SkillFile(name, data[:MAX_FILE_BYTES], refused=f"is over {MAX_FILE_BYTES:,} bytes; the rest was not read")
    else:
        yield SkillFile(name, data)


def text_of(data: bytes) -> str | None:
    """The text in bytes; None where there is none."""
    if not data:
        return ""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    head = data[:4096]
    if b"\0" in head:
        return None
    text = data.decode("utf-8-sig", "replace")
    if text.count("\ufffd") > 0.2 * len(text) + 8:
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _compiled(name: str, data: bytes) -> str:
    if name.endswith((".pyc", ".pyo")):
        return "is Python bytecode"
    for magic, what in _CODE_MAGIC:
        if data.startswith(magic) and (magic != b"MZ" or b"\0" in data[:64]):
            return f"is {what}"
    if name.lower().endswith(_CODE_SUFFIXES) and b"\0" in data[:4096] and not is_archive(data):
        return "is compiled code"
    return ""


def _walk(folder: Path) -> Iterator[Path]:
    waiting = [(folder, 0)]
    while waiting:
        here, depth = waiting.pop()
        try:
            with os.scandir(here) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in SKIPPED_FOLDERS and depth < MAX_DEPTH:
                    waiting.append((Path(entry.path), depth + 1))
            else:
                yield Path(entry.path)


def _leads_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False
