"""A policy of imprint-tiny's size: where only time counts, random weights do as well as trained ones."""

from __future__ import annotations

from typing import Any

from imprint.envs.household.world import HouseholdWorld
from imprint.models.local.policy import TINY, Policy, tiny_folder
from imprint.pretrain.tiny_model import build_tiny
from imprint.pretrain.tokenizer import train_tokenizer
from imprint.skills.library import load_library

# The architecture of imprint-tiny (recipes/pretrain/household.yaml).
VOCAB, WIDTH, LAYERS, HEADS, MAX_CONTEXT = 1536, 128, 4, 4, 2048


def random_policy(*, quick: bool = False, seed: int = 0) -> Policy:
    """imprint-tiny's architecture with random weights, and a tokenizer trained on a little of its language."""
    world = HouseholdWorld(train=60)
    texts = [f"{skill.name}\n{skill.description}\n{skill.body}" for skill in load_library("household").skills]
    for demo in filter(None, map(world.demonstration, range(6 if quick else 150))):
        texts += [demo.first.observation, *(f"# {page.name}\n{page.description}\n{page.body}" for page in demo.pages)]
        texts += [f" {command}\n{result.observation}\n>" for command, result, _ in demo.turns]
    tokenizer = train_tokenizer(texts, VOCAB, MAX_CONTEXT, world.phrases)
    return Policy(random_model(tokenizer, quick=quick, seed=seed).eval(), tokenizer, "random")


def random_model(tokenizer: Any, *, quick: bool = False, seed: int = 0) -> Any:
    """The same arguments give the same weights."""
    return build_tiny(
        len(tokenizer),
        width=32 if quick else WIDTH,
        layers=2 if quick else LAYERS,
        heads=HEADS,
        max_context=MAX_CONTEXT,
        seed=seed,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
    )


def chosen_policy(name: str, *, quick: bool = False) -> Policy:
    """`auto`: imprint-tiny where the package has its weights, else random ones; or any model that can be loaded."""
    if name == "auto":
        name = TINY if (tiny_folder() / "config.json").exists() and not quick else "random"
    return random_policy(quick=quick) if name == "random" else Policy.load(name, device="cpu")
