"""The copying task: sequences of random words, each to be repeated, for the heads that find a thing in the context.

Every token is something to look up, where an episode has a handful: these heads form within minutes here, and within
hours from episodes alone.
"""

from __future__ import annotations

import random
from itertools import islice

from imprint.envs.base import TeachableWorld
from imprint.learning.config import LearnerConfig
from imprint.learning.learner import Learner
from imprint.learning.losses.sft import SftLoss
from imprint.learning.sample import Sample
from imprint.models.local.policy import Policy
from imprint.support.progress import Progress

SHORTEST, FIRST_LONGEST, LONGEST = 4, 10.0, 80.0  # words in a sequence
GROWTH = 1.04  # of the longest, after each step whose loss is below
LEARNED = 0.6


def train_copying(
    policy: Policy,
    world: TeachableWorld,
    config: LearnerConfig,
    *,
    steps: int,
    tokens: int,
    seed: int,
    progress: Progress,
) -> None:
    """Train on `steps` batches of about `tokens` tokens; the sequences grow as the loss falls."""
    learner = Learner(policy, config, total_steps=steps)
    rng = random.Random(f"recite/{seed}")
    words = sorted({token for text in islice(world.language(), 2000) for token in policy.encode(text)})
    (separator,) = policy.encode("\n")
    longest = FIRST_LONGEST
    progress.begin(steps)
    for _ in range(steps):
        count = min(256, int(tokens / longest))
        samples = [_copy_sample(words, separator, int(longest), rng) for _ in range(count)]
        nll = learner.step(samples, SftLoss())["loss/nll"]
        if nll < LEARNED:
            longest = min(LONGEST, longest * GROWTH)
        progress.advance(f"copying up to {int(longest)} words: nll {nll:.3f}")


def _copy_sample(words: list[int], separator: int, longest: int, rng: random.Random) -> Sample:
    sequence = [rng.choice(words) for _ in range(rng.randint(SHORTEST, longest))]
    weights = [0.0] * (len(sequence) + 1) + [1.0] * len(sequence)
    return Sample.imitation((rng.choice(words),), (*sequence, separator, *sequence), weights)
