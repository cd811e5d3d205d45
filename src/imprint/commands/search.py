"""`imprint search`: build a search engine over passages, ask it, and serve it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imprint.commands.console import Json, emit, say
from imprint.commands.serve import serve

if TYPE_CHECKING:
    from imprint.errors import RetrievalError
    from imprint.retrieval.index import Progress

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Search engines over passages, for worlds that ask them.\n\n"
    "Example: `imprint search build wiki-18.jsonl.gz wiki --engine tantivy`, then `imprint search serve wiki`",
)
app.command("serve")(serve)
_SHOWN = 5  # bad rows that are listed one by one


class EngineName(StrEnum):
    """What an index can be built with."""

    BM25S = "bm25s"
    TANTIVY = "tantivy"
    DENSE = "dense"


@app.command()
def build(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS.jsonl", help='Rows as {"id": "0", "contents": "Title\\\\ntext"}; or .gz.')
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the index goes; an older one is replaced.")],
    engine: Annotated[
        EngineName,
        typer.Option(
            help="bm25s: exact and quick, in memory; tantivy: BM25 for a corpus of any size (`imprint[search]`); "
            "dense: by an encoder's vectors (`imprint[dense]`)."
        ),
    ] = EngineName.BM25S,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that are no passages.")] = False,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="dense: the encoder, a folder or hub name.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="dense: where the encoder runs.")] = "cpu",
    batch: Annotated[int, typer.Option(min=1, help="dense: passages the encoder reads at once.")] = 64,
) -> None:
    """Index a corpus; a build that is stopped leaves nothing that opens.

    Example: `imprint search build passages.jsonl my-index`
    """
    from imprint.errors import RecipeError
    from imprint.retrieval.index import read_facts
    from imprint.retrieval.open import index_backend

    if (model is not None) != (engine is EngineName.DENSE):
        raise RecipeError("goes with --engine dense, and with no other", key="--model", hint="give both or none")
    options: dict[str, Any] = {} if model is None else {"model": model, "device": device, "batch": batch}
    bad = _Bad()
    with _bars() as progress:
        skipping = {"on_bad": bad} if skip_bad else {}
        index_backend(engine.value).build(corpus, folder, progress=progress, **skipping, **options)
    bad.report()
    facts = read_facts(folder)
    say(f'{facts.passages:,} passages in {folder}; ask it: imprint search query {folder} "..."')


@app.command()
def query(
    source: Annotated[str, typer.Argument(metavar="FOLDER|URL", help="A folder with an index, or a server's address.")],
    text: Annotated[str, typer.Argument(help="What is asked.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages.")] = 3,
    as_json: Json = False,
) -> None:
    """Print what a search engine finds.

    Example: `imprint search query my-index "capital of Norway" -k 5`
    """
    from imprint.retrieval.open import open_retriever

    hits = open_retriever(source).search([text], k)[0]
    if as_json:
        rows = [{"id": hit.passage.id, "score": hit.score, "contents": hit.passage.contents} for hit in hits]
        emit(json.dumps(rows, indent=1) + "\n")
    elif not hits:
        say("nothing fits this question")
    else:
        for place, hit in enumerate(hits, start=1):
            say(f"{place}. [{hit.passage.id}] {hit.score:.3f}\n{hit.passage.contents}\n")


class _Bad:
    """Bad rows that are left out: the first are listed, all are counted."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: RetrievalError) -> None:
        self.count += 1
        if self.count <= _SHOWN:
            say(f"left out: {error.where}:{error.line}: {error.problem}", stderr=True)

    def report(self) -> None:
        if self.count:
            say(f"{self.count:,} bad rows were left out", stderr=True)


@contextmanager
def _bars() -> Iterator[Progress]:
    """A bar for each thing that is done, one after the other."""
    from contextlib import ExitStack

    from imprint.support.progress import Progress as Bar

    with ExitStack() as stack:
        bars: dict[str, tuple[Bar, list[int]]] = {}

        def progress(what: str, done: int, total: int) -> None:
            unit = 1 << 20 if what == "reading" else 1  # MiB
            if what not in bars:
                stack.close()
                bar = stack.enter_context(Bar(f"{what} (MiB)" if unit > 1 else what))
                bar.begin(-(-total // unit))
                bars[what] = (bar, [0])
            bar, before = bars[what]
            now = -(-done // unit)
            bar.advance(by=now - before[0])
            before[0] = now

        yield progress
