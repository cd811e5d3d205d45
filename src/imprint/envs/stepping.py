"""Environments that may be asynchronous: `reset` and `step` give a result, or an awaitable of one.

What several environments are asked at once is awaited together, on an event loop of its own thread: a batch of episodes
over a network takes as long as the slowest of them, and it works where a loop is running already (a notebook).
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import cast

from imprint.types import StepResult

__all__ = ["Answer", "settled", "settled_all"]

Answer = StepResult | Awaitable[StepResult]


def settled_all(answers: Sequence[Answer]) -> list[StepResult]:
    """The results, in order; those that are awaitable are awaited together.

    Raises:
        Exception: the first that an environment raised, once all have ended.
    """
    waiting = [answer for answer in answers if inspect.isawaitable(answer)]
    if not waiting:
        return cast(list[StepResult], list(answers))
    found = iter(asyncio.run_coroutine_threadsafe(_together(waiting), _loop()).result())
    return [next(found) if inspect.isawaitable(answer) else answer for answer in answers]


def settled(answer: Answer) -> StepResult:
    """One result."""
    return settled_all([answer])[0]


async def _together(waiting: Sequence[Awaitable[StepResult]]) -> list[StepResult]:
    found = await asyncio.gather(*waiting, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return cast(list[StepResult], found)


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    """The loop that awaits, in a thread that ends with the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="imprint-environments", daemon=True).start()
    return loop
