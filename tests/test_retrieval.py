"""Search engines over passages: words, order, corpora of any shape, and indexes that open whole or not at all."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imprint.errors import RetrievalError
from imprint.retrieval.base import Hit, Passage, Retriever
from imprint.retrieval.bm25 import Bm25
from imprint.retrieval.corpus import parse_passage, read_corpus
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


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


@settings(max_examples=200, deadline=None)
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
