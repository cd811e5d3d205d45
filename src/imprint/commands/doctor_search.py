"""`imprint envs doctor search`: which published question sets a folder has, what becomes of them, what is missing."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from imprint.commands.console import ALL, console, grid, say
from imprint.errors import ImprintError, RecipeError

if TYPE_CHECKING:
    from imprint.envs.search.published import PublishedQuestions

# Rows as published. Search-R1's test file holds the dev rows of the sets whose test rows have no answers.
PUBLISHED = {
    "train": {"nq": 79_168, "hotpotqa": 90_447},
    "test": {
        "nq": 3_610,
        "triviaqa": 11_313,
        "popqa": 14_267,
        "hotpotqa": 7_405,
        "2wikimultihopqa": 12_576,
        "musique": 2_417,
        "bamboogle": 125,
    },
}
DATASETS = {
    "PeterJinGo/nq_hotpotqa_train": "the train and test questions of Search-R1, as parquet",
    "RUC-NLPIR/FlashRAG_datasets": "or each set by itself, as JSONL, with HotpotQA's and 2WikiMultihopQA's own labels",
    "PeterJinGo/wiki-18-corpus": "the passages to search",
    "PeterJinGo/wiki-18-e5-index": "their index (large)",
}


def doctor(folder: Path | None, retriever: str | None = None) -> None:
    """Print what is found; the status is 1 if published rows are missing, or the search engine does not answer."""
    if folder is None and retriever is None:
        raise RecipeError("which folder?", key="FOLDER", hint="name it: `imprint envs doctor search FOLDER`")
    if retriever is not None:
        _ask(retriever)
    if folder is not None:
        _questions(folder)


def _ask(retriever: str) -> None:
    """Whether a search engine is there; of a server, which shape of request it takes."""
    from imprint.retrieval.client import SHAPES
    from imprint.retrieval.index import read_facts
    from imprint.retrieval.open import check_retriever, is_address

    served = is_address(retriever)
    taken, problems = [], []
    for shape in SHAPES if served else SHAPES[:1]:
        try:
            check_retriever(retriever, 3, shape=shape)
            taken.append(f"`shape: {shape}`")
        except ImprintError as error:
            problems.append(error)
    if not taken:
        say(problems[0].describe(), stderr=True)
        raise typer.Exit(1)
    if served:
        say(f"the search server answers: {retriever} takes {' and '.join(taken)}")
    else:
        facts = read_facts(Path(retriever))
        say(f"the index is there: {facts.passages:,} passages ({facts.kind}) in {retriever}")


def _questions(folder: Path) -> None:
    from imprint.envs.search.published import PublishedQuestions

    try:
        say(f"pyarrow {version('pyarrow')} reads parquet")
    except PackageNotFoundError:
        say("pyarrow is not installed: only JSONL is read; `pip install 'imprint[search-data]'` for parquet")
    try:
        questions = PublishedQuestions(folder)
    except ImprintError as error:
        say(error.describe(), stderr=True)
        _how(folder)
        raise typer.Exit(1) from error
    _show(questions)
    if missing := _missing(questions):
        say(f"\nincomplete: {', '.join(missing)}", stderr=True)
        _how(folder)
        raise typer.Exit(1)
    say("\nall published questions are here")


def _show(questions: PublishedQuestions) -> None:
    from imprint.envs.search.rows import SETS

    rows: list[list[object]] = []
    for name in SETS:
        of = [_count(questions, name, split) for split in PUBLISHED]
        files = [f"{split} {rows:,}" for (source, split), rows in questions.found.items() if source == name]
        rows.append([name, ", ".join(files) or "–", *of])
    console().print(grid("rows (of the published number)", ["set", "in the files", *PUBLISHED], rows, words=2))
    _show_splits(questions)
    for note in questions.notes:
        say(f"- {note}")
    _show_agreement(questions)


def _show_splits(questions: PublishedQuestions) -> None:
    from imprint.envs.base import SPLITS
    from imprint.envs.search.question import CATEGORIES

    counts = {split: Counter(q.category for q in questions.questions(split)) for split in SPLITS}
    body: list[list[object]] = [[kind, *(f"{counts[split][kind]:,}" for split in SPLITS)] for kind in CATEGORIES]
    body.append([ALL, *(f"{counts[split].total():,}" for split in SPLITS)])
    console().print(grid("questions, by default", ["category", *SPLITS], body))


def _show_agreement(questions: PublishedQuestions) -> None:
    rows: list[list[object]] = []
    for split in ("train", "test"):
        for source, found in questions.agreement(split).items():
            shares = [f"{found.agree / found.rows:.1%}", f"{found.missed:,}", f"{found.mistaken:,}"]
            rows.append([source, split, f"{found.rows:,}", *shares])
    if rows:
        header = ["set", "split", "labelled", "agree", "missed", "mistaken"]
        console().print(grid("the wording rule against the sets' own labels", header, rows, words=2))
    else:
        say("no row has a label of its own: the wording rule alone finds comparisons (FlashRAG's files have labels)")


def _present(questions: PublishedQuestions, name: str, split: str) -> int:
    """Rows of a set that serve as `split`."""
    if split == "train" or questions.found[name, split]:
        return questions.found[name, split]
    return questions.found[name, "dev"]


def _count(questions: PublishedQuestions, name: str, split: str) -> str:
    published = PUBLISHED[split].get(name)
    present = _present(questions, name, split)
    return ("–" if not present else f"{present:,}") if published is None else f"{present:,} of {published:,}"


def _missing(questions: PublishedQuestions) -> list[str]:
    return [
        f"{name} {split}"
        for split, sets in PUBLISHED.items()
        for name, rows in sets.items()
        if _present(questions, name, split) < rows
    ]


def _how(folder: Path) -> None:
    """How to get the data; each data set goes into a folder of its own, so that files of one name do not meet."""
    from imprint.envs.search.rows import SETS

    for name, what in DATASETS.items():
        command = f"hf download --repo-type dataset {name} --local-dir {folder / name.partition('/')[2]}"
        if name == "RUC-NLPIR/FlashRAG_datasets":  # it holds other sets and a corpus too
            command += "".join(f" --include '{source}/*'" for source in SETS)
        say(f"{what}:\n  {command}", stderr=True)
