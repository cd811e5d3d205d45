"""A model behind an OpenAI-compatible server: messages in, an answer out, with retries and rate limits.

Whatever fails is tried again or ends the job with an error; it never becomes an answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from imprint.errors import PolicyError, RecipeError
from imprint.models.sampling import Sampling
from imprint.models.served import server
from imprint.models.served.client import open_client
from imprint.models.served.config import EndpointConfig
from imprint.models.served.server import CHARACTERS, Reply, TransientError
from imprint.models.served.usage import Meter, Usage
from imprint.support.proxies import through

if TYPE_CHECKING:
    import httpx
    from aiolimiter import AsyncLimiter
    from tenacity import RetryCallState

Message = Mapping[str, str]
Answer = TypeVar("Answer")
_JSON = {"Content-Type": "application/json"}
LONGEST_WAIT = 600.0  # seconds; a server that asks for more is taken as a refusal
LARGEST = 32 << 20  # bytes of an answer
GREETING = 10.0  # seconds for the list of models, which decides nothing


class Endpoint:
    """One model of one server.

    Args:
        model: the name under which the server knows it.

    Raises:
        RecipeError: the extra is not installed, or the key's variable is not set.
    """

    first_wait = 0.5  # seconds before the first retry; they double from there, up to a minute

    def __init__(self, config: EndpointConfig, model: str) -> None:
        _check_installed()
        self.config = config
        self.model = model
        self.meter = Meter(config)
        self._key = _read_key(config)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """A connection, after a look at whether the server is there at all.

        Raises:
            PolicyError: there is no server, it refuses the key, or its address or proxy is none.
        """
        async with open_client(self.config, self._key) as client:
            yield Connection(self, client, await self._greet(client))

    def read(self, response: httpx.Response, messages: Sequence[Message]) -> Reply:
        """The answer in a 200, see `server.read_reply`."""
        return server.read_reply(response.content, messages, self._key)

    def refuse(self, response: httpx.Response, served: Sequence[str] = ()) -> None:
        """Raise what the response means, see `server.raise_refusal`."""
        server.raise_refusal(
            response.status_code,
            response.content,
            response.headers,
            where=self.config.base_url,
            model=self.model,
            served=served,
            secret=self._key,
        )

    async def _greet(self, client: httpx.AsyncClient) -> list[str]:
        """The names of the models, where the server lists them."""
        import httpx

        try:
            async with asyncio.timeout(GREETING):
                async with client.stream("GET", "models") as streamed:
                    response = await _whole(streamed)
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise PolicyError(
                f"the server cannot be reached{through(self.config.base_url)}: {error}",
                where=self.config.base_url,
                key="endpoint.base_url",
                hint="start the server, or correct the address; finished episodes are kept",
            ) from error
        except (httpx.RequestError, TransientError, TimeoutError):
            return []
        if response.status_code == 401:
            self.refuse(response)
        return _names(response)


class Connection:
    """An open connection. Several episodes use it at once."""

    def __init__(self, endpoint: Endpoint, client: httpx.AsyncClient, served: Sequence[str]) -> None:
        from aiolimiter import AsyncLimiter

        config = endpoint.config
        self.endpoint = endpoint
        self.client = client
        self.served = served
        self._requests = AsyncLimiter(1, 60 / config.requests_per_minute) if config.requests_per_minute else None
        self._tokens: AsyncLimiter | None = AsyncLimiter(config.tokens_per_minute) if config.tokens_per_minute else None
        self._closed_until = 0.0  # when the server asked to come back, for all episodes

    async def complete(self, messages: Sequence[Message], sampling: Sampling, seed: int) -> Reply:
        """The model's answer to `messages`.

        Raises:
            ContextFullError: they are too long for it.
            PolicyError: the server refuses, or gives no answer however often it is asked.
        """
        body = self._body(messages, sampling, seed)
        return await self.persist(lambda: self._ask(body, messages))

    async def persist(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """What `ask` gives, asked again as often as the settings allow while the server is busy or broken.

        Raises:
            PolicyError: it gives nothing however often it is asked.
        """
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

        first = self.endpoint.first_wait
        backoff = wait_exponential(multiplier=first, max=60) + wait_random(0, first)
        try:
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(self.endpoint.config.retries + 1),
                wait=lambda state: self._wait(state, backoff(state)),
                retry=retry_if_exception_type(TransientError),
                before_sleep=self._count_retry,
                reraise=True,
            ):
                with attempt:
                    return await ask()
        except TransientError as error:
            raise PolicyError(
                f"no answer after {self.endpoint.config.retries + 1} tries: {error}",
                where=self.endpoint.config.base_url,
                key="endpoint.retries",
                hint="see that the server runs and that base_url is its API (it mostly ends in /v1); the same command "
                "resumes, and finished episodes are kept",
            ) from error
        raise AssertionError("tenacity returns or raises")

    def _body(self, messages: Sequence[Message], sampling: Sampling, seed: int) -> dict[str, Any]:
        body = {
            "model": self.endpoint.model,
            "messages": list(messages),
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_new_tokens,
            "seed": seed & 0x7FFFFFFF,  # the range that every server takes
            **self.endpoint.config.extra,
        }
        return {key: value for key, value in body.items() if value is not None}

    async def post(self, path: str, body: Mapping[str, Any], characters: int, longest: int = 0) -> httpx.Response:
        """One request, when the limits let it through; it counts as `characters` of text and `longest` tokens.

        Raises:
            TransientError: there is no answer.
        """
        import httpx

        # A lone surrogate can go nowhere.
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        await self._admission(characters, longest)
        try:
            async with asyncio.timeout(self.endpoint.config.timeout):
                async with self.client.stream("POST", path, content=content, headers=_JSON) as response:
                    return await _whole(response)
        except TimeoutError as error:
            raise TransientError(f"no answer in {self.endpoint.config.timeout:g} s") from error
        except httpx.RequestError as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error

    async def _ask(self, body: Mapping[str, Any], messages: Sequence[Message]) -> Reply:
        """One try."""
        characters = sum(len(message["content"]) for message in messages)
        response = await self.post("chat/completions", body, characters, int(body.get("max_tokens", 0)))
        finished = response.is_success  # some frameworks answer a POST with 201
        reply = self.endpoint.read(response, messages) if finished else self._filtered(response, messages)
        self.endpoint.meter.spent.add(reply.usage)
        return reply

    def _filtered(self, response: httpx.Response, messages: Sequence[Message]) -> Reply:
        """The empty answer that a filter's refusal is; every other refusal is raised."""
        try:
            self.endpoint.refuse(response, self.served)
        except server.FilteredError:
            return Reply("", "", Usage(requests=1, empty=1))
        raise AssertionError("a refusal is raised")

    async def _admission(self, characters: int, longest: int) -> None:
        """Wait until the server and the limits let one more request through."""
        while (pause := self._closed_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        if self._tokens is not None:
            wanted = characters / CHARACTERS + longest
            await self._tokens.acquire(min(wanted, self._tokens.max_rate))
        if self._requests is not None:
            await self._requests.acquire()

    def _wait(self, state: RetryCallState, backoff: float) -> float:
        """Seconds to the next try: what the server asks for, at least the back-off."""
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.wait if isinstance(error, TransientError) else None
        if asked is None:
            return backoff
        if asked > LONGEST_WAIT:
            raise PolicyError(
                f"the server asks to wait {asked:,.0f} s: {error}",
                where=self.endpoint.config.base_url,
                key="endpoint.requests_per_minute",
                hint="give the same command again later (finished episodes are kept), or keep the provider's limits",
            )
        asked = max(asked, backoff)  # some servers always ask for 0
        self._closed_until = max(self._closed_until, time.monotonic() + asked)
        return asked

    def _count_retry(self, state: RetryCallState) -> None:
        self.endpoint.meter.spent.retries += 1


def _read_key(config: EndpointConfig) -> str:
    """The key, or "" where none is asked for."""
    if config.api_key_env is None:
        return ""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key or not (key.isascii() and key.isprintable()):
        raise RecipeError(
            f"the environment variable {config.api_key_env} {'holds no key' if key else 'is not set'}",
            key="endpoint.api_key_env",
            hint=f"export {config.api_key_env}=..., or leave the key out for a server that needs none",
        )
    return key


async def _whole(response: httpx.Response) -> httpx.Response:
    """The response with its body, unpacked.

    Raises:
        TransientError: it is larger than `LARGEST`.
    """
    import httpx

    parts, size = [], 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise TransientError(f"the answer is larger than {LARGEST:,} bytes")
    headers = [
        pair for pair in response.headers.raw if pair[0].lower() != b"content-encoding"
    ]  # bytes: of any encoding
    return httpx.Response(response.status_code, headers=headers, content=b"".join(parts))


def _names(response: httpx.Response) -> list[str]:
    try:
        return [str(entry["id"]) for entry in response.json()["data"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []


def _check_installed() -> None:
    try:
        import aiolimiter
        import httpx
        import tenacity
    except ImportError as error:
        raise RecipeError(
            f"a model behind an endpoint needs {error.name}, which is not installed",
            key="endpoint",
            hint="pip install 'imprint[openai]'",
        ) from error
    del aiolimiter, httpx, tenacity
