"""The same GRPO step here and in TRL's GRPOTrainer: same weights, prompts, lengths and groups, in one run.

    pip install 'imprint[trl]'
    python benchmarks/against_trl.py

Three settings, 64 completions in groups of 8 each:

- `short`: one answer of 32 tokens to a prompt of 128 tokens, each group with a prompt of its own.
- `skills`: the same with prompts of 384 tokens, of which 288 (the skills) are the same for all groups.
- `episodes`: episodes of several turns in the household world, with skills. TRL's trainer asks for the whole context
  anew at every turn, as its loop over tool calls does; that loop itself needs a model that writes tool calls, so a
  `rollout_func` stands in for it and calls the same method of the trainer.

TRL runs with what is fastest for it on a CPU: plain `generate` with its cache, no checkpointing of activations, no
bfloat16, no KL term, and of the micro-batch sizes in `--trl-micro` the one that its warm-up finds fastest. Each TRL
step is followed by one of ours, so that both see the same machine; ratios are of such pairs. The rewards are set by
place (0 and 1 in turn), which makes every sample count on both sides.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch
from support.common import parser, report, spread, table
from support.policies import random_model, random_policy
from support.trl_settings import LR, Parts, Setting, make_settings

from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.learning.advantages import turn_advantages
from imprint.learning.config import LearnerConfig
from imprint.learning.learner import Learner
from imprint.learning.losses import GrpoLoss
from imprint.learning.sample import episode_sample
from imprint.models.local.policy import Policy
from imprint.models.local.sampler import LocalSampler
from imprint.rollout.tokens import TokenRollout


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the settings one after the other and print times and ratios."""
    options = _options(arguments)
    if find_spec("trl") is None or find_spec("datasets") is None:
        print("skipped: this needs TRL; pip install 'imprint[trl]'")
        return 0
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    policy = random_policy(quick=options.quick)
    figures: dict[str, Any] = {}
    rows: list[Sequence[object]] = [("setting", "who", "step s", "sampling s", "update s", "tokens/sample")]
    ratios = []
    sizes = {"tasks": options.tasks, "group": options.group, "turns": options.turns}
    for setting in make_settings(options.settings, policy, **sizes):
        pair = Pair(setting, policy, options)
        pair.run()
        figures[setting.name] = pair.figures()
        for who, parts in pair.times.items():
            columns = [spread([getattr(part, kind) for part in parts]) for kind in ("whole", "sampling", "update")]
            rows.append((setting.name, who, *columns, f"{statistics.mean(part.tokens for part in parts):.1f}"))
        for kind in ("whole", "sampling", "update"):
            values = figures[setting.name][f"ratio_{kind}"]
            ratios.append(f"ratio {spread(values)}  {setting.name}, {kind}: TRL's time against ours")
    table(rows)
    print("\n".join(ratios))
    report("against_trl", figures, options)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__.splitlines()[0])
    made.add_argument("--settings", nargs="+", choices=("short", "skills", "episodes"))
    made.add_argument("--tasks", type=int, default=8, help="groups per step")
    made.add_argument("--group", type=int, default=8, help="completions per group")
    made.add_argument("--turns", type=int, default=8, help="turns of `episodes`")
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument(
        "--trl-micro", type=int, nargs="+", default=[16, 64], help="TRL's micro-batch sizes to choose from"
    )
    made.add_argument("--threads", type=int, help="PyTorch's threads; its own choice by default")
    options = made.parse_args(arguments)
    if options.quick:
        options.tasks, options.group, options.turns, options.repeats, options.trl_micro = 2, 2, 2, 1, [4]
    options.settings = options.settings or ["short", "skills", "episodes"]
    return options


@dataclass
class Pair:
    """One setting, played and learned by both in turns."""

    setting: Setting
    policy: Policy
    options: argparse.Namespace
    times: dict[str, list[Parts]] = field(default_factory=lambda: {"TRL": [], "Imprint": []})

    def run(self) -> None:
        """Choose TRL's micro-batch, warm both up, and measure in pairs."""
        from support.trl_side import train

        self.ours = Ours(self.setting, _fresh(self.policy, self.options))
        total = len(self.setting.requests)
        sizes = sorted({min(size, total) for size in self.options.trl_micro if total % min(size, total) == 0})
        tried: dict[int, float] = {}
        for size in sizes if len(sizes) > 1 else ():
            parts: list[Parts] = []
            train(self.setting, _fresh(self.policy, self.options), size, 2, parts.append)
            tried[size] = parts[-1].whole
        self.micro = min(tried, key=tried.__getitem__) if tried else sizes[0]
        self.seen = 0
        train(self.setting, _fresh(self.policy, self.options), self.micro, self.options.repeats + 1, self._after_trl)
        print(f"{self.setting.name}: TRL with micro-batches of {self.micro}", file=sys.stderr)

    def _after_trl(self, theirs: Parts) -> None:
        ours = self.ours.step()
        self.seen += 1
        if self.seen > 1:  # the first warms up
            self.times["TRL"].append(theirs)
            self.times["Imprint"].append(ours)

    def figures(self) -> dict[str, Any]:
        """Everything measured, and the ratio of every pair."""
        kinds = ("whole", "sampling", "update")
        made: dict[str, Any] = {
            who: {kind: [getattr(part, kind) for part in parts] for kind in (*kinds, "tokens")}
            for who, parts in self.times.items()
        }
        for kind in kinds:
            made[f"ratio_{kind}"] = [
                theirs / ours for theirs, ours in zip(made["TRL"][kind], made["Imprint"][kind], strict=True)
            ]
        return made | {"trl_micro": self.micro}


def _fresh(policy: Policy, options: argparse.Namespace) -> Policy:
    """The same weights, untouched: neither side trains on what the other has learned."""
    return Policy(random_model(policy.tokenizer, quick=options.quick).eval(), copy.deepcopy(policy.tokenizer), "random")


class Ours:
    """Imprint's side: `TokenRollout` and `Learner`, as the methods use them."""

    def __init__(self, setting: Setting, policy: Policy) -> None:
        self.setting = setting
        self.rollout = TokenRollout(LocalSampler(policy), setting.world, Context(policy, ContextConfig()))
        self.learner = Learner(policy, LearnerConfig(lr=LR), total_steps=1)

    def step(self) -> Parts:
        """Play, score, learn."""
        start = time.perf_counter()
        episodes = self.rollout.play(self.setting.requests, self.setting.sampling)
        sampled = time.perf_counter()
        scores = [[reward] * len(episode.turns) for reward, episode in zip(self.setting.rewards, episodes, strict=True)]
        advantages = turn_advantages(scores, self.setting.owners)
        samples = [episode_sample(*pair) for pair in zip(episodes, advantages, strict=True)]
        self.learner.step(samples, GrpoLoss.of(self.learner.config))
        tokens = statistics.mean(sample.trained_tokens for sample in samples)
        return Parts(sampled - start, time.perf_counter() - start, tokens)


if __name__ == "__main__":
    sys.exit(main())
