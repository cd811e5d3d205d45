"""How fast episodes are played and learned from, and what computing shared prompts once gains in both.

    python benchmarks/training_speed.py
    python benchmarks/training_speed.py --model path/to/checkpoint --tasks 16 --turns 24

One training step of SKILL0 in the household world is played (`--tasks` tasks in groups of `--group`, each prompt with
its skills) and learned from. Then the same is done once more with every prompt computed for each episode by itself,
with the same weights, seeds and micro-batch budget, in turns with the first: the ratio is free of what else the
machine does. The two ways give the same tokens and, up to rounding, the same gradient; the benchmark checks both.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from support.common import parser, report, seconds, spread, table
from support.policies import chosen_policy

from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.envs.household.world import HouseholdWorld
from imprint.learning.config import LearnerConfig
from imprint.learning.learner import Learner
from imprint.learning.losses import GrpoLoss
from imprint.learning.sample import Sample, episode_sample
from imprint.learning.scoring import micro_batches
from imprint.models.local import sampler as local
from imprint.models.local.cache import RowCache
from imprint.models.local.policy import Policy
from imprint.models.local.sampler import LocalSampler, Prompt, Sampling
from imprint.rollout.tokens import Request, TokenRollout, derive_seed
from imprint.skills.library import load_library
from imprint.types import Episode


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both ways in turns, and print rates and ratios."""
    options = _options(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    step = Step(chosen_policy(options.model, quick=options.quick), options)
    ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {"shared": nullcontext, "per episode": unshared}
    played: dict[str, list[float]] = {way: [] for way in ways}
    learned: dict[str, list[float]] = {way: [] for way in ways}
    norms: dict[str, float] = {}
    tokens: dict[str, list[tuple[int, ...]]] = {}
    for turn in range(options.repeats + 1):
        for way, context in ways.items():
            with context():
                play_time = seconds(step.play)
                learn_time = seconds(step.learn)
            norms[way], tokens[way] = step.norm, [episode.token_ids for episode in step.episodes]
            if turn:  # the first warms up
                played[way].append(play_time)
                learned[way].append(learn_time)
    same = statistics.mean(one == other for one, other in zip(*tokens.values(), strict=True))
    if not math.isclose(*norms.values(), rel_tol=1e-3 if same == 1 else 0.1) or same < 0.95:
        sys.exit(f"the two ways differ: gradient norms {norms}, {same:.0%} of the episodes equal")
    _print(step, played, learned, options)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__.splitlines()[0])
    made.add_argument("--model", default="auto", help="`random`, `imprint-tiny`, a folder, or `auto`: tiny if packaged")
    made.add_argument("--tasks", type=int, default=8)
    made.add_argument("--group", type=int, default=8, help="episodes per task")
    made.add_argument("--turns", type=int, default=12, help="turns per episode, at most")
    made.add_argument("--new-tokens", type=int, default=24, help="tokens per command, at most")
    made.add_argument("--micro-tokens", type=int, default=LearnerConfig().micro_tokens)
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--threads", type=int, help="PyTorch's threads; its own choice by default")
    options = made.parse_args(arguments)
    if options.quick:
        options.tasks, options.group, options.turns, options.new_tokens, options.repeats = 2, 3, 2, 4, 1
    return options


class Step:
    """One training step's work, to be done again and again from the same weights."""

    def __init__(self, policy: Policy, options: argparse.Namespace) -> None:
        library = load_library("household")
        world = HouseholdWorld(train=options.tasks, max_turns=options.turns)
        self.policy = policy
        self.weights = copy.deepcopy(policy.model.state_dict())
        self.rollout = TokenRollout(LocalSampler(policy), world, Context(policy, ContextConfig()))
        self.sampling = Sampling(1.0, options.new_tokens)
        self.config = LearnerConfig(micro_tokens=options.micro_tokens)
        self.group = options.group
        self.requests = [
            Request(task, derive_seed("benchmark", task.id, index), library.serving(task.category))
            for task in world.tasks("train")
            for index in range(options.group)
        ]
        self.episodes: list[Episode] = []
        self.norm = 0.0

    def play(self) -> None:
        """The episodes of the step."""
        self.policy.model.load_state_dict(self.weights)
        self.episodes = self.rollout.play(self.requests, self.sampling)

    def learn(self) -> None:
        """One update; the advantages alternate in sign, so that every episode has a gradient."""
        samples = [
            episode_sample(episode, [1.0 - 2.0 * (place % 2)] * len(episode.turns))
            for place, episode in enumerate(self.episodes)
        ]
        learner = Learner(self.policy, self.config, total_steps=1)
        self.norm = learner.step(samples, GrpoLoss.of(self.config))["grad_norm"]


