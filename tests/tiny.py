"""Small things the tests share: a random policy and a toy world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from imprint.models.local.policy import Policy
from imprint.pretrain.recipe import PretrainRecipe
from imprint.pretrain.tiny_model import build_tiny
from imprint.pretrain.tokenizer import train_tokenizer
from imprint.types import StepResult, Task

WORDS = "open the red door\nopen the blue door\ngo north\ngo south\nYou see a red door and a blue door.\n> look\n"


def tiny_policy(width: int = 32, layers: int = 2, max_context: int = 512, seed: int = 0) -> Policy:
    """A random Llama with a tokenizer of its own."""
    tokenizer = train_tokenizer([WORDS] * 4, 320, max_context)
    model = build_tiny(
        len(tokenizer),
        width=width,
        layers=layers,
        heads=4,
        max_context=max_context,
        seed=seed,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
    )
    return Policy(model.eval(), tokenizer, "tiny-random")


def weights_of(policy: Policy) -> torch.Tensor:
    """A copy of all weights, as one vector."""
    return torch.cat([weight.detach().flatten().clone() for weight in policy.model.parameters()])


def continuing(folder: Path, **settings: Any) -> PretrainRecipe:
    """A recipe of pre-training that continues from a random policy, which is saved in `folder`."""
    tiny_policy(max_context=2048).save(folder / "start")
    return PretrainRecipe(name="t", init=str(folder / "start"), **settings)


class DoorWorld:
    """Open the door of the task's colour; the other one ends the episode without success."""

    name = "doors"
    categories = ("red", "blue")
    max_turns = 4

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(f"{split}/{n}", self.categories[n % 2], split, self.categories[n % 2]) for n in range(8)]

    def environment(self) -> DoorEnvironment:
        return DoorEnvironment(self.max_turns)


class DoorEnvironment:
    def __init__(self, max_turns: int) -> None:
        self.max_turns = max_turns

    def reset(self, task: Task, seed: int) -> StepResult:
        self.colour, self.turn = task.source, 0
        return StepResult(f"You see a red door and a blue door. Find the {task.source} one.")

    def step(self, action: str) -> StepResult:
        self.turn += 1
        opened = next((c for c in ("red", "blue") if action == f"open the {c} door"), None)
        return StepResult(
            observation="Nothing happens." if opened is None else f"The {opened} door opens.",
            reward=float(opened == self.colour),
            terminated=opened is not None,
            truncated=opened is None and self.turn >= self.max_turns,
            success=opened == self.colour,
            valid=opened is not None,
        )


def saved_policy(folder: Path) -> Path:
    """A random policy as a folder on disk."""
    tiny_policy().save(folder)
    return folder
