"""What it gains to compute whole sequences where few share a prompt, in the updates of closed-book fine-tuning.

    python benchmarks/imitation_speed.py

Episodes of `imprint-tiny` in the household, played with the skills, are learned under the prompt without them, and a
quarter of them also under their own (`recipes/household/closed_book_rounds.yaml`). Each update is made in two ways, in
turns and from the same weights: as the learner chooses, and with every distinct prompt computed once and micro-batches
filled up to the budget. The gradient is the same up to rounding; the benchmark checks it.
"""

from __future__ import annotations

import copy
import math
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from support.common import parser, report, seconds, spread, table
from support.policies import chosen_policy

from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.envs.household.world import HouseholdWorld
from imprint.learning.config import LearnerConfig
from imprint.learning.learner import Learner
from imprint.learning.losses import SftLoss
from imprint.learning.sample import Sample, off_prompt
from imprint.measurement.conditions import WITH, WITHOUT
from imprint.models.local.policy import Policy
from imprint.models.local.sampler import LocalSampler, Sampling
from imprint.rollout.tokens import Request, TokenRollout, derive_seed
from imprint.skills.library import load_library


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both ways in turns, and print rates and the ratio."""
    made = parser(__doc__.splitlines()[0])
    made.add_argument("--model", default="auto", help="`random`, `imprint-tiny`, a folder, or `auto`: tiny if packaged")
    made.add_argument("--batch", type=int, default=32, help="samples of an update")
    made.add_argument("--micro-tokens", type=int, default=LearnerConfig().micro_tokens)
    made.add_argument("--repeats", type=int, default=6, help="updates, each of other samples")
    made.add_argument("--threads", type=int, help="PyTorch's threads; its own choice by default")
    options = made.parse_args(arguments)
    if options.quick:
        options.batch, options.repeats = 4, 1
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    policy = chosen_policy(options.model, quick=options.quick)
    samples = _samples(policy, options.batch * (options.repeats + 1), turns=2 if options.quick else 24)
    ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {"chosen": nullcontext, "shared": _all_shared}
    times: dict[str, list[float]] = {way: [] for way in ways}
    weights = copy.deepcopy(policy.model.state_dict())
    for start in range(0, len(samples), options.batch):
        batch, norms = samples[start : start + options.batch], dict[str, float]()
        for way, context in ways.items():
            policy.model.load_state_dict(weights)
            learner = Learner(policy, LearnerConfig(micro_tokens=options.micro_tokens), total_steps=1)
            with context():
                took = seconds(partial(_update, learner, batch, norms, way))
            if start:  # the first warms up
                times[way].append(took)
        if not math.isclose(*norms.values(), rel_tol=1e-3):
            sys.exit(f"the two ways differ: gradient norms {norms}")
    ratios = [shared / chosen for chosen, shared in zip(times["chosen"], times["shared"], strict=True)]
    table(
        [
            ("prompts", "update samples/s"),
            *((way, spread([options.batch / took for took in taken], 0)) for way, taken in times.items()),
            ("ratio", spread(ratios)),
        ]
    )
    report("imitation_speed", {"update_s": times, "ratio": ratios}, options)
    return 0


def _update(learner: Learner, batch: Sequence[Sample], norms: dict[str, float], way: str) -> None:
    norms[way] = learner.step(batch, SftLoss())["grad_norm"]


def _samples(policy: Policy, count: int, turns: int) -> list[Sample]:
    """Episodes under the prompt without skills, and a quarter as many under their own, in an order drawn at random."""
    library, context = load_library("household"), Context(policy, ContextConfig(style="plain"))
    world = HouseholdWorld(max_turns=turns)
    tasks = list(world.tasks("train"))[: math.ceil(count / 2.5)]
    requests = [
        Request(task, derive_seed("benchmark", task.id, index), WITH.show(task, library).skills)
        for task in tasks
        for index in range(2)
    ]
    episodes = TokenRollout(LocalSampler(policy), world, context).play(requests, Sampling(1.0, 24))
    samples: list[Sample] = []
    for shown, some in ((WITHOUT, episodes), (WITH, episodes[::4])):
        for episode in some:
            prompts = context.render(episode, shown.show(episode.task, library))
            samples += off_prompt(episode, [1.0] * len(episode.turns), prompts)
    random.Random(0).shuffle(samples)
    return samples[:count]


def _all_shared() -> ExitStack:
    """While it is open, every distinct prompt is computed once, and micro-batches may be full of padding."""
    stack = ExitStack()
    for place in ("learning.scoring", "models.local.continuation"):
        stack.enter_context(patch(f"imprint.{place}.sharing_pays", lambda prompts, continuations: True))
    stack.enter_context(patch("imprint.learning.scoring.PADDING", 1.0))
    return stack


if __name__ == "__main__":
    sys.exit(main())
