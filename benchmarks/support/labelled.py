"""Labelled skills on the disk: which sets there are, and which of their skills are malicious."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imprint.security.scan import scan_units

ORDINARY = "ordinary"
_BENIGN = re.compile(r"^(?:benign|safe|clean)$|^(?:safe|clean)[-_]|[-_](?:safe|clean)$")


@dataclass(frozen=True, slots=True)
class Specimen:
    """One skill with its label.

    Attributes:
        set: the collection it is of, e.g. `skillfortify/mcp`.
        kind: the class of attack, as far as the folder's name tells.
    """

    folder: Path
    set: str
    malicious: bool
    kind: str


def specimens(root: Path) -> Iterator[Specimen]:
    """Everything below `root`, whose folders are sets: `ordinary/`, and others with labels in their paths."""
    for top in sorted(path for path in root.iterdir() if path.is_dir()):
        for folder in scan_units(top):
            parts = folder.relative_to(top).parts
            name = top.name
            if top.name == ORDINARY:
                yield Specimen(folder, ORDINARY, False, "")
                continue
            if "skills" in parts and top.name == "skillfortify":
                name = f"{top.name}/{parts[parts.index('skills') + 1]}"
            yield Specimen(folder, name, _malicious(folder, parts), _kind(parts))


def _malicious(folder: Path, parts: tuple[str, ...]) -> bool:
    expected = folder / "_expected.json"
    if expected.is_file():
        said = json.loads(expected.read_text(encoding="utf-8"))
        if "expected_safe" in said:
            return not said["expected_safe"]
    if "malicious" in parts:
        return True
    return not any(_BENIGN.search(part) for part in parts)


def _kind(parts: tuple[str, ...]) -> str:
    named = next((part for part in parts if "_mal_" in part or "_ben_" in part), "")
    return named.split("_")[2] if named else parts[-2] if len(parts) > 1 else parts[-1]
