"""The documentation: links resolve, pages can be reached, files, commands and options exist, and the site is built."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from conftest import ROOT
from imprint.cli import app
from imprint.support.packaged import recipe_names

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


# Commands

REFERENCE = ROOT / "docs/manual/reference.md"
GENERATE = ("-m", "typer", "imprint.cli", "utils", "docs", "--name", "imprint", "--title", "Command reference")


@cache
def commands() -> dict[tuple[str, ...], Any]:
    """Every command and group by its words: ("skills", "scan")."""
    found: dict[tuple[str, ...], Any] = {}
    pending: list[tuple[tuple[str, ...], Any]] = [((), typer.main.get_command(app))]
    while pending:
        words, command = pending.pop()
        found[words] = command
        pending += [((*words, name), inner) for name, inner in getattr(command, "commands", {}).items()]
    return found


def examples(text: str) -> Iterator[list[str]]:
    """The words after `imprint` of each example in a page: lines of its shell blocks, and code in its prose."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = [span.strip("`").replace("\n", " ") for span in CODE.findall(FENCE.sub("", text))]
    for line in [*lines, *(span for span in prose if span.startswith("imprint "))]:
        for part in re.split(r"&&|[|;]", line):
            words = shlex.split(part, comments=True)
            if "imprint" in words and all("=" in word for word in words[: words.index("imprint")]):
                yield words[words.index("imprint") + 1 :]


def expanded(word: str) -> list[str]:
    """What a shell makes of braces."""
    before, brace, rest = word.partition("{")
    inner, _, after = rest.partition("}")
    return [before + part + after for part in inner.split(",")] if brace else [word]


def absent(words: list[str]) -> list[str]:
    """The recipes of an example that do not exist: files in recipes/, and names of packaged ones."""
    given = words[1:2] if words[:1] in (["train"], ["pretrain"]) else []
    given += [word for before, word in pairwise(words) if before == "--recipe"]
    files = [word for word in words if re.match(r"recipes/[^A-Z]+$", word)]  # METHOD.yaml stands for any
    names = [word for word in given if re.fullmatch(r"[a-z][\w/-]*", word)]
    return [word for file in files for word in expanded(file) if not list(ROOT.glob(word))] + [
        word for word in names if word not in recipe_names()
    ]


def wrong(words: list[str]) -> list[str]:
    """What of an example the command line does not have."""
    path: tuple[str, ...] = ()
    while len(path) < len(words) and (*path, words[len(path)]) in commands():
        path = (*path, words[len(path)])
    command, rest = commands()[path], words[len(path) :]
    if hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        return [f"imprint {' '.join(words[: len(path) + 1])}"]
    options = {"-h", "--help"}.union(*((*one.opts, *one.secondary_opts) for one in command.params))
    used = [word.partition("=")[0] for word in rest if re.match("--?[a-z]", word)]
    return [f"imprint {' '.join(path)}: {option}" for option in used if option not in options] + absent(words)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=named)
def test_examples_use_commands_and_options_that_exist(page: Path) -> None:
    assert [fault for words in examples(page.read_text(encoding="utf-8")) for fault in wrong(words)] == []


def test_a_wrong_example_is_seen() -> None:
    block = "A=1 imprint skills scam x && imprint eval m \\\n  --tusks 3 --recipe damo  # --no\nls --imprint"
    text = f"```sh\n{block}\n```\n`imprint trane` `imprint compare recipes/no*.yaml recipes/{{demo,no}}.yaml`"
    assert [wrong(words) for words in examples(text)] == [
        ["imprint skills scam"],
        ["imprint eval: --tusks", "damo"],
        ["imprint trane"],
        ["recipes/no*.yaml", "recipes/no.yaml"],
    ]


def test_the_page_of_commands_has_an_example_of_each() -> None:
    used = list(examples((ROOT / "docs/manual/commands.md").read_text(encoding="utf-8")))
    every = [words for words, command in commands().items() if not hasattr(command, "commands")]
    assert [" ".join(words) for words in every if not any(tuple(one[: len(words)]) == words for one in used)] == []


def test_the_reference_is_the_command_line() -> None:
    made = subprocess.run([sys.executable, *GENERATE], capture_output=True, text=True, check=True).stdout
    assert REFERENCE.read_text(encoding="utf-8").strip() == made.strip(), (
        f"out of date: python {shlex.join([*GENERATE, '--output', str(REFERENCE.relative_to(ROOT))])}"
    )


# The site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as by `make docs`: a broken link in a page or a page that docs/README.md lacks stops it."""
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "-f", str(ROOT / "mkdocs.yml"), "-d", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def test_every_link_of_the_site_is_in_it(site: Path) -> None:
    broken = []
    for page in site.rglob("*.html"):
        if not (page.parent / page.name).read_bytes().startswith(b"\n<!doctype html>"):
            continue  # a run's report, copied
        for link in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text(encoding="utf-8")):
            target = site / link[1:] if link.startswith("/") else page.parent / link
            if not re.match(r"[a-z]+:", link) and not (target / "index.html").exists() and not target.is_file():
                broken.append((page.relative_to(site).as_posix(), link))
    assert broken == []


def test_the_site_shows_what_pages_link_to_outside_docs(site: Path) -> None:
    page = (site / "methods/skill0/index.html").read_text(encoding="utf-8")
    assert 'href="../../repository/src/imprint/methods/weights/skill0.py/"' in page
    code = (site / "repository/src/imprint/methods/weights/skill0.py/index.html").read_text(encoding="utf-8")
    assert "GRPO under a curriculum that withdraws the skills." in code


def test_the_navigation_is_the_list_in_docs_readme(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    order = [
        start.index(f'href="{page}/"') for page in ("manual/commands", "methods/skill0", "worlds/search", "results")
    ]
    assert order == sorted(order)


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A title\n[here](#a-title) [gone](gone.md) `[code](code.md)`\n```\n[fence](fence.md)\n```\n[out](https://x.y)\n"
    )
    assert links(page) == ("#a-title", "gone.md")
    assert anchors(page) == {"a-title"}
