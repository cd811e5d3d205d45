"""Search engines behind HTTP: the server as a process, the client against it and against worse ones."""

# ruff: noqa: E402 - what comes with an extra is imported after it was asked for

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprint.errors import RecipeError, RetrievalError
from imprint.retrieval.base import Hit, Passage
from imprint.retrieval.bm25 import Bm25
from imprint.retrieval.client import SHAPES, SearchClient, read_answer
from imprint.retrieval.open import open_retriever

for library in ("fastapi", "uvicorn", "httpx", "tenacity", "prometheus_client"):
    pytest.importorskip(library, reason="imprint[search] is not installed")

from fastapi import HTTPException

from faulty_server import faulty
from imprint.retrieval.batching import Batcher, BusyError
from imprint.retrieval.server import Limits, parse
from search_served import SearchServer

PASSAGES = [Passage(str(n), f'"Thing {n}"\nThing {n} is number{n} of many, ünï{n}.') for n in range(200)]
LIMITS = ("--topk", 9, "--queries", 64, "--characters", 100, "--body", 20_000)


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SearchClient, "first_wait", 0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("served")
    rows = [json.dumps({"id": passage.id, "contents": passage.contents}) for passage in PASSAGES]
    (base / "corpus.jsonl").write_text("\n".join(rows), encoding="utf-8")
    Bm25.build(base / "corpus.jsonl", base / "index")
    return base / "index"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[SearchServer]:
    with SearchServer(folder, *LIMITS) as running:
        yield running


# --- the server ---


@pytest.mark.parametrize("shape", SHAPES)
def test_a_server_answers_as_its_index_does(server: SearchServer, folder: Path, shape: str):
    queries = ["number7", "thing many", "nowhere", "ünï11"]
    client = open_retriever(f"{server.url}/retrieve/, {server.url}", shape=shape)
    assert client.search(queries, 5) == Bm25.open(folder).search(queries, 5)
    assert client.search([], 5) == []
    many = [f"number{n}" for n in range(90)]
    assert [hits[0].passage.id for hits in client.search(many, 1)] == [str(n) for n in range(90)]
    assert client.search(["number8 \ud800"], 1)[0][0].passage.id == "8"


def test_clients_at_once_get_what_each_asked_for(server: SearchServer):
    client = SearchClient(server.url, shape="queries")

    def ask(n: int) -> list[list[str]]:
        found = client.search([f"number{n}", f"number{(n + 1) % 200}"][: 1 + n % 2], 1 + n % 3)
        return [[hit.passage.id for hit in hits] for hits in found]

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(200)))
    assert answers == [[[str(n)], [str((n + 1) % 200)]][: 1 + n % 2] for n in range(200)]


def test_a_client_that_never_ends_its_request_blocks_nobody(server: SearchServer):
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert SearchClient(server.url, attempts=1).search(["number3"], 1)[0][0].passage.id == "3"


def test_scores_are_left_out_unless_asked_for_and_topk_is_three(server: SearchServer):
    status, content = server.post(b'{"query": "thing"}')
    assert status == 200 and content == {"result": [[{"id": p.id, "contents": p.contents} for p in PASSAGES[:3]]]}
    status, content = server.post(b'{"queries": ["thing"], "topk": null, "return_scores": true, "other": 1}')
    assert [hit["document"]["id"] for hit in content["result"][0]] == ["0", "1", "2"]
    assert all(hit["score"] > 0 for hit in content["result"][0])


BAD = [
    (b"", 422, "not JSON"),
    (b"{", 422, "not JSON"),
    (b"\xff", 422, "not JSON"),
    (b"[" * 5000, 422, "not JSON"),
    (b"[]", 422, "valid dictionary"),
    (b"{}", 422, "either `query` or `queries`"),
    (b'{"query": "a", "queries": ["b"]}', 422, "either `query` or `queries`"),
    (b'{"query": 1}', 422, "query"),
    (b'{"query": ["a"]}', 422, "query"),
    (b'{"queries": ["a", null]}', 422, "queries.1"),
    (b'{"queries": []}', 422, "empty"),
    (b'{"query": "a", "topk": 0}', 422, "topk"),
    (b'{"query": "a", "topk": 10}', 422, "at most 9"),
    (b'{"query": "a", "topk": "3"}', 422, "topk"),
    (b'{"query": "a", "return_scores": 1}', 422, "return_scores"),
    (b'{"query": "\\ud800"}', 422, "half a character"),
    (json.dumps({"query": "a" * 101}).encode(), 413, "this server takes 100"),
    (json.dumps({"queries": ["a"] * 65}).encode(), 413, "this server takes 64"),
    (b" " * 20_001, 413, "more than 20000 bytes"),
]


