"""The HTTP client for one server, through the proxy that the environment names for it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from imprint.errors import PolicyError
from imprint.models.served.config import EndpointConfig
from imprint.support.proxies import proxied

if TYPE_CHECKING:
    import httpx

IDLE = 2.0  # seconds that a connection is kept unused: many servers hang up after 5, just when it is wanted again


def open_client(config: EndpointConfig, key: str) -> httpx.AsyncClient:
    """A client that sends `key` to `config.base_url` and follows no redirect.

    Raises:
        PolicyError: the address or the proxy cannot be used.
    """
    import httpx

    limits = httpx.Limits(max_connections=config.concurrency, keepalive_expiry=IDLE)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = proxied(partial(httpx.AsyncHTTPTransport, limits=limits), config.base_url, PolicyError)
    try:
        return httpx.AsyncClient(base_url=f"{config.base_url}/", headers=headers, transport=transport, timeout=None)
    except httpx.InvalidURL as error:
        raise PolicyError(
            f"is no address: {error}",
            where=config.base_url,
            key="endpoint.base_url",
            hint="give one, as http://localhost:8000/v1",
        ) from error
