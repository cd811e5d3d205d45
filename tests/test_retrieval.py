"""Search engines over passages: words, order, corpora of any shape, and indexes that open whole or not at all."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from imprint.cli import app
from imprint.errors import RetrievalError
from imprint.retrieval.base import Hit, Passage, Retriever
from imprint.retrieval.bm25 import Bm25
from imprint.retrieval.corpus import parse_passage, read_corpus
from imprint.retrieval.index import read_facts
from imprint.retrieval.open import open_retriever
from imprint.retrieval.ranking import tokens

PASSAGES = [
    Passage("0", '"Oslo"\nOslo is the capital of Norway. The river Aker flows through it.'),
    Passage("1", '"Bergen"\nBergen is a town in Norway with much rain.'),
    Passage("2", '"Aarhus"\nAarhus is a town in Denmark.'),
    Passage("3", '"Twin"\nthe same words'),
    Passage("4", '"Twin"\nthe same words'),
]


def write(path: Path, passages: Sequence[Passage] = PASSAGES) -> Path:
    rows = [json.dumps({"id": passage.id, "contents": passage.contents}) for passage in passages]
    content = ("\n".join(rows) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage.id for hit in hits]


# --- ranking ---


def test_hits_share_a_word_best_first_and_ties_go_by_place():
    index = Bm25.of(PASSAGES)
    assert isinstance(index, Retriever)
    capital, twins, unknown, empty = index.search(["Norway's capital?", "same words", "submarine", "?!"], 3)
    assert ids(capital) == ["0", "1"] and capital[0].score > capital[1].score > 0
    assert ids(twins) == ["3", "4"] and twins[0].score == twins[1].score
    assert unknown == [] == empty
    assert ids(index.search(["same words"], 1)[0]) == ["3"]
    assert index.search(["town"], 99)[0][0].passage.title == "Aarhus"


def test_an_index_of_nothing_is_refused():
    for nothing in ([], [Passage("0", "?")]):
        with pytest.raises(RetrievalError, match="nothing to search"):
            Bm25.of(nothing)


TEXTS = st.lists(st.text(min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=8)


@settings(max_examples=30)
@given(TEXTS, st.text(max_size=20), st.integers(1, 5))
def test_an_index_on_disk_answers_as_the_one_in_memory(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], query: str, k: int
):
    folder = tmp_path_factory.mktemp("index")
    passages = [Passage(str(place), text) for place, text in enumerate([*texts, "at least one word"])]
    Bm25.build(write(folder / "corpus.jsonl", passages), folder / "index")
    queries = [query, *texts]
    found = Bm25.open(folder / "index").search(queries, k)
    assert found == Bm25.of(passages).search(queries, k)
    for asked, hits in zip(queries, found, strict=True):
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(set(tokens(asked)) & set(tokens(hit.passage.contents)) for hit in hits)


# --- corpora ---


def test_a_packed_corpus_reads_as_the_plain_one_and_ids_may_be_numbers(tmp_path: Path):
    assert (
        list(read_corpus(write(tmp_path / "c.jsonl.gz"))) == PASSAGES == list(read_corpus(write(tmp_path / "c.jsonl")))
    )
    assert parse_passage(b'{"id": 7, "contents": "x"}') == Passage("7", "x")


BAD = [
    "[]",
    "{",
    "{}",
    '{"id": "x"}',
    '{"id": null, "contents": "x"}',
    '{"id": "x", "contents": " "}',
    '{"id": "x", "contents": "\\ud800"}',
    '{"id": true, "contents": "x"}',
    "[" * 100_000,
]


@pytest.mark.parametrize("row", BAD, ids=range(len(BAD)))
def test_a_bad_row_is_an_error_with_its_line_or_left_out(tmp_path: Path, row: str):
    path = write(tmp_path / "c.jsonl", PASSAGES[:2])
    path.write_text(path.read_text() + "\n" + row + "\n" + '{"id": "9", "contents": "last"}', encoding="utf-8")
    with pytest.raises(RetrievalError) as caught:
        list(read_corpus(path))
    assert caught.value.line == 4 and caught.value.where == str(path)
    bad: list[RetrievalError] = []
    assert [passage.id for passage in read_corpus(path, on_bad=bad.append)] == ["0", "1", "9"]
    assert [error.line for error in bad] == [4]


@settings(max_examples=200)
@given(
    st.binary(max_size=60) | st.dictionaries(st.text(max_size=9), st.text()).map(lambda row: json.dumps(row).encode())
)
def test_any_line_is_a_passage_or_a_reason(line: bytes):
    try:
        passage = parse_passage(line)
    except ValueError as error:
        assert str(error)
    else:
        assert passage.id and passage.contents


# --- indexes ---


def test_an_index_says_what_it_is_and_two_of_one_corpus_have_one_hash(tmp_path: Path):
    Bm25.build(write(tmp_path / "c.jsonl"), tmp_path / "a")
    Bm25.build(write(tmp_path / "c.jsonl.gz"), tmp_path / "b")
    facts = read_facts(tmp_path / "a")
    assert (facts.kind, facts.passages, facts.version) == ("bm25s", 5, 1)
    assert facts == read_facts(tmp_path / "b")
    assert ids(open_retriever(tmp_path / "a").search(["rain"], 3)[0]) == ["1"]


def test_what_is_no_whole_index_does_not_open(tmp_path: Path):
    def refused(words: str) -> None:
        with pytest.raises(RetrievalError, match=words) as caught:
            open_retriever(folder)
        assert str(folder) in str(caught.value)

    folder = tmp_path / "nowhere"
    refused("no such folder")
    folder = tmp_path / "index"
    folder.mkdir()
    refused("no index is here")
    Bm25.build(write(tmp_path / "c.jsonl"), folder)
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"index.json", "passages.jsonl", "offsets.npy"} < set(kept)
    for name, content in kept.items():
        for worse in (content[: len(content) // 2], b"", None):
            (folder / name).unlink()
            if worse is not None:
                (folder / name).write_bytes(worse)
            refused("no index is here" if name == "index.json" and worse is None else "is damaged")
            (folder / name).write_bytes(content)
    facts = json.loads(kept["index.json"])
    for key, value, words in (("version", 2, "version 2"), ("kind", "x", "no engine 'x'"), ("passages", 4, "damaged")):
        (folder / "index.json").write_text(json.dumps({**facts, key: value}))
        with pytest.raises(RetrievalError, match=words):
            open_retriever(folder)


def test_two_passages_of_one_id_are_refused_and_nothing_is_left(tmp_path: Path):
    path = write(tmp_path / "c.jsonl", [*PASSAGES, Passage("1", "again")])
    with pytest.raises(RetrievalError, match="2 and 6 have the same id '1'") as caught:
        Bm25.build(path, tmp_path / "index")
    assert caught.value.where == str(path) and caught.value.key == "id"
    assert [found.name for found in tmp_path.iterdir()] == ["c.jsonl"]


def test_a_build_that_fails_leaves_the_older_index_and_never_replaces_anything_else(tmp_path: Path):
    folder = tmp_path / "index"
    Bm25.build(write(tmp_path / "c.jsonl"), folder)
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "cut.jsonl.gz").write_bytes(write(tmp_path / "c.jsonl.gz").read_bytes()[:-20])
    for name in ("empty.jsonl", "cut.jsonl.gz", "missing.jsonl"):
        with pytest.raises(RetrievalError):
            Bm25.build(tmp_path / name, folder)
        assert len(Bm25.open(folder).passages) == 5
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    for target in (mine, mine / "thesis.txt"):
        with pytest.raises(RetrievalError, match="something else"):
            Bm25.build(tmp_path / "c.jsonl", target)
    assert (mine / "thesis.txt").read_text() == "years"


# --- tantivy ---


@pytest.fixture
def tantivy() -> Any:
    pytest.importorskip("tantivy", reason="imprint[search] is not installed")
    from imprint.retrieval.tantivy import Tantivy

    return Tantivy


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.text(max_size=20), st.integers(1, 5))
def test_tantivy_finds_by_the_same_words(
    tantivy: Any, tmp_path_factory: pytest.TempPathFactory, texts: list[str], query: str, k: int
):
    folder = tmp_path_factory.mktemp("index")
    passages = [Passage(str(place), text) for place, text in enumerate([*texts, "at least one word"])]
    tantivy.build(write(folder / "corpus.jsonl", passages), folder / "index")
    queries = [query, *texts]
    engine, other = open_retriever(folder / "index"), Bm25.of(passages)
    assert isinstance(engine, tantivy)
    for ours, theirs in zip(engine.search(queries, 99), other.search(queries, 99), strict=True):
        assert set(ids(ours)) == set(ids(theirs))
        order = [(-hit.score, int(hit.passage.id)) for hit in ours]
        assert order == sorted(order)
    assert [hits[:k] for hits in engine.search(queries, 99)] == engine.search(queries, k)


def test_tantivy_gives_the_first_of_many_ties(tantivy: Any, tmp_path: Path):
    passages = [Passage(str(n), f"same words {'more' if n == 7 else ''}") for n in range(3000)]
    tantivy.build(write(tmp_path / "c.jsonl", passages), tmp_path / "index")
    engine = tantivy.open(tmp_path / "index")
    assert ids(engine.search(["same"], 9)[0]) == ["0", "1", "2", "3", "4", "5", "6", "8", "9"]
    assert ids(engine.search(["more same"], 2)[0]) == ["7", "0"]
    assert len(engine.search(["same"], 10_000)[0]) == 3000


def test_a_tantivy_index_without_words_or_files_is_an_error(tantivy: Any, tmp_path: Path):
    with pytest.raises(RetrievalError, match="no words"):
        tantivy.build(write(tmp_path / "c.jsonl", [Passage("0", "?!")]), tmp_path / "index")
    assert not (tmp_path / "index").exists()
    tantivy.build(write(tmp_path / "c.jsonl"), tmp_path / "index")
    (tmp_path / "index" / "tantivy" / "meta.json").unlink()
    with pytest.raises(RetrievalError, match="damaged"):
        tantivy.open(tmp_path / "index")


# --- commands ---


def call(*arguments: object, status: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["search", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


@pytest.mark.parametrize("engine", ["bm25s", "tantivy"])
def test_build_and_query(tmp_path: Path, engine: str):
    if engine == "tantivy":
        pytest.importorskip("tantivy", reason="imprint[search] is not installed")
    path = write(tmp_path / "c.jsonl")
    assert "5 passages" in call("build", path, tmp_path / "index", "--engine", engine)
    assert read_facts(tmp_path / "index").kind == engine
    found = call("query", tmp_path / "index", "capital of Norway", "-k", 1)
    assert "[0]" in found and "The river Aker" in found
    rows = json.loads(call("query", tmp_path / "index", "same words", "--json"))
    assert [row["id"] for row in rows] == ["3", "4"] and rows[0]["contents"] == PASSAGES[3].contents
    assert "nothing fits" in call("query", tmp_path / "index", "submarine")
    assert "no such folder" in call("query", tmp_path / "nowhere", "x", status=2)


def test_bad_rows_stop_a_build_or_are_counted(tmp_path: Path):
    path = write(tmp_path / "c.jsonl")
    path.write_text(path.read_text() + "oops\n" * 7)
    assert "c.jsonl:6" in call("build", path, tmp_path / "index", status=2) and not (tmp_path / "index").exists()
    said = call("build", path, tmp_path / "index", "--skip-bad")
    assert (
        "c.jsonl:6" in said and "c.jsonl:11" not in said and "7 bad rows were left out" in said and "5 passages" in said
    )


def test_a_build_that_is_killed_leaves_nothing_that_opens(tmp_path: Path):
    corpus, folder = write(tmp_path / "c.jsonl"), tmp_path / "index"
    program = (
        "import os, sys\n"
        "from imprint.retrieval.bm25 import Bm25\n"
        "def die(what, done, total):\n"
        "    if what == sys.argv[3]: os.kill(os.getpid(), 9)\n"
        "Bm25.build(sys.argv[1], sys.argv[2], progress=die)\n"
    )
    for moment in ("reading", "indexing"):
        done = subprocess.run([sys.executable, "-c", program, str(corpus), str(folder), moment], check=False)
        assert done.returncode == -9
        with pytest.raises(RetrievalError):
            open_retriever(folder)
    Bm25.build(corpus, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.jsonl", "index"]
    subprocess.run([sys.executable, "-c", program, str(corpus), str(folder), "indexing"], check=False)
    assert len(Bm25.open(folder).passages) == 5
