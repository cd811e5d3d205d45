"""TRL's side of `against_trl.py`: one setting as a GRPOTrainer, with its steps timed."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.models.local.policy import Policy
from imprint.rollout.tokens import Request
from support.trl_settings import LR, Parts, Setting


def train(setting: Setting, policy: Policy, micro: int, steps: int, after: Callable[[Parts], None]) -> None:
    """`steps` steps of TRL's trainer on `setting`; `after` is told of each, outside the time that is measured."""
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    context = Context(policy, ContextConfig())
    model = policy.model
    model.set_attn_implementation("sdpa")  # transformers' own, as TRL would have loaded it
    model.generation_config.eos_token_id = sorted(context.stop_ids)
    threads = torch.get_num_threads()
    total = len(setting.requests)
    with tempfile.TemporaryDirectory() as folder:
        trainer = TimedTrainer(
            model=model,
            reward_funcs=_reward,
            args=GRPOConfig(
                output_dir=folder,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                per_device_train_batch_size=micro,
                gradient_accumulation_steps=total // micro,
                generation_batch_size=total,
                num_generations=setting.group,
                max_completion_length=setting.sampling.max_new_tokens,
                temperature=setting.sampling.temperature,
                beta=0.0,
                num_iterations=1,
                learning_rate=LR,
                max_steps=steps,
                shuffle_dataset=False,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
                seed=0,
            ),
            train_dataset=Dataset.from_list([{"prompt": text} for text in _prompts(setting, context)]),
            processing_class=policy.tokenizer,
            rollout_func=None if setting.world.max_turns == 1 else Turns(setting, context),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Clock(trainer, after))
        trainer.train()
    torch.set_num_threads(threads)


def _prompts(setting: Setting, context: Context) -> list[str]:
    """The prompt of each group as text that TRL turns into exactly our tokens; for episodes, the group's number."""
    firsts = setting.requests[:: setting.group]
    if setting.world.max_turns > 1:
        return [str(place) for place in range(len(firsts))]
    tokenizer = context.policy.tokenizer
    texts = []
    for request in firsts:
        first = setting.world.environment().reset(request.task, request.seed)
        ids = list(context.start(request.skills, first).ids)
        texts.append(tokenizer.decode(ids))
        assert tokenizer(text=texts[-1])["input_ids"] == ids
    return texts


def _reward(completions: Sequence[Any], **_: Any) -> list[float]:
    return [float(place % 2) for place in range(len(completions))]


class TimedTrainer(GRPOTrainer):  # type: ignore[misc]
    """Counts the seconds of sampling: `generate`, or the whole of the rollout function."""

    sampling = 0.0
    spoken = 0.0

    def _generate(self, prompts: list[Any]) -> Any:
        start = time.perf_counter()
        made = super()._generate(prompts)
        self.sampling += time.perf_counter() - start
        completions, masks = made[1], made[2]
        counts = [len(ids) for ids in completions] if masks is None else [sum(mask) for mask in masks]
        self.spoken = statistics.mean(counts)
        return made


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Times the steps from their first micro-batch to the optimizer's step."""

    def __init__(self, trainer: TimedTrainer, after: Callable[[Parts], None]) -> None:
        self.trainer, self.after = trainer, after

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.trainer.sampling = 0.0
        self.start = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        whole = time.perf_counter() - self.start
        self.after(Parts(self.trainer.sampling, whole, self.trainer.spoken))


class Turns:
    """A `rollout_func` for episodes of several turns: what the trainer's loop over tool calls does, without tool calls.

    At every turn the trainer generates one answer to each whole context so far.
    """

    def __init__(self, setting: Setting, context: Context) -> None:
        self.setting = setting
        self.context = context

    def __call__(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, list[Any]]:
        size = self.setting.group
        taken: dict[str, int] = {}
        rows = []
        for text in prompts:
            member = taken.get(text, 0)
            taken[text] = member + 1
            rows.append(_Row(self.setting, self.context, self.setting.requests[int(text) * size + member % size]))
        live = rows
        while live:
            answers, _ = trainer._generate_single_turn([[*row.prompt, *row.tokens] for row in live], None, {}, 1)
            for row, answer in zip(live, answers, strict=True):
                row.take(answer)
            live = [row for row in live if not row.done]
        return {
            "prompt_ids": [row.prompt for row in rows],
            "completion_ids": [row.tokens[: row.end] for row in rows],
            "logprobs": [[0.0] * row.end for row in rows],
            "env_mask": [row.mask[: row.end] for row in rows],
        }


class _Row:
    """One episode in flight."""

    def __init__(self, setting: Setting, context: Context, request: Request) -> None:
        self.context = context
        self.environment = setting.world.environment()
        first = self.environment.reset(request.task, request.seed)
        self.prompt = list(context.start(request.skills, first).ids)
        self.tokens: list[int] = []
        self.mask: list[int] = []
        self.end = 0  # of the last answer
        self.done = False

    def take(self, answer: list[int]) -> None:
        """Act on an answer, and append it and the observation."""
        self.tokens += answer
        self.mask += [1] * len(answer)
        self.end = len(self.tokens)
        action, _ = self.context.parse(self.context.policy.decode(answer))
        result = self.environment.step(action)
        self.done = result.done
        follow = self.context.follow(result, answer[-1])
        self.tokens += follow
        self.mask += [0] * len(follow)
