"""Transcription: two words of a picture's text are given, and the words after them are to be predicted.

Every word is something to find in the picture, where an episode has a handful.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from imprint.context.visual import VisualContext
from imprint.learning.sample import Sample
from imprint.learning.scoring import micro_batches, score
from imprint.pretrain.texts import some_text
from imprint.types import Picture

PASSAGES = 4  # from each picture
WORDS = 14  # in each passage, the given ones included
GIVEN = 2


def transcription_samples(context: VisualContext, texts: Sequence[str], pictures: int, seed: int) -> list[Sample]:
    """Passages of `pictures` pictures, each of some of the texts."""
    rng = random.Random(f"aloud/{seed}")
    return [sample for _ in range(pictures) for sample in passages(context, some_text(texts, rng), rng)]


def passages(context: VisualContext, text: str, rng: random.Random) -> list[Sample]:
    """A picture of `text`, and passages that start at random places in it."""
    policy = context.policy
    assert policy.vision is not None
    picture = Picture(text, 1.0, context.renderer.pixels)
    bos = policy.tokenizer.bos_token_id
    prompt = (*([] if bos is None else [int(bos)]), *policy.vision.spelled(picture))
    words = policy.encode(text + "\n")
    samples = []
    for _ in range(PASSAGES):
        start = rng.randrange(max(1, len(words) - WORDS // 2))
        passage = words[start : start + WORDS]
        weights = [0.0] * GIVEN + [1.0] * (len(passage) - GIVEN)
        samples.append(Sample.imitation(prompt, passage, weights[: len(passage)], (picture,)))
    return samples


@torch.no_grad()
def transcription_metrics(
    context: VisualContext, texts: Sequence[str], *, pictures: int = 24, seed: int = 0
) -> dict[str, float]:
    """The mean negative log-prob of a word, and the share of words with a probability above one half."""
    samples = transcription_samples(context, texts, pictures, seed)
    logprobs = torch.cat([score(context.policy, micro).logprobs_M for micro in micro_batches(samples, 8192)])
    accuracy = float((logprobs.exp() > 0.5).float().mean())
    return {"transcription/nll": -float(logprobs.mean()), "transcription/accuracy": accuracy}
