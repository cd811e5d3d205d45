"""The settings of a model behind an endpoint: plain data."""

from __future__ import annotations

import json
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from imprint.support.keys import MAY_CHANGE, MayBePath

OURS = ("model", "messages", "stream", "n")  # keys of a request that Imprint sets
STORE = "runs/episodes"  # in the working directory, as `runs` is
SECRETS = ("api_key", "api-key", "authorization")


class EndpointConfig(BaseModel):
    """The recipe's `endpoint` section: a server with OpenAI's chat completions API; the recipe's `model` is then the
    name under which it serves the model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    base_url: str = Field(description="Where the API is, e.g. http://localhost:8000/v1 (vLLM, SGLang, llama.cpp).")
    api_key_env: Annotated[str | None, MAY_CHANGE] = Field(
        default=None,
        description="NAME of the environment variable that holds the key; null: no key is sent. Never the key itself.",
        pattern=r"^[A-Z][A-Z0-9_]*$",
    )
    concurrency: Annotated[int, MAY_CHANGE] = Field(
        default=8, ge=1, description="Episodes in flight at once, each with one request at a time."
    )
    requests_per_minute: Annotated[float | None, MAY_CHANGE] = Field(
        default=None, gt=0, description="Requests are spaced evenly to keep it."
    )
    tokens_per_minute: Annotated[float | None, MAY_CHANGE] = Field(
        default=None, gt=0, description="Prompt and longest answer count, as providers count; retries too."
    )
    timeout: Annotated[float, MAY_CHANGE] = Field(
        default=120.0, gt=0, description="Seconds for one answer; then the request is tried again."
    )
    retries: Annotated[int, MAY_CHANGE] = Field(
        default=8,
        ge=0,
        description="Tries after the first, with exponential back-off (8: about two minutes) or after `Retry-After`.",
    )
    price_input: Annotated[float | None, MAY_CHANGE] = Field(
        default=None, ge=0, description="Of a million prompt tokens, in any currency."
    )
    price_output: Annotated[float | None, MAY_CHANGE] = Field(
        default=None, ge=0, description="Of a million answered tokens."
    )
    price_cached: Annotated[float | None, MAY_CHANGE] = Field(
        default=None, ge=0, description="Of a million prompt tokens that the server had cached; null: as price_input."
    )
    extra: dict[str, Any] = Field(
        default={},
        description="Further keys of every request; they go before ours, and null leaves a key out, "
        "e.g. {max_tokens: null, max_completion_tokens: 2000, seed: null}.",
    )
    store: Annotated[str, MAY_CHANGE, MayBePath(names=(STORE,), made=True)] = Field(
        default=STORE, description="The folder that keeps finished episodes, so that none is paid twice."
    )

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            wrong = parts.port == 0 or not url.isprintable() or " " in url
        except ValueError:  # no IPv6 address, or no port
            wrong = True
        if wrong or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no http(s) address, as http://localhost:8000/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError("holds a name or password; use api_key_env")
        if parts.query or parts.fragment:
            raise ValueError("ends in a query; give the address up to /v1")
        return url.rstrip("/").removesuffix("/chat/completions")

    @field_validator("extra")
    @classmethod
    def _check_extra(cls, extra: dict[str, Any]) -> dict[str, Any]:
        for key in extra:
            if key in OURS:
                raise ValueError(f"{key!r} is not yours to set")
            if key.lower() in SECRETS:
                raise ValueError("holds a key; use api_key_env")
        try:
            json.dumps(extra, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"cannot be sent as JSON: {error}") from error
        return extra

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        if (self.price_input is None) != (self.price_output is None):
            raise ValueError("price_input and price_output: give both or none")
        return self
