"""The device of a model: whether it is there, and what is said when it is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from imprint.errors import PolicyError, RecipeError


def check_device(device: str) -> str:
    """The device that a recipe's `device` means.

    Raises:
        RecipeError: this machine has no such device; names those that it has.
    """
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    there = ["cpu", *(["cuda", *gpus] if gpus else []), *(["mps"] if torch.backends.mps.is_available() else [])]
    if device == "auto":
        return "cuda" if gpus else "cpu"
    if device in there:
        return device
    with suppress(RuntimeError, AssertionError, NotImplementedError):  # of hardware that we do not know
        if device != "meta" and torch.empty(1, device=device).cpu() is not None:
            return device
    raise RecipeError(
        f"there is no device {device!r} here", key="device", hint=f"this machine has: auto, {', '.join(there)}"
    )


@contextmanager
def within_memory() -> Iterator[None]:
    """A device that is full is an error of ours.

    Raises:
        PolicyError: it is full.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise PolicyError(
            f"the device has no memory left: {str(error).splitlines()[0]}",
            key="device",
            hint="lower rollout.batch (playing) or learner.micro_tokens (learning), set learner.precision: bfloat16, "
            "or use a smaller model; see also which other processes use the device",
        ) from error
