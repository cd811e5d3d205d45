"""To say what a picture shows: two words of its text are given, and the words after them are to be said.

Every word is something to find in the picture, where an episode has a handful.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from imprint.context.visual import VisualContext
from imprint.learning.scoring import Sample, micro_batches, score
from imprint.pretrain.vision_lesson import some_text
from imprint.types import Picture

PLACES = 4  # in each picture
SAID = 14  # words from each, the two that are given among them


def said_aloud(context: VisualContext, texts: Sequence[str], pictures: int, seed: int) -> list[Sample]:
    """Passages of so many pictures, each of some of the texts."""
    dice = random.Random(f"aloud/{seed}")
    return [sample for _ in range(pictures) for sample in passages(context, some_text(texts, dice), dice)]


def passages(context: VisualContext, text: str, dice: random.Random) -> list[Sample]:
    """A picture of `text`, and a few places in it, from each of which on it is to be said."""
    policy = context.policy
    assert policy.vision is not None
    picture = Picture(text, 1.0, context.renderer.pixels)
    bos = policy.tokenizer.bos_token_id
    prompt = (*([] if bos is None else [int(bos)]), *policy.vision.spelled(picture))
    words = policy.encode(text + "\n")
    samples = []
    for _ in range(PLACES):
        start = dice.randrange(max(1, len(words) - SAID // 2))
        said = words[start : start + SAID]
        weights = [0.0] * 2 + [1.0] * (len(said) - 2)
        samples.append(Sample.imitation(prompt, said, weights[: len(said)], (picture,)))
    return samples


@torch.no_grad()
def reading(context: VisualContext, texts: Sequence[str], *, pictures: int = 24, seed: int = 0) -> dict[str, float]:
    """How well pictures of texts are read: the mean negative log-prob of a word, and the share of words that the policy
    holds for likelier than all others together."""
    samples = said_aloud(context, texts, pictures, seed)
    logprobs = torch.cat([score(context.policy, micro).logprobs_M for micro in micro_batches(samples, 8192)])
    return {"reading/nll": -float(logprobs.mean()), "reading/read": float((logprobs.exp() > 0.5).float().mean())}
