"""Checkpoints: a Hugging Face folder with, beside it, everything needed to go on as if never interrupted.

checkpoints/step-000010/
  config.json, model.safetensors, tokenizer.json, ...   loads in transformers, vLLM and PEFT as it is
  trainer.pt                                            optimizer, random-number state, the method's memory
  state.json                                            step, counters, curriculum with its history
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imprint.errors import CheckpointError
from imprint.learning.learner import Learner
from imprint.models.local.policy import Policy, without_bars
from imprint.runs.run import Run
from imprint.support.files import atomic_folder


def save_checkpoint(
    run: Run,
    step: int,
    policy: Policy,
    learner: Learner,
    state: dict[str, Any],
    keep: int,
    memory: dict[str, Any] | None = None,
) -> Path:
    """Write the checkpoint of `step` atomically and remove all but the newest `keep`.

    Args:
        state: counters and the curriculum, for `state.json`.
        memory: what the method keeps besides; tensors are welcome.

    Raises:
        CheckpointError: the disk is full; what was there before is untouched.
    """
    path = run.checkpoint_path(step)
    with atomic_folder(path) as folder:
        policy.save(folder)
        trainer = {"learner": learner.state(), "torch_rng": torch.get_rng_state(), "memory": memory or {}}
        torch.save(trainer, folder / "trainer.pt")
        (folder / "state.json").write_text(json.dumps({"step": step, **state}, indent=1), encoding="utf-8")
    for old in run.checkpoint_steps()[:-keep]:
        shutil.rmtree(run.checkpoint_path(old))
    return path


def load_checkpoint(path: Path, policy: Policy, learner: Learner) -> dict[str, Any]:
    """Put weights, optimizer and random state back; returns the rest of the state, the memory as `memory`.

    Raises:
        CheckpointError: a part is missing, cut short or of another model.
    """
    try:
        weights = _weights(path, policy.model)
        trainer = torch.load(path / "trainer.pt", map_location="cpu", weights_only=True)
        documents = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in path.glob("*.json")}
        state: dict[str, Any] = documents["state.json"]  # the others are read to see that they are whole
        policy.model.load_state_dict(weights)
        policy.model.tie_weights()
        learner.restore(trainer["learner"])
        torch.set_rng_state(trainer["torch_rng"].cpu())
        state["memory"] = trainer["memory"]
    except Exception as error:  # safetensors, pickle, zip and json each fail in their own ways on a cut file
        raise CheckpointError(
            f"cannot be read: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'empty'}",
            where=path,
            hint="delete this folder; the run then resumes from the checkpoint before it",
        ) from error
    return state


def _weights(path: Path, model: Any) -> dict[str, Tensor]:
    """The checkpoint's weights by the model's names: files can hold them by others, and in several parts."""
    with without_bars():
        saved, told = type(model).from_pretrained(path, dtype=model.dtype, output_loading_info=True)
    wrong = sorted({*told["missing_keys"], *told["unexpected_keys"]})
    if wrong:
        raise ValueError(f"weights do not fit the model: {wrong[:3]}")
    weights: dict[str, Tensor] = saved.state_dict()
    return weights
