"""MkDocs hooks: links that leave docs/ work in the site as they do in the repository.

What the pages link to outside docs/ is part of the site, below `repository/`: a text file or notebook becomes a page, a
folder the list of its files, anything else is copied. The navigation is the list in docs/README.md.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
LINK = re.compile(r"^ *```.*?^ *```|(?<=\]\()(?P<target>[^)\s]+)(?=\))", re.DOTALL | re.MULTILINE)
NAV = re.compile(r"^## (?P<section>.+)$|\[(?P<title>[^\]]+)\]\((?P<page>[^).][^)]*\.md)\)", re.MULTILINE)
CODE = {".py": "python", ".json": "json", ".toml": "toml", ".txt": "text", ".yaml": "yaml"}
MOST = 200_000  # bytes of a text file that becomes a page

sources: dict[str, Path] = {}  # the page or file of the site that shows a path of the repository


def on_config(config: Any) -> Any:
    """The navigation: docs/README.md, then its sections."""
    nav: list[dict[str, Any]] = [{"Overview": "README.md"}]
    pages: list[dict[str, str]] = []
    for match in NAV.finditer((DOCS / "README.md").read_text(encoding="utf-8")):
        if match["section"]:
            nav.append({match["section"]: (pages := [])})
        else:
            pages.append({match["title"]: match["page"]})
    config.nav = nav
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add what the pages link to outside docs/, and what is linked from there."""
    sources.clear()
    pending = [DOCS / file.src_uri for file in files.documentation_pages()]
    while pending:
        page = pending.pop()
        text = page.read_text(encoding="utf-8")
        for target in filter(None, (match["target"] for match in LINK.finditer(text))):
            path = _path(page, target)
            if path is None or not path.exists() or DOCS in path.parents or _uri(path) in sources:
                continue
            sources[_uri(path)] = path
            files.append(_file(path, config))
            if path.suffix == ".md":
                pending.append(path)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point the links of a page at the site's own files."""
    source = sources.get(page.file.src_uri, DOCS / page.file.src_uri)

    def rewritten(match: re.Match[str]) -> str:
        path = _path(source, match["target"]) if match["target"] else None
        if path is None or not path.exists():
            return match[0]
        anchor = match["target"].partition("#")[2]
        return os.path.relpath(_uri(path), Path(page.file.src_uri).parent) + (f"#{anchor}" if anchor else "")

    return LINK.sub(rewritten, markdown)


def _path(page: Path, target: str) -> Path | None:
    """The path that a relative link of `page` means; None if the link is no path."""
    link = target.partition("#")[0]
    return None if not link or re.match(r"[a-z]+:", link) else (page.parent / link).resolve()


def _uri(path: Path) -> str:
    """Where the site has a path of the repository, before MkDocs makes pages of Markdown."""
    if DOCS in path.parents:
        return path.relative_to(DOCS).as_posix()
    uri = f"repository/{path.relative_to(ROOT).as_posix()}"
    return f"{uri}/index.md" if path.is_dir() else f"{uri}.md" if _is_code(path) else uri


def _is_code(path: Path) -> bool:
    return path.suffix == ".ipynb" or (path.suffix in CODE and path.stat().st_size <= MOST)


def _file(path: Path, config: Any) -> File:
    title = path.relative_to(ROOT).as_posix()
    content = None
    if path.is_dir():
        content = f"# {title}\n\n" + "".join(f"- `{name}`\n" for name in sorted(entry.name for entry in path.iterdir()))
    elif path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = ("".join(cell["source"]) for cell in cells)
        content = "\n\n".join(
            text if cell["cell_type"] == "markdown" else _fenced(text, "python")
            for cell, text in zip(cells, texts, strict=True)
        )
    elif _is_code(path):
        content = f"# {title}\n\n{_fenced(path.read_text(encoding='utf-8'), CODE[path.suffix])}"
    kept = {"content": content} if content is not None else {"abs_src_path": str(path)}
    return File.generated(config, _uri(path), inclusion=InclusionLevel.NOT_IN_NAV, **kept)


def _fenced(text: str, language: str) -> str:
    return f"````````{language}\n{text.rstrip()}\n````````"
