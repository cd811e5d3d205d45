"""Dense retrieval with a tiny random encoder: pooling by hand, brute force, and indexes that do not open."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("faiss", reason="imprint[dense] is not installed")

from typer.testing import CliRunner

from imprint.cli import app
from imprint.errors import RetrievalError
from imprint.retrieval.base import Passage
from imprint.retrieval.dense import Dense
from imprint.retrieval.encoder import Encoder
from imprint.retrieval.index import read_facts
from imprint.retrieval.open import open_retriever

WORDS = [f"w{n}" for n in range(40)]


def make_encoder(folder: Path, seed: int) -> Path:
    """A BERT of two layers with random weights that reads 32 tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*special, "query", "passage", ":", *WORDS]
    reader = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    reader.pre_tokenizer = pre_tokenizers.Whitespace()
    reader.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=reader, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"), seed=1)


@pytest.fixture(scope="module")
def passages() -> list[Passage]:
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, size=draw.integers(1, 30))) for _ in range(300)]
    return [Passage(str(place), text) for place, text in enumerate([*texts, "w1 w2", "w1 w2"])]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, model: Path, passages: list[Passage]) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    rows = [json.dumps({"id": passage.id, "contents": passage.contents}) for passage in passages]
    (folder / "corpus.jsonl").write_text("\n".join(rows))
    command = ["search", "build", str(folder / "corpus.jsonl"), str(folder / "index")]
    result = CliRunner().invoke(app, [*command, "--engine", "dense", "--model", str(model), "--batch", "7"])
    assert result.exit_code == 0, result.output
    return folder / "index"


def by_hand(encoder: Encoder, text: str) -> np.ndarray:
    """The mean of the last layer's states, one text without padding."""
    read = encoder._tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
    with torch.no_grad():
        states = encoder._model(**read).last_hidden_state[0].numpy()
    mean = states.sum(axis=0) / len(states)
    return mean / np.sqrt((mean**2).sum())


def test_pooling_is_the_mean_over_the_tokens_and_padding_counts_for_nothing(model: Path):
    encoder = Encoder(str(model), batch=3)
    texts = ["w1", "w1 w2 w3", " ".join(WORDS), "w4 w5", "unknown", ""]
    found = encoder.passages(texts)
    for text, row in zip(texts, found, strict=True):
        assert np.allclose(row, by_hand(encoder, f"passage: {text}"), atol=1e-5)
    assert np.allclose(encoder.queries(["w1"])[0], by_hand(encoder, "query: w1"), atol=1e-5)
    assert not np.allclose(encoder.queries(["w1"])[0], found[0], atol=1e-3)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@pytest.fixture(scope="module")
def opened(index: Path, passages: list[Passage]) -> tuple[Dense, np.ndarray]:
    """The index, and the vectors of all passages beside it."""
    engine = Dense.open(index)
    return engine, engine.encoder.passages([passage.contents for passage in passages])


@settings(max_examples=25)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=5), st.integers(1, 20))
def test_an_index_finds_what_brute_force_finds(opened: tuple[Dense, np.ndarray], queries: list[str], k: int):
    engine, vectors = opened
    scores = engine.encoder.queries(queries) @ vectors.T
    for query, row, hits in zip(queries, scores, engine.search(queries, k), strict=True):
        best = np.argsort(-row, kind="stable")[:k] if query else []
        assert np.allclose([hit.score for hit in hits], row[best] if len(best) else [], atol=1e-4)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        for hit in hits:
            assert abs(row[int(hit.passage.id)] - hit.score) < 1e-4


def test_twins_come_in_their_order_and_all_may_be_asked_for(index: Path):
    found = open_retriever(index).search(["w1 w2", " ", "w9"], 1000)
    assert [len(hits) for hits in found] == [302, 0, 302]
    places = [int(hit.passage.id) for hit in found[0]]
    assert places.index(301) == places.index(300) + 1


def test_another_encoder_at_the_same_place_is_refused(index: Path, model: Path, tmp_path: Path):
    kept = shutil.copytree(model, tmp_path / "kept")
    try:
        make_encoder(model, seed=2)
        with pytest.raises(RetrievalError, match="not the one that the index was built with"):
            Dense.open(index)
    finally:
        shutil.rmtree(model)
        shutil.copytree(kept, model)
    assert len(Dense.open(index).passages) == 302


def test_an_index_that_is_damaged_or_an_encoder_that_is_gone_is_an_error(index: Path, tmp_path: Path):
    facts = read_facts(index)
    assert facts.settings["query_prefix"] == "query: " and Path(facts.settings["model"]).is_absolute()
    worse = shutil.copytree(index, tmp_path / "index")
    content = (worse / "vectors.faiss").read_bytes()
    (worse / "vectors.faiss").write_bytes(content[: len(content) // 2])
    with pytest.raises(RetrievalError, match="damaged"):
        Dense.open(worse)
    (worse / "vectors.faiss").write_bytes(content)
    for settings_, words in (({"model": str(tmp_path / "gone")}, "no such folder"), ({"what": 1}, "damaged")):
        told = {**json.loads((index / "index.json").read_text()), "settings": {**facts.settings, **settings_}}
        (worse / "index.json").write_text(json.dumps(told))
        with pytest.raises(RetrievalError, match=words):
            Dense.open(worse)


def test_an_encoder_is_named_with_dense_and_only_then(tmp_path: Path):
    for options in (["--engine", "dense"], ["--model", "x"]):
        result = CliRunner().invoke(app, ["search", "build", "x", str(tmp_path / "y"), *options])
        assert result.exit_code == 2 and "--model" in result.output
