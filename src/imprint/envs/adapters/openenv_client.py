"""A server of OpenEnv, asked by the client of `openenv-core`; what goes wrong there becomes an error for the user."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from imprint.errors import GameError, RecipeError
from imprint.support.proxies import proxied, through

NEEDED = "pip install 'imprint[openenv]'"
INVALID = "(code: VALIDATION_ERROR)"  # in the client's error where an action has not the form of the server's actions
LONGEST = 300  # characters of a server's message in an error


@dataclass(frozen=True, slots=True)
class Schemas:
    """The names of the fields of observations and actions, and of those that an action must have."""

    observation: tuple[str, ...]
    action: tuple[str, ...]
    required: tuple[str, ...]


def read_schemas(url: str, timeout: float) -> Schemas:
    """The schemas of the server's observations and actions.

    Raises:
        RecipeError: `openenv-core` is not installed, or the environment's proxy cannot be used.
        GameError: there is no server, or none of OpenEnv.
    """
    try:
        import httpx
        import openenv.core  # noqa: F401 - checked here, before any request
    except ImportError as error:
        raise RecipeError("the package openenv-core is not installed", key="env.name", hint=NEEDED) from error
    try:
        with httpx.Client(transport=proxied(httpx.HTTPTransport, url, RecipeError), timeout=timeout) as client:
            answer = client.get(f"{url}/schema").raise_for_status().json()
        observation, action = answer["observation"]["properties"], answer["action"]
        return Schemas(tuple(observation), tuple(action["properties"]), tuple(action.get("required", ())))
    except httpx.HTTPError as error:
        raise GameError(
            f"does not answer{through(url)}: {error or type(error).__name__}",
            where=f"{url}/schema",
            hint="start the server, and give its address as env.url",
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise GameError(
            "is no OpenEnv server: its schema cannot be read", where=f"{url}/schema", hint="check env.url"
        ) from error


class ServerSession:
    """One session at a server: an environment of its own, reset for one episode after the other.

    Attributes:
        broken: something went wrong in it, so it is not to be used again.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url
        self.timeout = timeout
        self.broken = False
        self._connect()

    def _connect(self) -> None:
        from openenv.core import GenericEnvClient

        client = GenericEnvClient(self.url, connect_timeout_s=self.timeout, message_timeout_s=self.timeout).sync()
        self._client, self._used = client, False
        self._closing = weakref.finalize(self, _close, client)  # when the session is no longer used, and at exit

    def reset(self, arguments: Mapping[str, Any]) -> Any:
        """The first answer of a new episode.

        Raises:
            GameError: the server refuses, fails or does not answer.
        """
        used, self._used = self._used, True
        try:
            return self._client.reset(**arguments)
        except Exception as error:  # whatever the client's transport raises, the user can only look at the server
            if not used:
                raise self._failed("cannot begin an episode", error) from error
        self._closing()
        self._connect()  # a server ends sessions that were idle: once more, in a fresh one
        return self.reset(arguments)

    def step(self, action: Mapping[str, Any]) -> Any | None:
        """The answer to an action; None if the server finds that it has not the form of its actions.

        Raises:
            GameError: the server fails or does not answer.
        """
        try:
            return self._client.step(dict(action))
        except Exception as error:
            if isinstance(error, RuntimeError) and INVALID in str(error):
                return None
            raise self._failed(f"fails at the action {dict(action)!r}", error) from error

    def _failed(self, what: str, error: Exception) -> GameError:
        self.broken = True
        self._closing()
        message = f"{type(error).__name__}: {error}".strip(": ")[:LONGEST]
        return GameError(
            f"{what}: {message}",
            where=self.url,
            hint="look at the server's log; if it has no more sessions, set rollout.batch and env.sessions to the "
            "number that it can have (max_concurrent_envs)",
        )


def _close(client: Any) -> None:
    with suppress(Exception):  # it may be closed, or the server gone
        client.close()
