"""What the build adds to the metadata: the README, with links that work on a package index too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)(\[[^\]]*\])\((?![a-z]+:|#)([^)\s]+)\)")


class ReadmeHook(MetadataHookInterface):
    """Relative links and images lead to the repository that `project.urls` names."""

    def update(self, metadata: dict[str, Any]) -> None:
        repository = metadata["urls"]["Repository"]
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": with_absolute_links(text, repository)}


def with_absolute_links(text: str, repository: str) -> str:
    """The Markdown `text` with its relative links in the repository's `main`; images in their raw form."""

    def absolute(link: re.Match[str]) -> str:
        image, words, path = link.groups()
        return f"{image}{words}({repository}/{'raw' if image else 'blob'}/main/{path})"

    return LINK.sub(absolute, text)
