"""How a model is named in a recipe: `imprint-tiny`, a folder, or a name on the hub. Importing this loads no PyTorch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

TINY = "imprint-tiny"
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)  # `name` or `organisation/name`


def may_be_hub_name(text: str, folders: Sequence[Path] = (Path(),)) -> bool:
    """Whether a text that is no folder in `folders` may name a model on the hub: one word, or two with a slash between.

    `results/base` is a mistaken path where there is a folder `results`.
    """
    first, slash, _ = text.partition("/")
    return bool(_HUB.fullmatch(text)) and not (slash and any((folder / first).is_dir() for folder in folders))
