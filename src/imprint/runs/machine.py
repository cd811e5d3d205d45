"""The machines that a run was trained on: `machine.json`, an entry for each on which it began or was resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from imprint.errors import CheckpointError
from imprint.support.files import atomic_write, read_text
from imprint.support.machine import machine

__all__ = ["machines", "record_machine"]

FILE_NAME = "machine.json"


def record_machine(run: Path, device: str, step: int) -> None:
    """Add this machine, from `step` on, unless it is the one that was there last.

    Raises:
        CheckpointError: the record is damaged, or cannot be written.
    """
    known, now = machines(run), {"from_step": step, **machine(device)}
    if not known or known[-1] | {"from_step": step} != now:
        atomic_write(run / FILE_NAME, json.dumps([*known, now], indent=1) + "\n")


def machines(run: Path) -> list[dict[str, Any]]:
    """What was recorded, oldest first; nothing in runs of older versions.

    Raises:
        CheckpointError: the record is damaged.
    """
    path = run / FILE_NAME
    if not path.exists():
        return []
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise CheckpointError(f"not JSON: {error}", where=path, hint="remove the file") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise CheckpointError("not a list of machines", where=path, hint="remove the file")
    return found
