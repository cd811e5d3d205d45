"""The learner: what an update does, what it costs nothing to leave out, and that micro-batches change nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imprint.learning.config import LearnerConfig
from imprint.learning.learner import Learner
from imprint.learning.losses import GrpoLoss, SftLoss
from imprint.learning.sample import OffPolicy, Sample
from imprint.learning.scoring import micro_batches, score
from imprint.models.local.continuation import sharing_pays
from tiny import tiny_policy, weights_of

LOSS = GrpoLoss()


def make_samples(policy, count=6, off_policy=None, seed=0):
    """Random samples whose old log-probs are the policy's own."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(count):
        size = int(rng.integers(4, 12))
        prompt = tuple(np.random.default_rng(index // 2).integers(2, 250, 9).tolist())
        tokens = tuple(rng.integers(2, 250, size).tolist())
        mask = np.arange(size) % 3 != 1
        advantages = np.where(mask, 1.0 if index % 2 else -1.0, 0.0).astype(np.float32)
        old = np.zeros(size, dtype=np.float32)
        sample = Sample(prompt, tokens, mask, old, advantages, off_policy)
        with torch.no_grad():
            old[mask] = score(policy, [sample]).logprobs_M.numpy()
        samples.append(sample)
    return samples


def mean_logprob(policy, samples, sign):
    chosen = [s for s in samples if s.advantages_T.sum() * sign > 0]
    with torch.no_grad():
        return float(torch.cat([score(policy, [s]).logprobs_M for s in chosen]).mean())


def test_an_update_raises_what_was_good_and_lowers_what_was_bad():
    policy = tiny_policy()
    samples = make_samples(policy)
    good, bad = mean_logprob(policy, samples, 1), mean_logprob(policy, samples, -1)
    Learner(policy, LearnerConfig(lr=1e-3), total_steps=5).step(samples, LOSS)
    assert mean_logprob(policy, samples, 1) > good
    assert mean_logprob(policy, samples, -1) < bad


@pytest.mark.parametrize("aggregate", ["token-mean", "sequence-mean-token-mean"])
@pytest.mark.parametrize("off_policy", [None, OffPolicy()])
def test_micro_batches_change_nothing(aggregate, off_policy):
    results = []
    for budget in (40, 100_000):
        policy = tiny_policy()
        samples = make_samples(policy, off_policy=off_policy)
        config = LearnerConfig(lr=1e-3, micro_tokens=budget, aggregate=aggregate, entropy_coef=0.01, kl_coef=0.1)
        norms = [Learner(policy, config, total_steps=5).step(samples, GrpoLoss.of(config))["grad_norm"]]
        gradient = torch.cat([p.grad.flatten() for p in policy.model.parameters()])
        results.append((gradient, norms))
    # Gradients, not weights: Adam's first step is the sign of the gradient, and rounding decides it where that is 0.
    assert torch.allclose(results[0][0], results[1][0], atol=1e-6)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-4)


def drawn_samples(sizes):
    """Samples of (which prompt, its length, tokens after it)."""
    return [Sample.imitation([2 + kind] * length, [9] * own, [1.0] * own) for kind, length, own in sizes]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, 9, 40]), st.integers(1, 30)), min_size=1, max_size=30),
    st.integers(20, 400),
)
def test_micro_batches_keep_to_the_budget_waste_little_and_lose_nothing(sizes, budget):
    samples = drawn_samples(sizes)
    batches = list(micro_batches(samples, budget))
    assert sorted(id(s) for batch in batches for s in batch) == sorted(id(s) for s in samples)
    own = {prompt: [s.token_ids for s in samples if s.prompt == prompt] for prompt in {s.prompt for s in samples}}
    sharing = {prompt: sharing_pays([prompt] * len(tokens), tokens) for prompt, tokens in own.items()}
    for batch in batches:
        (shared,) = {sharing[s.prompt] for s in batch}
        prompts = [len(ids) for ids in {s.prompt_ids for s in batch}] if shared else []
        rows = [len(s.token_ids) + (0 if shared else len(s.prompt_ids)) for s in batch]
        padded = max(rows) * len(rows) + max(prompts, default=0) * len(prompts)
        assert len(batch) == 1 or (padded <= budget and sum(rows) + sum(prompts) >= 0.75 * padded)


