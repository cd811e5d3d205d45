"""Small random models of many classes, and a comparison with their own forward pass that shares nothing with the check
at loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from imprint.learning.sample import Sample
from imprint.learning.scoring import score
from imprint.models.local.policy import Policy
from imprint.models.local.sampler import LocalSampler, Prompt, Sampling
from tiny import tiny_policy


def saved(folder: Path, config: Any, *, weights: bool = True) -> Path:
    """A model with random weights and a tokenizer as a folder."""
    tokenizer = tiny_policy().tokenizer
    config.get_text_config().vocab_size = len(tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for weight in model.parameters():  # the usual small start would hide a wrong forward pass
            weight.data.normal_(0, 0.3)
    if weights:
        model.save_pretrained(folder)
    else:
        model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fresh(folder: Path) -> Any:
    """The model under the attention that its own module defines."""
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def own_logprobs(native: Any, sample: Sample) -> torch.Tensor:
    """Those of a sample's trained tokens: one sequence, without padding or cache."""
    ids = torch.tensor([sample.prompt_ids + sample.token_ids])
    logprobs = native(input_ids=ids, use_cache=False).logits[0, len(sample.prompt_ids) - 1 : -1].log_softmax(-1)
    return logprobs.gather(-1, torch.tensor(sample.token_ids)[:, None])[sample.mask_T, 0]


def apart(policy: Policy, folder: Path, seed: int = 0) -> float:
    """The largest difference, in nats, between the log-probs of sampler and learner and those of a fresh model."""
    native = fresh(folder)
    # Shortest first: rotary frequencies that grow with the length are then those of a fresh model.
    samples = sorted(played(policy, seed), key=lambda one: len(one.prompt_ids + one.token_ids))
    with torch.no_grad():
        scored = score(policy, samples)
        expected = torch.cat([own_logprobs(native, sample) for sample in samples])
    return float((torch.stack([scored.logprobs_M, scored.old_logprobs_M]) - expected).abs().max())


def played(policy: Policy, seed: int = 0, answer: int = 4) -> list[Sample]:
    """Sequences of mixed lengths, two pages among them, over up to three turns; one of them fills the context."""
    dice = np.random.default_rng(seed)
    limit, known = policy.max_context, int(policy.model.get_input_embeddings().weight.shape[0])

    def some(least: int, most: int) -> tuple[int, ...]:
        return tuple(dice.integers(0, known, dice.integers(least, most + 1)).tolist())

    pages = ((), some(limit // 4, limit // 3), some(limit // 6, limit // 5))
    prompts = [Prompt((*pages[row % 3], *some(1, limit // 4)), len(pages[row % 3])) for row in range(6)]
    long = limit - 2 * answer - 2 - len(pages[1])
    prompts += [prompts[1], Prompt((*pages[1], *some(long, long)), len(pages[1]))]
    ids, logprobs, turns = [[] for _ in prompts], [[] for _ in prompts], [0 for _ in prompts]
    session = LocalSampler(policy).open(prompts, range(len(prompts)), range(0, known, 5), Sampling(1.0, answer))
    waiting, read = set(range(len(prompts))), dict.fromkeys(range(len(prompts)), ())
    while waiting:
        answers = session.act(read)
        waiting, read = waiting - answers.keys(), {}
        for row, sampled in answers.items():
            ids[row] += sampled.tokens
            logprobs[row] += sampled.logprobs
            turns[row] += 1
            room = limit - answer - len(prompts[row].ids) - len(ids[row])
            if room > 0 and turns[row] < 3:
                read[row] = some(1, min(room, limit // 4))
                ids[row] += read[row]
                logprobs[row] += [np.nan] * len(read[row])
        waiting |= read.keys()
    masks = [~np.isnan(values) for values in logprobs]
    return [
        Sample(prompt.ids, tuple(tokens), mask, np.nan_to_num(np.float32(values)), mask.astype(np.float32))
        for prompt, tokens, mask, values in zip(prompts, ids, masks, logprobs, strict=True)
    ]
