"""A search engine as an HTTP server with the API of Search-R1's server; see docs/manual/retrieval.md for its API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Self

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError, model_validator

from imprint.errors import ImprintError
from imprint.retrieval.base import Hit, Retriever
from imprint.retrieval.batching import Batcher, BusyError

DEFAULT_TOPK = 3


class Limits(BaseModel):
    """What a server takes; more is refused with words that say the limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    topk: int = Field(default=100, ge=1, description="Passages a query.")
    queries: int = Field(default=256, ge=1, description="Queries a request.")
    characters: int = Field(default=8_000, ge=1, description="Characters a query.")
    body: int = Field(default=2 << 20, ge=1, description="Bytes of a request.")
    reading: float = Field(default=30.0, gt=0, description="Seconds that a request's body may take to arrive.")
    waiting: int = Field(default=4_096, ge=1, description="Queries that wait; more are refused with 503.")
    batch: int = Field(default=64, ge=1, description="Queries in one search.")
    window: float = Field(
        default=0.002, ge=0, description="Seconds that a request waits for others to be searched with."
    )


class Asked(BaseModel):
    """A request: one `query`, or several `queries`. Further keys are ignored, as Search-R1's server does."""

    query: StrictStr | None = None
    queries: list[StrictStr] | None = None
    topk: Annotated[StrictInt, Field(ge=1)] | None = None
    return_scores: StrictBool = False

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.query is None) == (self.queries is None):
            raise ValueError("give either `query` or `queries`")
        return self

    @property
    def texts(self) -> list[str]:
        return [self.query] if self.query is not None else self.queries or []


class _Meters:
    """What `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("imprint_search_requests", "Requests to /retrieve.", ["status"], registry=self.registry)
        self.queries = Counter("imprint_search_queries", "Queries answered.", registry=self.registry)
        self.seconds = Histogram(
            "imprint_search_seconds", "From a request's arrival to its answer.", registry=self.registry
        )
        self.batches = Histogram(
            "imprint_search_batch_queries",
            "Queries in one search.",
            buckets=[1, 2, 4, 8, 16, 32, 64, 128, 256],
            registry=self.registry,
        )
        self.waiting = Gauge("imprint_search_waiting_queries", "Queries without an answer.", registry=self.registry)


def make_app(retriever: Retriever, limits: Limits | None = None, facts: Mapping[str, Any] | None = None) -> FastAPI:
    """The server of one engine.

    Args:
        facts: what `/health` reports of the index.
    """
    limits, meters = limits or Limits(), _Meters()
    batcher = Batcher(
        retriever,
        window=limits.window,
        largest=limits.batch,
        waiting=limits.waiting,
        searched=lambda count: meters.batches.observe(count),
    )
    meters.waiting.set_function(lambda: batcher.waiting)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with batcher:
            yield

    app = FastAPI(title="imprint search", description="Passages for queries.", lifespan=lifespan)
    schema = {"requestBody": {"content": {"application/json": {"schema": Asked.model_json_schema()}}, "required": True}}

    @app.post("/retrieve", openapi_extra=schema)
    async def retrieve(request: Request) -> Response:
        """The hits of each query, best first."""
        began, status = time.monotonic(), 500
        try:
            asked = parse(await _body(request, limits), limits)
            found = await _searched(batcher, asked)
            meters.queries.inc(len(found))
            status = 200
            return JSONResponse({"result": [_rows(hits, asked.return_scores) for hits in found]})
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            meters.requests.labels(status=str(status)).inc()
            meters.seconds.observe(time.monotonic() - began)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """That the server runs, and what it serves."""
        return {"status": "ok", **(facts or {}), "limits": limits.model_dump()}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Figures in Prometheus's format."""
        return Response(generate_latest(meters.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def parse(body: bytes, limits: Limits) -> Asked:
    """The request in a body.

    Raises:
        HTTPException: 422, it is none or asks for more than the limits allow; 413, it is too long.
    """
    try:
        asked = Asked.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise HTTPException(422, f"{place}: {first['msg']}" if place else str(first["msg"])) from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, "the body is not JSON") from error
    texts, topk = asked.texts, asked.topk or DEFAULT_TOPK
    if not texts:
        raise HTTPException(422, "`queries` is empty")
    if len(texts) > limits.queries:
        raise HTTPException(413, f"{len(texts)} queries in a request; this server takes {limits.queries}")
    if (longest := max(map(len, texts))) > limits.characters:
        raise HTTPException(413, f"a query has {longest} characters; this server takes {limits.characters}")
    if topk > limits.topk:
        raise HTTPException(422, f"`topk` is {topk}; this server gives at most {limits.topk}")
    if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
        raise HTTPException(422, "a query holds half a character (a lone surrogate)")
    return asked


async def _body(request: Request, limits: Limits) -> bytes:
    """The body, unless it is too long or too slow."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.reading):
            async for part in request.stream():
                size += len(part)
                if size <= limits.body:
                    parts.append(part)
                elif size > 8 * limits.body:  # what is a little too long is read on, so that its sender hears why
                    break
    except TimeoutError as error:
        raise HTTPException(408, f"the body did not arrive in {limits.reading:g} s") from error
    if size > limits.body:
        raise HTTPException(413, f"the body has more than {limits.body} bytes, which is what this server takes")
    return b"".join(parts)


async def _searched(batcher: Batcher, asked: Asked) -> list[list[Hit]]:
    try:
        return await batcher.search(asked.texts, asked.topk or DEFAULT_TOPK)
    except BusyError as error:
        raise HTTPException(503, "too many queries are waiting; ask again", {"Retry-After": "1"}) from error
    except ImprintError as error:
        raise HTTPException(500, f"the engine cannot answer: {error.problem}") from error


def _rows(hits: Sequence[Hit], scored: bool) -> list[dict[str, Any]]:
    documents = [{"id": hit.passage.id, "contents": hit.passage.contents} for hit in hits]
    if not scored:
        return documents
    return [{"document": document, "score": hit.score} for document, hit in zip(documents, hits, strict=True)]