def test_long_prompts_are_not_padded_beside_short_ones():
    samples = drawn_samples([(index % 3, 9 if index % 2 else 400, 30 + index) for index in range(6)])
    assert [{len(s.prompt_ids) for s in batch} for batch in micro_batches(samples, 100_000)] == [{9}, {400}]


def test_samples_without_an_advantage_cost_nothing_and_change_the_mean_alone():
    policy = tiny_policy()
    samples = make_samples(policy)
    flat = [Sample(s.prompt_ids, s.token_ids, s.mask_T, s.old_logprobs_T, 0 * s.advantages_T) for s in samples]
    before = weights_of(policy)
    learner = Learner(policy, LearnerConfig(lr=1e-3), total_steps=5)
    assert learner.step(flat, LOSS)["loss/samples"] == 0
    assert torch.equal(weights_of(policy), before)
    assert learner.step([*samples, *flat], LOSS)["loss/samples"] == len(samples)


def test_a_transferred_sample_starts_at_ratio_one_whatever_it_was_sampled_under():
    policy = tiny_policy()
    samples = make_samples(policy, off_policy=OffPolicy())
    for sample in samples:
        sample.old_logprobs_T[:] = -20.0
    numbers = Learner(policy, LearnerConfig(lr=1e-3), total_steps=5).step(samples, LOSS)
    assert numbers["loss/ratio_max"] == pytest.approx(1.0)
    assert numbers["loss/clip_fraction"] == 0


def test_unlikely_tokens_can_be_left_out_of_the_transfer():
    policy = tiny_policy()
    samples = make_samples(policy, off_policy=OffPolicy(min_logprob=-0.01))
    before = weights_of(policy)
    Learner(policy, LearnerConfig(lr=1e-3, weight_decay=0.0), total_steps=5).step(samples, LOSS)
    assert torch.allclose(weights_of(policy), before)


def test_imitation_lowers_the_loss_and_weighs_tokens():
    policy = tiny_policy()
    samples = [
        Sample(
            s.prompt_ids,
            s.token_ids,
            s.mask_T,
            s.old_logprobs_T,
            np.where(s.mask_T, 1.0, 0.0).astype(np.float32),
        )
        for s in make_samples(policy)
    ]
    learner = Learner(policy, LearnerConfig(lr=3e-3, decay="linear"), total_steps=30)
    losses = [learner.step(samples, SftLoss())["loss/nll"] for _ in range(30)]
    assert losses[-1] < losses[0] * 0.7


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_state_and_restore_go_on_as_if_never_interrupted(optimizer):
    config = LearnerConfig(optimizer=optimizer, lr=1e-3, warmup_steps=3, decay="linear")
    policy = tiny_policy()
    learner = Learner(policy, config, total_steps=6)
    for seed in range(2):
        learner.step(make_samples(policy, seed=seed), LOSS)
    weights, state = {k: v.clone() for k, v in policy.model.state_dict().items()}, learner.state()
    twin_policy = tiny_policy(seed=5)
    twin_policy.model.load_state_dict(weights)
    twin = Learner(twin_policy, config, total_steps=6)
    import copy

    twin.restore(copy.deepcopy(state))
    for one, other in ((policy, learner), (twin_policy, twin)):
        other.step(make_samples(one, seed=9), LOSS)
    assert torch.equal(weights_of(policy), weights_of(twin_policy))


