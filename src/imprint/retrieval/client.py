"""Search engines behind HTTP with the API of Search-R1's server: `POST /retrieve`.

Whatever fails is tried again or ends the job with an error; it never becomes an answer.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from imprint.errors import RecipeError, RetrievalError
from imprint.retrieval.base import Hit, Passage
from imprint.support.proxies import proxied, through

if TYPE_CHECKING:
    import httpx

AGAIN = (408, 429, 500, 502, 503, 504)
SHAPES = ("query", "queries")
LARGEST = 32 << 20  # bytes of an answer
IDLE = 2.0  # seconds that a connection is kept unused: many servers hang up after 5, just when it is wanted again
_AT_ONCE = 8  # requests
_TOGETHER = 64  # queries in one request, where a server takes several
_LONGEST = 300  # characters of a server's message that are shown
_BUSY = (429, 503)  # of a server that is there
_log = logging.getLogger(__name__)


class TransientError(Exception):
    """Worth another try."""


class BusyError(TransientError):
    """The server is there and asks for patience."""


class SearchClient:
    """A search engine of one or several servers over the same corpus, asked in turn.

    Args:
        urls: separated by commas; each with or without `/retrieve` at its end.
        shape: `query` sends one query a request (as SKILL0's server takes it), `queries` up to 64 (as
            Search-R1's does; ours takes both).
        timeout: seconds for one answer; then the request is tried again.
        attempts: tries of a request, at the next server each time, after 1, 2, 3, ... seconds.
        largest: bytes of an answer.

    Raises:
        RecipeError: an address, a setting or the environment's proxy is wrong, or the extra is not installed.
    """

    first_wait = 1.0  # seconds before the first retry; every further one waits as much longer

    def __init__(
        self, urls: str, *, shape: str = "query", timeout: float = 60.0, attempts: int = 10, largest: int = LARGEST
    ) -> None:
        if shape not in SHAPES:
            raise RecipeError(f"{shape!r} is neither of {', '.join(SHAPES)}", key="shape", hint="give one of them")
        if not (timeout > 0 and math.isfinite(timeout)) or attempts < 1 or largest < 1:
            raise RecipeError("must be above 0", key="timeout, attempts, largest", hint="leave them out")
        self.urls = [address(url) for url in urls.split(",") if url.strip()]
        if not self.urls:
            raise RecipeError("no address of a server is given", hint="give one, as http://localhost:8000")
        self.shape, self.timeout, self.attempts, self.largest = shape, timeout, attempts, largest
        self._turn = itertools.count()
        self._outages = _Outages(attempts)
        self._http = {url: _client(url, timeout) for url in self.urls}

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` hits of each query, as the servers order them.

        Raises:
            RetrievalError: no server answers, or one answers with something else than hits.
        """
        texts = [_whole(query) for query in queries]
        size = 1 if self.shape == "query" else _TOGETHER
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]
        if len(parts) <= 1:
            return [hits for part in parts for hits in self._persist(part, k)]
        with ThreadPoolExecutor(min(_AT_ONCE, len(parts))) as pool:
            return [hits for found in pool.map(lambda part: self._persist(part, k), parts) for hits in found]

    def check(self, k: int) -> None:
        """Ask every server once for `k` passages, as a job does before it loads anything.

        Of several servers that are away one is enough; the others are logged, and so is a busy one.

        Raises:
            RetrievalError: no server answers, or one answers with something else than hits.
        """
        away = {}
        for url in self.urls:
            try:
                read_answer(self._post(url, self._body(["imprint"], k)), 1, k, url)
            except BusyError as error:
                self._outages.failed(url, error)
            except TransientError as error:
                away[url] = error
        if len(away) == len(self.urls):
            raise RetrievalError(
                f"no search server answers: {next(iter(away.values()))}",
                where=", ".join(away),
                hint="start it (`imprint search serve INDEX`), or correct the address",
            )
        for url, problem in away.items():
            self._outages.failed(url, problem)

    def close(self) -> None:
        """End the connections."""
        for client in self._http.values():
            client.close()

    def _persist(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The hits of one request, asked again while the servers are away or busy."""
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_incrementing

        body, asked = self._body(queries, k), ""
        try:
            for attempt in Retrying(
                stop=stop_after_attempt(self.attempts),
                wait=wait_incrementing(start=self.first_wait, increment=self.first_wait),
                retry=retry_if_exception_type(TransientError),
                reraise=True,
            ):
                with attempt:
                    asked = self.urls[next(self._turn) % len(self.urls)]
                    with self._outages.watch(asked):
                        return read_answer(self._post(asked, body), len(queries), k, asked)
        except TransientError as error:
            raise RetrievalError(
                f"no answer after {self.attempts} tries: {error}", where=asked, hint="see that the server runs"
            ) from error
        raise AssertionError("tenacity returns or raises")

    def _body(self, queries: Sequence[str], k: int) -> dict[str, Any]:
        given = {"query": queries[0]} if self.shape == "query" else {"queries": queries}
        return {**given, "topk": k, "return_scores": True}

    def _post(self, url: str, body: dict[str, Any]) -> bytes:
        """The body of a 200; one try."""
        import httpx

        try:
            with self._http[url].stream("POST", url, json=body) as response:
                content = self._read(response, url)
        except httpx.TransportError as error:
            raise TransientError(f"{type(error).__name__}{through(url)}: {error}") from error
        except httpx.HTTPError as error:
            raise RetrievalError(f"the answer cannot be read: {error}", where=url, hint="see to the server") from error
        if response.status_code in AGAIN:
            kind = BusyError if response.status_code in _BUSY else TransientError
            raise kind(f"status {response.status_code}: {_told(content)}")
        if response.status_code != 200:
            raise RetrievalError(
                f"the server refuses with status {response.status_code}: {_told(content)}",
                where=url,
                hint="see that it is a search server with `/retrieve`, and which shape of request it takes",
            )
        return content

    def _read(self, response: httpx.Response, url: str) -> bytes:
        """What the server sends, unless it is too much or comes too slowly."""
        deadline, parts, size = time.monotonic() + self.timeout, [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > self.largest:
                raise RetrievalError(
                    f"the answer is larger than {self.largest:,} bytes", where=url, hint="ask for fewer passages"
                )
            if time.monotonic() > deadline:
                raise TransientError(f"the answer took more than {self.timeout:g} s")
        return b"".join(parts)


class _Outages:
    """Says once that a server does not answer, however many tries that costs, and once that it does again."""

    def __init__(self, attempts: int) -> None:
        self._attempts = attempts
        self._away = set[str]()
        self._lock = threading.Lock()

    @contextmanager
    def watch(self, url: str) -> Iterator[None]:
        """One try at a server."""
        try:
            yield
        except TransientError as error:
            self.failed(url, error)
            raise
        with self._lock:
            back = url in self._away
            self._away.discard(url)
        if back:
            _log.warning("the search server %s answers again", url)

    def failed(self, url: str, error: TransientError) -> None:
        with self._lock:
            known = url in self._away
            self._away.add(url)
        if not known:
            _log.warning("waiting for the search server %s, up to %d tries: %s", url, self._attempts, error)


def read_answer(body: bytes, count: int, k: int, where: str) -> list[list[Hit]]:
    """The hits of `count` queries in the body of a 200, at most `k` each.

    Raises:
        RetrievalError: it does not hold them; names the part that is wrong.
    """
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _malformed("is not JSON", where) from error
    result = content.get("result") if isinstance(content, dict) else None
    if not isinstance(result, list):
        raise _malformed("has no list `result`", where)
    if len(result) != count:
        raise _malformed(f"has {len(result)} lists of hits for {count} queries", where)
    for hits in result:
        if not isinstance(hits, list):
            raise _malformed("has something else than a list of hits for a query", where)
    return [[_hit(entry, where) for entry in hits[:k]] for hits in result]


def _hit(entry: Any, where: str) -> Hit:
    document = entry.get("document") if isinstance(entry, dict) else None
    if not isinstance(document, dict):
        raise _malformed("has a hit without `document`", where)
    name, contents, score = document.get("id"), document.get("contents"), entry.get("score")
    if not isinstance(contents, str):
        raise _malformed("has a document without `contents`", where)
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise _malformed("has a document without `id`", where)
    if not isinstance(score, int | float) or isinstance(score, bool) or not math.isfinite(score):
        raise _malformed("has a hit whose `score` is no number", where)
    # A lone surrogate can go nowhere.
    return Hit(Passage(_whole(str(name)), _whole(contents)), float(score))


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _malformed(what: str, where: str) -> RetrievalError:
    return RetrievalError(
        f"the server's answer {what}",
        where=where,
        hint='an answer is {"result": [[{"document": {"id", "contents"}, "score"}, ...], ...]}',
    )


def address(url: str) -> str:
    """`url` as it is asked.

    Raises:
        RecipeError: it is no address of a server.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or (parts.port or 1) < 1
    except ValueError:
        wrong = True
    if wrong:
        raise RecipeError("is no http(s) address", where=url, hint="give one, as http://localhost:8000")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        # The address stands in recipes and errors.
        raise RecipeError("holds a name, password or query", where=parts.hostname, hint="give the bare address")
    return url.rstrip("/").removesuffix("/retrieve") + "/retrieve"


def _told(content: bytes) -> str:
    """The beginning of a server's message, on one line."""
    decoded = content[: 4 * _LONGEST].decode("utf-8", "replace")
    text = " ".join("".join(c if c.isprintable() else " " for c in decoded).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _client(url: str, timeout: float) -> httpx.Client:
    try:
        import httpx
        import tenacity
    except ImportError as error:
        raise RecipeError(
            f"a search engine behind HTTP needs {error.name}, which is not installed",
            hint="pip install 'imprint[search]'",
        ) from error
    del tenacity
    limits = httpx.Limits(max_connections=None, keepalive_expiry=IDLE)
    transport = proxied(partial(httpx.HTTPTransport, limits=limits), url, RecipeError)
    # Nothing packed: a small answer could unpack to any size.
    return httpx.Client(timeout=timeout, transport=transport, headers={"Accept-Encoding": "identity"})
