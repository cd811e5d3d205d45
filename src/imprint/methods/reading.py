"""The second lesson of a policy with new eyes: to say what a picture shows.

Two words of a picture's text are given, and the words after them are to be said. Half of the pictures show words in
random order, which nobody can guess: they must be found in the picture. They are few at first, and more as it succeeds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from imprint.context.image import Renderer
from imprint.envs.base import DreamWorld
from imprint.learning.batch import Sample
from imprint.learning.learner import Learner
from imprint.methods.eyes import EyeTeacher, language_of, some_text
from imprint.policy.model import Policy
from imprint.progress import Progress
from imprint.types import Picture

if TYPE_CHECKING:
    from imprint.methods.pretrain import PretrainRecipe

TEXTS = 6000  # of the world's language are drawn
PLACES = 4  # in each picture
SAID = 12  # words from each, the two that are given among them
FIRST, MOST = 8.0, 120.0  # words in a picture
EASY = 1.0  # the nll below which there are more


def passages(
    policy: Policy, renderer: Renderer, text: str, dice: random.Random, count: int, longest: int
) -> list[Sample]:
    """A picture of `text`, and `count` places in it, of each of which the first two words are given and the words after
    them are to be said."""
    assert policy.eyes is not None
    picture = Picture(text, 1.0, renderer.pixels)
    bos = policy.tokenizer.bos_token_id
    prompt = (*([] if bos is None else [int(bos)]), *policy.eyes.spelled(picture))
    words = policy.encode(text + "\n")
    samples = []
    for _ in range(count):
        start = dice.randrange(max(1, len(words) - 8))
        said = words[start : start + longest]
        weights = np.array([0.0, 0.0, *[1.0] * (len(said) - 2)], dtype=np.float32)
        zeros = np.zeros(len(said), dtype=np.float32)
        samples.append(Sample(prompt, tuple(said), weights > 0, zeros, weights, pictures=(picture,)))
    return samples


def random_words(words: Sequence[int], policy: Policy, dice: random.Random, count: int) -> str:
    """Words in random order, which no one can guess: they must be read."""
    return policy.decode([dice.choice(words) for _ in range(count)]).strip()


def open_eyes(
    recipe: PretrainRecipe, world: DreamWorld, renderer: Renderer, policy: Policy, progress: Progress
) -> None:
    """The lessons of the eyes (`methods/eyes.py`), then those in reading aloud."""
    if not recipe.see and not recipe.read_aloud:
        return
    texts = language_of(world.language(), TEXTS)
    if recipe.see:
        progress.begin(recipe.see)
        teacher = EyeTeacher(policy, renderer, texts, steps=recipe.see, size=recipe.see_tokens, seed=recipe.seed)
        for _ in range(recipe.see):
            numbers = teacher.step()
            progress.advance(
                f"to see: {numbers['characters']:.0%} of the characters, {numbers['words']:.0%} of the words"
            )
    if recipe.read_aloud:
        read_aloud(recipe, texts, renderer, policy, progress)


def read_aloud(
    recipe: PretrainRecipe, texts: Sequence[str], renderer: Renderer, policy: Policy, progress: Progress
) -> None:
    """The lessons in saying what a picture shows."""
    learner = Learner(policy, recipe.learner, total_steps=recipe.read_aloud)
    dice = random.Random(f"read/{recipe.seed}")
    words = sorted({word for text in texts[:2000] for word in policy.encode(text) if policy.decode([word]).strip()})
    longest = FIRST
    progress.begin(recipe.read_aloud)
    for _ in range(recipe.read_aloud):
        samples: list[Sample] = []
        read = 0
        while read < recipe.read_tokens:
            guessed = len(samples) // PLACES % 2
            text = (
                some_text(texts, dice, 400)
                if guessed
                else random_words(words, policy, dice, dice.randint(4, int(longest)))
            )
            samples += passages(policy, renderer, text, dice, PLACES, SAID)
            read += len(samples[-1].prompt_ids)
        nll = learner.imitate(samples)["loss/nll"]
        if nll < EASY:
            longest = min(MOST, longest * 1.04)
        progress.advance(f"to read {int(longest)} words: nll {nll:.3f}")
