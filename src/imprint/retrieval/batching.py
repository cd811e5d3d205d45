"""Many requests at once, one search: a search engine behind an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from imprint.retrieval.base import Hit, Retriever


class BusyError(Exception):
    """Too much is waiting already."""


@dataclass(frozen=True, slots=True)
class _Request:
    queries: Sequence[str]
    k: int
    answer: asyncio.Future[list[list[Hit]]]


class Batcher:
    """Collects the requests of a short while and answers them by one search, in a thread.

    While one search runs the next requests gather, so a busy server makes larger batches by itself.

    Args:
        window: seconds that the first request of a batch waits for others.
        largest: queries in one search.
        waiting: queries that may wait; more are refused.
        searched: gets the number of queries of each search.
    """

    def __init__(
        self,
        retriever: Retriever,
        *,
        window: float,
        largest: int,
        waiting: int,
        searched: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._retriever = retriever
        self._window, self._largest, self._most = window, largest, waiting
        self._searched = searched
        self._requests: asyncio.Queue[_Request] = asyncio.Queue()
        self._held: _Request | None = None  # did not fit the last batch
        self._task: asyncio.Task[None] | None = None
        self.waiting = 0  # queries without an answer

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` hits of each query.

        Raises:
            BusyError: too many are waiting.
            RetrievalError: the engine cannot answer.
        """
        if self.waiting + len(queries) > self._most:
            raise BusyError
        request = _Request(queries, k, asyncio.get_running_loop().create_future())
        self.waiting += len(queries)
        self._requests.put_nowait(request)
        try:
            return await request.answer
        finally:
            self.waiting -= len(queries)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        while True:
            batch = [request for request in await self._batch() if not request.answer.done()]  # some have hung up
            if batch:
                await self._answer(batch)

    async def _batch(self) -> list[_Request]:
        first = self._held or await self._requests.get()
        batch, count, self._held = [first], len(first.queries), None
        until = asyncio.get_running_loop().time() + self._window
        while count < self._largest:
            try:
                async with asyncio.timeout_at(until):
                    request = await self._requests.get()
            except TimeoutError:
                break
            if count + len(request.queries) > self._largest:
                self._held = request
                break
            batch.append(request)
            count += len(request.queries)
        return batch

    async def _answer(self, batch: list[_Request]) -> None:
        """One search for all of them: the first k of more hits are the k best."""
        queries = [query for request in batch for query in request.queries]
        try:
            found = await asyncio.to_thread(self._retriever.search, queries, max(request.k for request in batch))
        except Exception as error:  # whatever the engine raises is an answer to each of them, not the server's end
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        self._searched(len(queries))
        for request in batch:
            mine, found = found[: len(request.queries)], found[len(request.queries) :]
            if not request.answer.done():
                request.answer.set_result([hits[: request.k] for hits in mine])