def unshared() -> ExitStack:
    """While it is open, every episode's prompt is computed for that episode alone, in sampling and in the update."""
    stack = ExitStack()
    stack.enter_context(patch("imprint.models.local.sampler._prefill", _prefill_each))
    stack.enter_context(patch("imprint.learning.learner.micro_batches", _micro_batches_each))
    return stack


@torch.no_grad()
def _prefill_each(policy: Policy, prompts: Sequence[Prompt]) -> RowCache:
    cache = RowCache(policy.layers, len(prompts), policy.device)
    chunks = [prompt.ids[:-1] for prompt in prompts]
    local._forward(policy, cache, chunks, torch.tensor([len(chunk) for chunk in chunks]))
    return cache


def _micro_batches_each(samples: Sequence[Sample], budget: int) -> Iterator[list[Sample]]:
    """Micro-batches of whole sequences, like lengths together, as the shared ones are."""
    return micro_batches(sorted(map(_whole, samples), key=lambda sample: len(sample.token_ids)), budget)


def _whole(sample: Sample) -> Sample:
    """The sample with all of its prompt but the first token moved to the tokens that are computed for it alone."""
    read = len(sample.prompt_ids) - 1
    return Sample(
        sample.prompt_ids[:1],
        sample.prompt_ids[1:] + sample.token_ids,
        np.pad(sample.mask_T, (read, 0)),
        np.pad(sample.old_logprobs_T, (read, 0)),
        np.pad(sample.advantages_T, (read, 0)),
        sample.off_policy,
    )


def _print(
    step: Step, played: dict[str, list[float]], learned: dict[str, list[float]], options: argparse.Namespace
) -> None:
    turns = [turn for episode in step.episodes for turn in episode.turns]
    spoken = sum(turn.stop - turn.start for turn in turns)
    read = sum(len(episode.prompt_ids) + len(episode.token_ids) for episode in step.episodes)
    prompt = statistics.mean(len(episode.prompt_ids) for episode in step.episodes)
    print(
        f"{step.policy.name}, {step.policy.parameters:,} weights: {len(step.episodes)} episodes, {len(turns)} turns of "
        f"{spoken / len(turns):.1f} tokens, prompts of {prompt:.0f} tokens, {read / len(step.episodes):.0f} in all"
    )
    rows: list[Sequence[object]] = [
        ("prompts", "rollout turns/s", "rollout tokens/s", "update samples/s", "update tokens/s")
    ]
    figures: dict[str, Any] = {"rollout_s": played, "update_s": learned}
    for way in played:
        rates = [(turns_s, played[way]) for turns_s in (len(turns), spoken)]
        rates += [(amount, learned[way]) for amount in (len(step.episodes), read)]
        rows.append((way, *(spread([amount / took for took in times], 0) for amount, times in rates)))
    table(rows)
    both = {way: [a + b for a, b in zip(played[way], learned[way], strict=True)] for way in played}
    for name, times in (("rollout", played), ("update", learned), ("step", both)):
        ratios = [alone / shared for shared, alone in zip(times["shared"], times["per episode"], strict=True)]
        figures[f"{name}_ratio"] = ratios
        print(f"ratio {spread(ratios)}  {name}: time with prompts per episode against shared")
    figures["tokens"] = {"spoken": spoken, "read": read, "prompt": prompt, "turns": len(turns)}
    report("training_speed", figures, options)


if __name__ == "__main__":
    sys.exit(main())
