"""Checkpoints: a Hugging Face folder with, beside it, everything needed to resume as if never interrupted.

checkpoints/step-000010/
  config.json, model.safetensors, tokenizer.json, ...   loads in transformers, vLLM and PEFT as it is
  trainer.pt                                            optimizer, random-number state, the method's memory
  state.json                                            step, counters, curriculum with its history; the files here
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import torch

from imprint.errors import CheckpointError
from imprint.runs.run import Run
from imprint.support.files import atomic_folder


class Saved(Protocol):
    """What a checkpoint saves: a learner with its policy."""

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


def save_checkpoint(
    run: Run,
    step: int,
    learner: Saved,
    state: dict[str, Any],
    keep: int,
    kept: Collection[int | None] = (),
    memory: dict[str, Any] | None = None,
) -> Path:
    """Write the checkpoint of `step` atomically and remove all but the newest `keep`, and those of the steps `kept`.

    Args:
        state: counters and what the method keeps as JSON, for `state.json`.
        memory: what the method keeps besides: plain types and tensors.

    Raises:
        CheckpointError: the disk is full; what was there before is untouched.
    """
    path = run.checkpoint_path(step)
    with atomic_folder(path) as folder:
        learner.save(folder)
        trainer = {"learner": learner.state(), "torch_rng": torch.get_rng_state(), "memory": memory or {}}
        torch.save(trainer, folder / "trainer.pt")
        listed = sorted(entry.name for entry in folder.iterdir())  # what may be removed with the run
        content = {"step": step, **state, "files": [*listed, "state.json"]}
        (folder / "state.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    for old in run.checkpoint_steps()[:-keep]:
        if old not in kept:
            shutil.rmtree(run.checkpoint_path(old))
    return path


def load_checkpoint(path: Path, learner: Saved) -> dict[str, Any]:
    """Put weights, optimizer and random state back; returns the rest of the state, the memory as `memory`.

    Raises:
        CheckpointError: a part is missing, cut short or of another model.
    """
    try:
        trainer = torch.load(path / "trainer.pt", map_location="cpu", weights_only=True)
        documents = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in path.glob("*.json")}
        state: dict[str, Any] = documents["state.json"]  # the others are read to see that they are whole
        learner.load(path)
        learner.restore(trainer["learner"])
        torch.set_rng_state(trainer["torch_rng"].cpu())
        state.pop("files", None)
        state["memory"] = trainer["memory"]
    except Exception as error:  # safetensors, pickle, zip and json each fail in their own ways on a cut file
        raise CheckpointError(
            f"cannot be read: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'empty'}",
            where=path,
            hint="delete this folder; the run then resumes from the checkpoint before it",
        ) from error
    return state
