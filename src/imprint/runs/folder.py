"""What makes a folder a run's: its marker, and the names of everything that a run writes in it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from imprint.errors import CheckpointError
from imprint.support import files

RECIPE, STATUS, MARKER, LOCK = "recipe.yaml", "status.json", "run.json", ".lock"
FORMAT = {"imprint_run": 1}  # the marker's content: any other run.json is not ours
STATES = ("running", "finished", "interrupted", "failed")
Record = Literal["metrics", "trials", "evaluations", "curriculum", "timings"]
RECORDS: tuple[Record, ...] = ("metrics", "trials", "evaluations", "curriculum", "timings")
EPISODES = re.compile(r"step-(\d{6,})\.([a-z0-9_+-]+)\.jsonl")
CHECKPOINT = re.compile(r"step-(\d{6,})")
FILES = frozenset(
    {
        *(RECIPE, STATUS, MARKER, LOCK, "trust.json", "machine.json", "probe.pt", "report.html"),
        *(f"{record}.jsonl" for record in RECORDS),
    }
)
FOLDERS = {
    "episodes": EPISODES,
    "checkpoints": CHECKPOINT,
    "tensorboard": re.compile(r"events\.out\.tfevents\..*"),
    "wandb": re.compile(r"(offline-)?run-.*|latest-run|debug.*\.log|settings|wandb-resume\.json"),
}
# What an older checkpoint, which does not list its files, may hold: names that transformers and `checkpoint.py` give.
OLD_CHECKPOINT = re.compile(
    r"trainer\.pt|model(-\d+-of-\d+)?\.safetensors|(vocab|merges)\.txt|chat_template\.jinja|[a-z.]+\.(model|tiktoken)|"
    r"(state|vocab|tokenizer|tekken|added_tokens|special_tokens_map|model\.safetensors\.index|([a-z]+_)*config)\.json"
)


def is_run(folder: Path) -> bool:
    """Whether a run is in `folder`: its marker, or of a run older than that a status or a checkpoint.

    A `recipe.yaml` alone is a user's own file.
    """
    if not (folder / RECIPE).is_file():
        return False
    status = _read(folder / STATUS)
    return (
        _is_marked(folder)
        or (status.get("state") in STATES and isinstance(status.get("step"), int))
        or any(
            CHECKPOINT.fullmatch(path.parent.name) and (path.parent / "trainer.pt").is_file() and "step" in _read(path)
            for path in folder.glob("checkpoints/*/state.json")
        )
    )


def mark(folder: Path) -> None:
    """Make `folder` a run's."""
    if not _is_marked(folder):
        files.atomic_write(folder / MARKER, json.dumps(FORMAT) + "\n")


def refuse_missing(folder: Path) -> None:
    """Refuse a folder that holds no run.

    Raises:
        CheckpointError: it holds none.
    """
    if not is_run(folder):
        has = "only a recipe.yaml, which makes no run" if (folder / RECIPE).exists() else "recipe.yaml is missing"
        raise CheckpointError(f"no run here ({has})", where=folder, hint="give a folder that `imprint train` has made")


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder in which no run can begin: it is a file, or holds something else.

    Raises:
        CheckpointError: it is, or does.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        what = "a link that leads nowhere" if folder.is_symlink() and not folder.exists() else "a file, not a folder"
        raise CheckpointError(f"this is {what}", where=folder, hint="choose another path")
    # A writer killed before its recipe was on the disk leaves its marker and hidden files.
    if folder.is_dir() and any(not (entry.name.startswith(".") or _is_marker(entry)) for entry in folder.iterdir()):
        raise CheckpointError(
            "the folder is not empty and holds no run", where=folder, hint="choose an empty or new folder"
        )


def refuse_mixed(folder: Path) -> None:
    """Refuse to remove a run that shares its folder with what it did not write.

    Raises:
        CheckpointError: something else lies in it, at any depth; or it is no run, and not empty.
    """
    if not is_run(folder):
        return refuse_foreign(folder)
    other = next(_foreign(folder), None)
    if other is not None:
        raise CheckpointError(
            f"{str(other.relative_to(folder))!r} was not written by the run, so nothing is removed",
            where=folder,
            hint="move it, or choose another folder",
        )
    return None


def clear(folder: Path) -> None:
    """Remove what a run has written in `folder`, and leave the folder itself; the caller holds the run's lock.

    Raises:
        CheckpointError: as `refuse_mixed`; nothing is removed then.
    """
    refuse_mixed(folder)
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name in (LOCK, MARKER, RECIPE)):  # a run to the end
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _foreign(folder: Path) -> Iterator[Path]:
    """What is in a run's folder and not written by it. A link is never followed."""
    for entry in sorted(folder.iterdir()):
        name = files.leftover_of(entry.name)[0] or entry.name
        if entry.is_symlink() or not (name in FOLDERS if entry.is_dir() else name in FILES):
            yield entry
        elif entry.is_dir():
            for inner in sorted(entry.iterdir()):
                if not FOLDERS[name].fullmatch(files.leftover_of(inner.name)[0] or inner.name):
                    yield inner
                elif name == "checkpoints":
                    yield from _foreign_in_checkpoint(inner)
                elif inner.is_dir() and name != "wandb":
                    yield inner


def _foreign_in_checkpoint(folder: Path) -> Iterator[Path]:
    if folder.is_symlink() or not folder.is_dir():
        yield folder
    elif files.leftover_of(folder.name)[0] is None:
        listed = _read(folder / "state.json").get("files")
        for entry in sorted(folder.iterdir()):
            known = entry.name in listed if isinstance(listed, list) else OLD_CHECKPOINT.fullmatch(entry.name)
            if not known or entry.is_symlink():
                yield entry


def _is_marked(folder: Path) -> bool:
    return _is_marker(folder / MARKER)


def _is_marker(path: Path) -> bool:
    return path.name == MARKER and "imprint_run" in _read(path)


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
