"""The environment's proxies, for everything that asks a server: models, search engines, environments."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("httpx", reason="imprint[openai] is not installed")
pytest.importorskip("tenacity", reason="imprint[openai] is not installed")

from faulty_server import faulty
from imprint.envs.adapters.openenv_client import read_schemas
from imprint.errors import GameError, ImprintError
from imprint.models.served.client import open_client
from imprint.models.served.config import EndpointConfig
from imprint.retrieval.base import Hit, Passage
from imprint.retrieval.client import SearchClient
from imprint.support.proxies import proxy_for

HIT = [[Hit(Passage("3", "x\ny"), 1.0)]]
SOCKS = importlib.util.find_spec("socksio") is not None
openenv = pytest.mark.skipif(importlib.util.find_spec("openenv") is None, reason="imprint[openenv] is not installed")
ASKING: list[Any] = [
    pytest.param(lambda url: open_client(EndpointConfig(base_url=url), ""), id="model"),
    pytest.param(SearchClient, id="search"),
    pytest.param(lambda url: read_schemas(url, 5.0), id="openenv", marks=openenv),
]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://host/v1", "http://p:1"),
        ("https://host/v1", "socks5://p:2"),
        ("http://[::1]:8000/v1", None),
        ("http://[fe80::2]:8000/v1", None),
        ("http://[fe80::3]:8000/v1", "http://p:1"),
        ("http://localhost:8000/v1", None),
        ("http://a.internal/v1", None),
        ("http://internal.example/v1", "http://p:1"),
        ("http://other:81/v1", None),
        ("http://other:82/v1", "http://p:1"),
    ],
)
def test_the_environments_proxy_of_an_address(url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "p:1")
    monkeypatch.setenv("ALL_PROXY", "socks5://p:2")
    monkeypatch.setenv("NO_PROXY", "localhost, [::1],fe80::2 ,.internal,other:81")
    assert proxy_for(url) == proxy


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize(
    ("proxy", "hint"),
    [
        pytest.param(
            "socks5://me:hidden@p:1080",
            r"for SOCKS: pip install 'httpx\[socks\]'",
            marks=pytest.mark.skipif(SOCKS, reason="SOCKS is supported here"),
        ),
        ("socks4://me:hidden@p:1080", "correct the proxy"),
        ("http://me:hidden@p:port", "correct the proxy"),
        ("http://me:hidden@[::1", "correct the proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_clear_error(
    ask: Callable[[str], object], monkeypatch: pytest.MonkeyPatch, proxy: str, hint: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    told = rf"ALL_PROXY: the server cannot be asked through the proxy \w+://\*\*\*@(.|\n)*hint: {hint}"
    with pytest.raises(ImprintError, match=told) as caught:
        ask("http://somewhere.invalid/v1")
    assert "hidden" not in str(caught.value)


def test_each_search_server_is_asked_through_its_own_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty() as (url, asked), faulty() as (other, asked_other):
        port = url.rpartition(":")[2].split("/")[0]
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", f"[::1],{other.split('//')[1].split('/')[0]}")
        client = SearchClient(f"http://somewhere.invalid,{other}")
        assert client.search(["a"], 2) == client.search(["b"], 2) == HIT
    assert ([one["query"] for one in asked], [one["query"] for one in asked_other]) == (["a"], ["b"])


@openenv
def test_the_address_of_an_environment_may_be_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "[::1]")
    with pytest.raises(GameError, match=r"http://\[::1\]:9/schema: does not answer: "):
        read_schemas("http://[::1]:9", 5.0)
    with pytest.raises(GameError, match=r"does not answer through the proxy http://127.0.0.1:9: "):
        read_schemas("http://127.0.0.1:9", 5.0)
