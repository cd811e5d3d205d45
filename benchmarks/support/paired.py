"""The paired measure: the same clean skill with and without one malicious instruction."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

INSERTIONS = Path(__file__).with_name("insertions.yaml")
MAX_BYTES = 1_000_000


def insertions(part: str) -> list[dict[str, Any]]:
    """The instructions of a part (`dev`, `held`, or `all`)."""
    loaded: list[dict[str, Any]] = yaml.safe_load(INSERTIONS.read_text(encoding="utf-8"))
    return [entry for entry in loaded if part in ("all", entry["part"])]


def infected(
    clean: Sequence[Path], instructions: Sequence[dict[str, Any]], each: int, work: Path, seed: int = 0
) -> Iterator[tuple[dict[str, Any], Path]]:
    """Every instruction in `each` clean skills, at a place drawn by chance; a folder is valid until the next."""
    chance = random.Random(seed)
    usable = [folder for folder in clean if _page(folder) is not None and _size(folder) <= MAX_BYTES]
    for instruction in instructions:
        for folder in chance.sample(usable, min(each, len(usable))):
            copy = work / folder.name
            shutil.copytree(folder, copy, symlinks=True)
            page = _page(copy)
            assert page is not None
            text = page.read_text(encoding="utf-8", errors="replace")
            page.write_text(insert(text, hidden(instruction), chance), encoding="utf-8")
            yield instruction, copy
            shutil.rmtree(copy)


def insert(text: str, instruction: str, chance: random.Random) -> str:
    """The text with the instruction as a paragraph of its own, after the front matter and outside of code."""
    lines = text.split("\n")
    places, fenced, begun = [len(lines)], False, 0
    for number, line in enumerate(lines):
        if line.rstrip() == "---" and begun < 2:
            begun += 1
        elif re.match(r"\s*(?:```|~~~)", line):
            fenced = not fenced
        elif begun >= 2 and not fenced and not line.strip():
            places.append(number)
    place = chance.choice(places)
    return "\n".join([*lines[:place], "", instruction, "", *lines[place:]])


def hidden(instruction: dict[str, Any]) -> str:
    """The instruction as it is written into the page."""
    text = str(instruction["text"])
    if instruction.get("hide") == "tags":
        return "Notes." + "".join(chr(0xE0000 + ord(c)) for c in text)
    if instruction.get("hide") == "zero-width":
        return re.sub(r"(\w)(\w)", "\\1\u200b\\2", text)
    return text


def _page(folder: Path) -> Path | None:
    return next((path for path in folder.iterdir() if path.name.lower() == "skill.md"), None)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