@pytest.mark.parametrize(("body", "status", "words"), BAD, ids=range(len(BAD)))
def test_what_is_no_request_is_refused_with_a_reason(server: SearchServer, body: bytes, status: int, words: str):
    found, content = server.post(body)
    assert found == status and words in content["detail"]
    assert server.post(b'{"query": "thing"}')[0] == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["query", "queries", "topk"]), inner),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_a_request_within_the_limits_or_refused(body: bytes):
    limits = Limits(topk=4, queries=2, characters=3)
    try:
        asked = parse(body, limits)
    except HTTPException as error:
        assert error.status_code in (413, 422) and error.detail
    else:
        assert 1 <= len(asked.texts) <= 2 and all(len(text) <= 3 for text in asked.texts)
        assert asked.topk is None or 1 <= asked.topk <= 4


def test_a_body_that_never_ends_is_cut_off(server: SearchServer):
    with socket.create_connection(("127.0.0.1", server.port)) as endless:
        endless.sendall(b"POST /retrieve HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = b""
        try:
            for _ in range(100):
                endless.sendall(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
        except OSError:
            pass  # it has hung up, which is the point
        else:
            answer = endless.recv(4096)
    assert not answer or b" 413 " in answer
    assert server.post(b'{"query": "thing"}')[0] == 200


def test_health_and_metrics_tell_what_is_served(server: SearchServer):
    told = json.loads(server.get("/health"))
    assert (told["status"], told["engine"], told["passages"]) == ("ok", "bm25s", 200)
    assert told["limits"]["topk"] == 9
    server.post(b'{"query": "thing"}')
    server.post(b"{")
    text = server.get("/metrics")
    for line in ('imprint_search_requests_total{status="200"}', 'requests_total{status="422"}', "batch_queries_bucket"):
        assert line in text
    assert "/retrieve" in server.get("/openapi.json")


def test_a_server_that_dies_and_comes_back_costs_no_answer(folder: Path):
    with SearchServer(folder) as running:
        client = SearchClient(running.url, attempts=1000)
        answers: list[str] = []
        half = threading.Event()

        def ask() -> None:
            for n in range(100):
                answers.append(client.search([f"number{n}"], 1)[0][0].passage.id)
                if n == 50:
                    half.set()

        asking = threading.Thread(target=ask)
        asking.start()
        assert half.wait(60)
        running.kill()
        running.start()
        asking.join(60)
        assert answers == [str(n) for n in range(100)]
        status, said = running.stop()
        assert status == 0 and "stopped" in said


def test_a_server_that_is_stopped_answers_what_it_was_asked(folder: Path):
    with SearchServer(folder, "--window", 2_000) as running, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(running.post, b'{"query": "number5"}')
        while "waiting_queries 1.0" not in running.get("/metrics"):
            assert not asked.done()
        status, said = running.stop()
        assert asked.result(60)[0] == 200
        assert status == 0 and "stopped" in said


def test_a_port_that_is_taken_is_an_error(server: SearchServer, folder: Path):
    with pytest.raises(AssertionError):
        other = SearchServer.__new__(SearchServer)
        other.folder, other.options, other.port, other.process = folder, (), server.port, None
        other.start()
    assert other.process is not None and other.process.wait(60) == 2


# --- batching ---


class Counting:
    """Finds the query itself; `gate` holds it until it is set."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.calls: list[list[str]] = []
        self.gate = gate

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.calls.append(list(queries))
        if self.gate is not None:
            self.gate.wait(60)
        if "fail" in queries:
            raise RetrievalError("no")
        return [[Hit(Passage(f"{query}{n}", "x"), 1.0) for n in range(k)] for query in queries]


def test_requests_that_come_together_are_one_search():
    engine = Counting()

    async def run() -> list[list[list[Hit]]]:
        async with Batcher(engine, window=0.05, largest=4, waiting=100) as batcher:
            asked = [batcher.search([f"q{n}"] * (1 + n % 2), 1 + n) for n in range(5)]
            return await asyncio.gather(*asked)

    found = asyncio.run(run())
    assert [[[hit.passage.id for hit in hits] for hits in one] for one in found] == [
        [[f"q{n}{place}" for place in range(1 + n)]] * (1 + n % 2) for n in range(5)
    ]
    assert engine.calls == [["q0", "q1", "q1", "q2"], ["q3", "q3", "q4"]]


def test_an_engine_that_fails_fails_its_batch_only_and_too_many_waiting_are_refused():
    gate = threading.Event()
    engine = Counting(gate)

    async def run() -> None:
        async with Batcher(engine, window=0, largest=1, waiting=2) as batcher:
            first, second = (asyncio.create_task(batcher.search([query], 1)) for query in ("fail", "fine"))
            await asyncio.sleep(0)
            with pytest.raises(BusyError):
                await batcher.search(["more"], 1)
            gate.set()
            with pytest.raises(RetrievalError):
                await first
            assert (await second)[0][0].passage.id == "fine0" and batcher.waiting == 0
            gone = asyncio.create_task(batcher.search(["gone"], 1))
            await asyncio.sleep(0)
            gone.cancel()
            assert (await batcher.search(["next"], 1))[0][0].passage.id == "next0"

    asyncio.run(run())


# --- the client, against worse servers ---


def test_a_busy_or_broken_server_is_asked_again():
    with faulty(500, 502, 503, 504, 429, "drop", "cut") as (url, asked):
        assert SearchClient(url).search(["a"], 2) == [[Hit(Passage("3", "x\ny"), 1.0)]]
    assert asked == [{"query": "a", "topk": 2, "return_scores": True}] * 8


def test_several_servers_are_asked_in_turn_and_a_retry_goes_to_the_next():
    with faulty(503) as (first, asked_first), faulty() as (second, asked_second):
        client = SearchClient(f"{first},{second}", shape="queries")
        for _ in range(3):
            assert len(client.search(["a"], 1)[0]) == 1
    assert (len(asked_first), len(asked_second)) == (2, 2)
    assert asked_first[0] == {"queries": ["a"], "topk": 1, "return_scores": True}


@pytest.mark.parametrize("fault", [400, 404, 422, 307])
def test_a_refusal_is_an_error_at_once_with_the_servers_words(fault: int):
    with faulty(fault) as (url, asked), pytest.raises(RetrievalError) as caught:
        SearchClient(url).search(["a"], 1)
    told = str(caught.value)
    assert len(asked) == 1 and url in told and str(fault) in told and "no" in told and "\x1b" not in told


def test_an_unreachable_server_is_an_error_that_names_it():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RetrievalError, match=f"127.0.0.1:{port}.*no answer after 3 tries"):
        SearchClient(f"http://127.0.0.1:{port}", attempts=3).search(["a"], 1)
    with pytest.raises(RetrievalError, match="no answer after 2 tries"), faulty(503, 503) as (url, _):
        SearchClient(url, attempts=2).search(["a"], 1)


def test_a_server_that_says_nothing_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(RetrievalError, match="no answer after 2 tries: ReadTimeout"):
            SearchClient(url, timeout=0.05, attempts=2).search(["a"], 1)


def test_an_answer_that_is_too_large_is_not_read():
    with faulty(b" " * 5000) as (url, asked), pytest.raises(RetrievalError, match="larger than 1,000 bytes"):
        SearchClient(url, largest=1000).search(["a"], 1)
    assert len(asked) == 1


def answer(**hit: Any) -> dict[str, Any]:
    return {"result": [[{"document": {"id": "1", "contents": "x"}, "score": 1.0, **hit}]]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "is not JSON"),
        ([], "no list `result`"),
        ({"result": {}}, "no list `result`"),
        ({"result": []}, "0 lists of hits for 1 queries"),
        ({"result": [{}]}, "something else than a list"),
        ({"result": [[{"id": "1", "contents": "x"}]]}, "without `document`"),
        (answer(document={"id": "1"}), "without `contents`"),
        (answer(document={"contents": "x"}), "without `id`"),
        (answer(score="1"), "`score` is no number"),
        (b'{"result": [[{"document": {"id": "1", "contents": "x"}, "score": NaN}]]}', "`score` is no number"),
    ],
)
def test_a_malformed_answer_is_an_error_that_says_what_is_wrong(content: Any, words: str):
    with faulty(content) as (url, asked), pytest.raises(RetrievalError, match=words) as caught:
        SearchClient(url).search(["a"], 1)
    assert len(asked) == 1 and f"{url}/retrieve" in str(caught.value)


ANSWERS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["result", "document", "id", "contents", "score"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(ANSWERS | ANSWERS.map(lambda value: {"result": [[value]]}))
def test_any_answer_holds_hits_or_is_an_error(content: Any):
    try:
        found = read_answer(json.dumps(content).encode(), 1, 2, "here")
    except RetrievalError as error:
        assert "here" in str(error)
    else:
        assert len(found) == 1 and all(isinstance(hit.score, float) for hit in found[0])


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x", "http://", "http://u:p@x", "http://x?a=b", "http://x:99999", " , "]
)
def test_a_wrong_address_is_refused(url: str):
    with pytest.raises(RecipeError) as caught:
        SearchClient(url)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"shape": "both"}, {"timeout": 0}, {"attempts": 0}])
def test_a_wrong_setting_is_refused(wrong: dict[str, Any]):
    with pytest.raises(RecipeError):
        SearchClient("http://localhost:1", **wrong)