def test_muon_moves_less_where_the_gradient_is_smaller_than_it_used_to_be():
    policy = tiny_policy()
    learner = Learner(policy, LearnerConfig(optimizer="muon", lr=1e-6, muon_lr=1e-6), total_steps=6)
    adamw, muon = learner.optimizers
    samples = make_samples(policy, seed=1)
    strong = learner.step(samples, LOSS)["grad_norm"]
    assert muon.param_groups[0]["lr"] == pytest.approx(1e-6)
    silent = [replace(sample, advantages_T=np.zeros_like(sample.advantages_T)) for sample in samples]
    weak = learner.step([*samples, *silent, *silent, *silent], LOSS)["grad_norm"]
    assert weak == pytest.approx(strong / 4, rel=1e-2)
    usual = np.sqrt((0.99 * strong**2 + weak**2) / 1.99)
    assert muon.param_groups[0]["lr"] == pytest.approx(1e-6 * weak / usual)
    assert {group["lr"] for group in adamw.param_groups} == {1e-6}


def gradient_of(policy, samples, weights):
    """The gradient of -sum(weight * log-prob) / (trained tokens), by hand."""
    policy.model.zero_grad()
    total = sum(sample.trained_tokens for sample in samples)
    for sample, weight in zip(samples, weights, strict=True):
        advantages = torch.from_numpy(sample.advantages_T[sample.mask_T])
        (-(score(policy, [sample]).logprobs_M * advantages * weight).sum() / total).backward()
    return torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None])


def test_a_transferred_gradient_is_weighed_by_the_capped_ratio():
    policy = tiny_policy()
    samples = make_samples(policy, count=2, off_policy=OffPolicy(importance_cap=1.5))
    samples[0].old_logprobs_T[samples[0].mask_T] += 0.7  # less likely under the prompt that is learned: exp(-0.7)
    samples[1].old_logprobs_T[samples[1].mask_T] -= 2.0  # exp(2), capped
    expected = gradient_of(policy, samples, [math.exp(-0.7), 1.5]).norm()
    metrics = Learner(policy, LearnerConfig(lr=1e-3), total_steps=1).step(samples, GrpoLoss(dual_clip=None))
    assert metrics["grad_norm"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "updates"), [({"minibatches": 3}, 3), ({"epochs": 2}, 2), ({"minibatches": 9}, 6)]
)
def test_minibatches_and_epochs_are_optimizer_steps(settings, updates):
    policy = tiny_policy()
    learner = Learner(policy, LearnerConfig(lr=1e-3, **settings), total_steps=1)
    learner.step(make_samples(policy), LOSS)
    assert {int(state["step"]) for state in learner.optimizers[0].state.values()} == {updates}


def test_every_minibatch_weighs_as_much_as_the_batch_would():
    """Three minibatches of equal samples: each has the gradient of the whole."""
    policy = tiny_policy()
    samples = make_samples(policy, count=1) * 3
    whole = Learner(policy, LearnerConfig(lr=1e-9), total_steps=1).step(samples, LOSS)["grad_norm"]
    parts = Learner(policy, LearnerConfig(lr=1e-9, minibatches=3), total_steps=1).step(samples, LOSS)["grad_norm"]
    assert parts == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize(("epochs", "minibatches"), [(1, 1), (2, 3)])
def test_the_work_is_counted_in_every_pass(epochs, minibatches):
    policy = tiny_policy()
    samples = make_samples(policy)
    config = LearnerConfig(lr=1e-3, epochs=epochs, minibatches=minibatches, micro_tokens=40)
    learner = Learner(policy, config, total_steps=5)
    assert (learner.optimizer_steps, learner.tokens) == (0, 0)
    flat = [replace(samples[0], advantages_T=0 * samples[0].advantages_T)]  # left out: nothing is learned from it
    learner.step([*samples, *flat], LOSS)
    tokens = sum(int(sample.mask_T.sum()) for sample in samples)
    assert (learner.optimizer_steps, learner.tokens) == (epochs * minibatches, epochs * tokens)
    learner.step(flat, LOSS)
    assert (learner.optimizer_steps, learner.tokens) == (epochs * minibatches, epochs * tokens)
