"""The HTTP client for one server, through the proxy that the environment names for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from imprint.errors import PolicyError
from imprint.models.served.config import EndpointConfig

if TYPE_CHECKING:
    import httpx

IDLE = 2.0  # seconds that a connection is kept unused: many servers hang up after 5, just when it is wanted again


def open_client(config: EndpointConfig, key: str) -> httpx.AsyncClient:
    """A client that sends `key` to `config.base_url` and follows no redirect.

    The environment's proxies are read here, because httpx fails on some that are meant for other servers.

    Raises:
        PolicyError: the address or the proxy cannot be used.
    """
    import httpx

    limits = httpx.Limits(max_connections=config.concurrency, keepalive_expiry=IDLE)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        transport = httpx.AsyncHTTPTransport(limits=limits, proxy=proxy_for(config.base_url))
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise PolicyError(
            f"the server cannot be asked{through(config.base_url)}",
            where=config.base_url,
            key="HTTP_PROXY, HTTPS_PROXY or ALL_PROXY",
            hint="correct the proxy, exempt the server with NO_PROXY, or for SOCKS: pip install 'httpx[socks]'",
        ) from error
    try:
        return httpx.AsyncClient(base_url=f"{config.base_url}/", headers=headers, transport=transport, timeout=None)
    except httpx.InvalidURL as error:
        raise PolicyError(
            f"is no address: {error}",
            where=config.base_url,
            key="endpoint.base_url",
            hint="give one, as http://localhost:8000/v1",
        ) from error


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an address (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, less NO_PROXY)."""
    parts, proxies = urlsplit(url), getproxies()
    names = (parts.hostname or "", f"[{parts.hostname}]", parts.netloc)
    exempt = "*" in proxies.get("no", "").split(",") or any(map(proxy_bypass, names))
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if exempt or not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def through(url: str) -> str:
    """How an error names the proxy for `url`, without its password; "" where there is none."""
    proxy = proxy_for(url)
    return "" if proxy is None else f" through the proxy {re.sub('//.*@', '//***@', proxy)}"
