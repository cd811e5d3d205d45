"""The documentation: its links resolve, every page can be reached, and the files it names exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from conftest import ROOT

START = ROOT / "README.md"
PAGES = [START, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`]*`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:src|docs|recipes|benchmarks|tests|results)/[\w./-]+)`")


@cache
def links(page: Path) -> tuple[str, ...]:
    """The targets of a page's relative links."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return tuple(target for target in LINK.findall(CODE.sub("code", text)) if not re.match(r"[a-z]+:", target))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def target_of(page: Path, link: str) -> tuple[Path, str]:
    path, _, anchor = link.partition("#")
    return ((page.parent / path).resolve() if path else page), anchor


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_resolve(page: Path) -> None:
    broken = []
    for link in links(page):
        path, anchor = target_of(page, link)
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=named)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    assert not missing


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, pending = set(), [START]
    while pending:
        page = pending.pop()
        if page not in reached:
            reached.add(page)
            pending += [path for path, _ in (target_of(page, link) for link in links(page)) if path.suffix == ".md"]
    assert [named(page) for page in PAGES if page not in reached] == []


def test_the_algorithm_is_two_hops_from_the_readme() -> None:
    algorithm = (ROOT / "src/imprint/methods/weights/skill0.py").resolve()
    first = [target_of(START, link)[0] for link in links(START)]
    second = [target_of(page, link)[0] for page in first if page.suffix == ".md" for link in links(page)]
    assert algorithm in {*first, *second}


def test_the_readme_stays_short() -> None:
    assert len(START.read_text(encoding="utf-8").splitlines()) <= 150


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A title\n[here](#a-title) [gone](gone.md) `[code](code.md)`\n```\n[fence](fence.md)\n```\n[out](https://x.y)\n"
    )
    assert links(page) == ("#a-title", "gone.md")
    assert anchors(page) == {"a-title"}
