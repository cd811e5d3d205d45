"""The proxy that the environment names for a server, and transports of httpx through it.

The environment's proxies are read here, because httpx fails on some that are meant for other servers (`NO_PROXY=[::1]`,
SOCKS without its extra).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from imprint.errors import ImprintError

__all__ = ["proxied", "proxy_for", "through"]

Transport = TypeVar("Transport")


def proxied(make: Callable[..., Transport], url: str, kind: type[ImprintError]) -> Transport:
    """What `make(proxy=...)`, a transport of httpx, gives for the server at `url`.

    Raises:
        ImprintError: of this kind; the proxy cannot be used.
    """
    try:
        return make(proxy=proxy_for(url))
    except Exception as error:  # httpx.InvalidURL is of no kind but Exception, and httpx is not imported here
        hint = "correct the proxy (http, https, socks5, socks5h)"
        if isinstance(error, ImportError):
            hint = "for SOCKS: pip install 'httpx[socks]'"
        raise kind(
            f"the server cannot be asked{through(url)}",
            where=url,
            key="HTTP_PROXY, HTTPS_PROXY or ALL_PROXY",
            hint=f"{hint}, or exempt the server with NO_PROXY",
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
