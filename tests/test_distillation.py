"""Distillation: the divergences, the teacher's weights, what the learner scores, and the methods."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imprint.errors import PolicyError
from imprint.learning.config import LearnerConfig
from imprint.learning.learner import Learner
from imprint.learning.losses import DistillationLoss, GatedLoss, GrpoLoss
from imprint.learning.losses.distillation import divergence
from imprint.learning.losses.gated import gated_gap
from imprint.learning.sample import Sample, off_prompt, packed, unpacked
from imprint.learning.scoring import score
from imprint.measurement.conditions import WITH, WITHOUT
from imprint.models.sampling import Prompt
from imprint.types import Episode, StopReason, Task, Turn, View
from test_frozen_tower import picture, vision_policy
from test_methods import LIBRARY, every_second, outcomes, start, training
from tiny import tiny_policy, weights_of

EXACT = LearnerConfig(lr=1e-3, weight_decay=0.0)


def logprobs(tokens: int = 5, vocabulary: int = 7, seed: int = 0, spread: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, vocabulary, generator=generator, dtype=torch.float64).mul(spread).log_softmax(-1)


def reference(teacher: torch.Tensor, logits: torch.Tensor, beta: float) -> torch.Tensor:
    """The same by torch's own kl_div on probabilities."""
    p, q = teacher.exp(), logits.softmax(-1)

    def kl(of: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.kl_div(other.log(), of, reduction="none").sum(-1)

    if beta in (0.0, 1.0):
        return kl(q, p) if beta else kl(p, q)
    mixed = beta * p + (1 - beta) * q
    return beta * kl(p, mixed) + (1 - beta) * kl(q, mixed)


# --- the divergences ---


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_a_divergence_and_its_gradient_are_those_of_the_formula(beta):
    teacher, logits = logprobs(seed=1), logprobs(seed=2)
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    values, expected = divergence(teacher, ours.log_softmax(-1), beta=beta), reference(teacher, theirs, beta)
    assert torch.allclose(values, expected)
    weights = torch.arange(1.0, 6.0, dtype=torch.float64)
    (values * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad)


def test_the_gradient_of_forward_kl_is_the_difference_of_the_distributions():
    teacher, logits = logprobs(seed=1), logprobs(seed=2).requires_grad_()
    divergence(teacher, logits.log_softmax(-1), beta=0.0).sum().backward()
    assert torch.allclose(logits.grad, logits.detach().exp() - teacher.exp())


def test_the_kl_of_two_coins_by_hand():
    half, quarter = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    forward = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    reverse = 0.25 * np.log(1 / 2) + 0.75 * np.log(3 / 2)
    assert divergence(half, quarter, beta=0.0).tolist() == pytest.approx([forward])
    assert divergence(half, quarter, beta=1.0).tolist() == pytest.approx([reverse])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.floats(0.1, 2.0), st.integers(2, 12))
def test_a_divergence_is_not_negative_and_of_the_most_likely_tokens_never_more_than_of_all(seed, beta, spread, size):
    teacher, policy = logprobs(3, size, seed, spread), logprobs(3, size, seed + 1, spread)
    whole = divergence(teacher, policy, beta=beta)
    parts = [divergence(teacher, policy, beta=beta, top_k=k) for k in range(1, size + 2)]
    for less, more in pairwise(parts):  # more tokens are told apart
        assert (less >= -1e-9).all() and (less <= more + 1e-5).all()
    assert torch.allclose(parts[-2], whole) and torch.allclose(parts[-1], whole)
    assert torch.allclose(parts[-3], whole, atol=1e-4)  # all but one: the rest is one token


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([None, 3]))
def test_equal_distributions_have_no_divergence_and_no_gradient(seed, beta, top_k):
    same = logprobs(seed=seed)
    logits = same.clone().requires_grad_()
    values = divergence(same, logits.log_softmax(-1), beta=beta, top_k=top_k)
    values.sum().backward()
    assert torch.allclose(values, torch.zeros_like(values), atol=1e-7)
    assert torch.allclose(logits.grad, torch.zeros_like(logits), atol=1e-6)


def test_probability_that_leaves_the_most_likely_tokens_costs_something():
    teacher = torch.tensor([[0.6, 0.3, 0.05, 0.05]]).log()
    leaked = torch.tensor([[0.4, 0.2, 0.2, 0.2]]).log()  # the same two, up to a factor
    assert divergence(teacher, leaked, beta=0.0, top_k=2).item() > 0.1


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("top_k", [None, 2])
def test_forbidden_and_certain_tokens_give_numbers(beta, top_k):
    certain = torch.tensor([[0.0, -torch.inf, -torch.inf, -torch.inf]])
    logits = torch.tensor([[1.0, 0.0, 0.0, -torch.inf]], requires_grad=True)
    values = divergence(certain, logits.log_softmax(-1), beta=beta, top_k=top_k)
    values.sum().backward()
    assert torch.isfinite(values).all() and torch.isfinite(logits.grad).all()


# --- the learner ---


def make_samples(count: int = 6, seed: int = 0) -> list[Sample]:
    """Random samples, two to a prompt, whose teachers read longer prompts."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(count):
        size = int(rng.integers(4, 12))
        prompt = tuple(np.random.default_rng(index // 2).integers(2, 250, 9).tolist())
        mask = np.arange(size) % 3 != 1
        weights = np.where(mask, 1.0 + index % 2, 0.0).astype(np.float32)
        tokens = tuple(rng.integers(2, 250, size).tolist())
        page = tuple(np.random.default_rng(100 + index // 2).integers(2, 250, 20 + index // 2).tolist())
        sample = Sample(prompt, tokens, mask, np.zeros(size, dtype=np.float32), weights)
        samples.append(sample.taught(Prompt((*page, *prompt))))
    return samples


def alone(policy, prompt_ids: tuple[int, ...], sample: Sample) -> torch.Tensor:
    """The log-probs [M, V] of a sample's trained tokens by the plain model on the whole sequence."""
    ids = torch.tensor([[*prompt_ids, *sample.token_ids]])
    logits = policy.model(ids).logits[0, len(prompt_ids) - 1 : -1]
    return logits[torch.from_numpy(sample.mask_T)].log_softmax(-1)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_an_update_has_the_gradient_of_the_plain_computation(beta):
    policy, samples = tiny_policy(), make_samples()
    learner = Learner(policy, EXACT, total_steps=1)
    learner.keep_teacher("base")
    total = sum(float(sample.advantages_T.sum()) for sample in samples)
    loss = torch.zeros(())
    for sample in samples:
        with torch.no_grad():
            teacher = alone(policy, sample.teacher.ids, sample)
        weights = torch.from_numpy(sample.advantages_T[sample.mask_T])
        loss = loss + (divergence(teacher, alone(policy, sample.prompt_ids, sample), beta=beta) * weights).sum() / total
    loss.backward()
    expected = torch.cat([weight.grad.flatten() for weight in policy.model.parameters()])
    learner.config = EXACT.model_copy(update={"max_grad_norm": 1e9})  # the gradient as it is
    metrics = learner.step(samples, DistillationLoss(beta))
    found = torch.cat([weight.grad.flatten() for weight in policy.model.parameters()])
    assert metrics["loss/divergence"] == pytest.approx(float(loss.detach()), rel=1e-4)
    assert torch.allclose(found, expected, atol=1e-6)


def test_micro_batches_change_nothing():
    gradients = []
    for budget in (60, 100_000):
        policy = tiny_policy()
        learner = Learner(policy, EXACT.model_copy(update={"micro_tokens": budget}), total_steps=1)
        learner.keep_teacher("base")
        learner.step(make_samples(), DistillationLoss(0.5))
        gradients.append(torch.cat([weight.grad.flatten() for weight in policy.model.parameters()]))
    assert torch.allclose(*gradients, atol=1e-6)


def test_the_metric_is_the_mean_over_all_tokens_however_many_optimizer_steps_they_are_cut_into():
    found = []
    for changes in ({}, {"minibatches": 3}, {"minibatches": 3, "micro_tokens": 60}, {"epochs": 2}):
        learner = Learner(tiny_policy(), LearnerConfig(lr=1e-12, **changes), total_steps=1)
        learner.keep_teacher("base")
        found.append(learner.step(make_samples(), DistillationLoss())["loss/divergence"])
    assert found == pytest.approx([found[0]] * 4, rel=1e-4)


def test_a_teacher_with_the_same_prompt_teaches_nothing_at_first():
    policy = tiny_policy()
    learner = Learner(policy, EXACT, total_steps=1)
    learner.keep_teacher("live")
    samples = [sample.taught(Prompt(sample.prompt_ids)) for sample in make_samples()]
    assert learner.step(samples, DistillationLoss())["loss/divergence"] == pytest.approx(0.0, abs=1e-6)


def test_learning_approaches_the_teacher():
    learner = Learner(tiny_policy(), LearnerConfig(lr=3e-3), total_steps=20)
    learner.keep_teacher("base")
    values = [learner.step(make_samples(), DistillationLoss(0.5))["loss/divergence"] for _ in range(20)]
    assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize(("kind", "decay"), [("base", 0.0), ("live", 0.0), ("ema", 0.9), ("ema", 0.0)])
def test_the_weights_of_a_teacher(kind, decay):
    policy = tiny_policy()
    learner = Learner(policy, LearnerConfig(lr=1e-2), total_steps=3)
    learner.keep_teacher(kind, decay)
    expected = weights_of(policy)
    for seed in range(3):
        learner.step(make_samples(seed=seed), DistillationLoss())
        if kind != "base":
            expected = decay * expected + (1 - decay) * weights_of(policy)
    assert torch.allclose(weights_of(learner.teacher.policy), expected, atol=1e-6)
    assert not torch.allclose(weights_of(policy), weights_of(tiny_policy()), atol=1e-3)


def test_a_frozen_teacher_is_the_reference_of_a_kl_term():
    learner = Learner(tiny_policy(), LearnerConfig(kl_coef=0.1), total_steps=1)
    learner.keep_teacher("base")
    assert learner.teacher.policy is learner.reference is not learner.policy


def test_a_teacher_that_moves_is_in_the_checkpoint_and_the_others_are_not():
    learner = Learner(tiny_policy(), LearnerConfig(lr=1e-2), total_steps=2)
    for kind in ("base", "live"):
        learner.keep_teacher(kind)
        assert "teacher" not in learner.state()
    learner.keep_teacher("ema", 0.5)
    learner.step(make_samples(), DistillationLoss())
    state = copy.deepcopy(learner.state())
    other = Learner(tiny_policy(seed=3), LearnerConfig(lr=1e-2), total_steps=2)
    other.keep_teacher("ema", 0.5)
    other.restore(state)
    assert torch.equal(weights_of(other.teacher.policy), weights_of(learner.teacher.policy))


def test_what_a_loss_needs_of_a_teacher_is_told_where_it_is_missing():
    learner = Learner(tiny_policy(), EXACT, total_steps=1)
    with pytest.raises(ValueError, match="keep_teacher"):
        learner.step(make_samples(), DistillationLoss())
    learner.keep_teacher("base")
    with pytest.raises(ValueError, match="no prompt for a teacher"):
        learner.step([replace(sample, teacher=None) for sample in make_samples()], DistillationLoss())


def test_a_teacher_whose_prompt_exceeds_the_context_is_refused():
    learner = Learner(tiny_policy(max_context=40), EXACT, total_steps=1)
    learner.keep_teacher("base")
    sample = make_samples()[0]
    with pytest.raises(PolicyError, match="tokens with the teacher's prompt; the context has 40"):
        learner.step([sample.taught(Prompt((5,) * 40))], DistillationLoss())


def test_a_teacher_sees_its_own_pictures(tmp_path):
    policy = vision_policy(tmp_path)
    red, blue = (policy.vision.spelled(picture(text)) for text in ("the red door", "the blue door\nis open"))
    tokens = (7, 8, 9)
    sample = Sample(
        (1, *red),
        tokens,
        np.ones(3, dtype=bool),
        np.zeros(3, np.float32),
        np.ones(3, np.float32),
        pictures=(picture("the red door"),),
    )
    page = Prompt((1, *blue), pictures=(picture("the blue door\nis open"),))
    learner = Learner(policy, EXACT, total_steps=1)
    learner.keep_teacher("live")
    with torch.no_grad():
        mine, other = (
            score(policy, [one], with_distribution=True).logprobs_MV
            for one in (sample, replace(sample, prompt_ids=page.ids, pictures=page.pictures))
        )
    expected = float(divergence(other, mine, beta=0.0).mean())
    assert expected > 0
    assert learner.step([sample.taught(page)], DistillationLoss())["loss/divergence"] == pytest.approx(
        expected, rel=1e-4
    )


# --- samples ---


def test_a_sample_with_a_teacher_survives_a_checkpoint():
    seen = (picture("a page"),)
    sample = make_samples()[0].taught(Prompt((3, 4, 5), pictures=seen))
    back = unpacked(packed(sample), draw=lambda text, factor: None)
    assert back.teacher.ids == (3, 4, 5) and [one.text for one in back.teacher.pictures] == ["a page"]
    assert set(packed(replace(sample, teacher=None))) == {
        "prompt",
        "tokens",
        "mask",
        "old_logprobs",
        "learned",
        "pictures",
    }  # as it was before there were teachers


def test_a_teacher_reads_the_prompt_of_each_turn_where_turns_have_their_own():
    views = [View((place, 2), (5, 6), (0.0, 0.0), (picture(f"turn {place}"),)) for place in range(3)]
    turns = [Turn("", "", "", 0.0, True, 2, 0, 2) for _ in views]
    episode = Episode(
        Task("t", "red", "train", "red"), 0, (), "", tuple(turns), True, StopReason.SUCCESS, views=tuple(views)
    )
    prompts = [Prompt((7, place)) for place in range(3)]
    samples = off_prompt(episode, [1.0, 0.0, 1.0], prompts, taught=True)
    assert [sample.prompt_ids for sample in samples] == [(7, 0), (7, 2)]
    assert [(sample.teacher.ids, sample.teacher.pictures[0].text) for sample in samples] == [
        ((0, 2), "turn 0"),
        ((2, 2), "turn 2"),
    ]
    assert [sample.teacher for sample in off_prompt(episode, [1.0] * 3, prompts)] == [None] * 3


# --- context distillation ---


def test_context_distillation_learns_what_the_reader_would_do_without_the_skill(tmp_path):
    changes = {"steps": 2, "imitation": {"epochs": 3, "batch": 2}, "learner": {"lr": 1e-2}}
    bench = start("context_distillation", tmp_path / "run", won=every_second, **changes)
    agent = bench.go()
    assert agent.shown == WITHOUT and all(request.skills for request in training(bench))
    assert len(bench.method.kept) == 8  # every second of 2 x 2 x 4 episodes
    closed = start("closed_book", tmp_path / "closed", won=every_second, **changes)
    closed.go()
    for sample, same in zip(bench.method.kept, closed.method.kept, strict=True):
        assert sample.prompt_ids == same.prompt_ids and sample.token_ids == same.token_ids
        assert (sample.advantages_T == same.advantages_T).all()
        assert len(sample.teacher.ids) > len(sample.prompt_ids)  # the skills stand there
    learned = [row["loss/divergence"] for row in bench.rows("metrics") if "loss/divergence" in row]
    assert len(learned) == 3 and 0 <= learned[-1] < learned[0]


def test_context_distillation_may_keep_failures_and_then_no_step_teaches_nothing(tmp_path):
    def lost(episodes):
        return [replace(one, success=False) for one in episodes]

    few = {"steps": 4, "imitation": {"epochs": 1}}
    bench = start("context_distillation", tmp_path / "wins", won=lost, **few)
    bench.go()
    assert bench.method.kept == [] and any("taught nothing" in note for note in bench.notes)
    both = {"context_distillation": {"successes_only": False}}
    bench = start("context_distillation", tmp_path / "all", won=lost, **few, **both)
    bench.go()
    assert len(bench.method.kept) == 4 * 2 * 4 and not any("taught nothing" in note for note in bench.notes)


# --- on-policy self-distillation ---


def taught_samples(bench, monkeypatch):
    """What the learner is given in each step of a run."""
    seen, step = [], bench.parts.learner.step
    monkeypatch.setattr(
        bench.parts.learner, "step", lambda samples, loss, **more: seen.append(samples) or step(samples, loss, **more)
    )
    bench.go()
    return seen


@pytest.mark.parametrize("method", ["opsd", "sdar"])
def test_the_student_plays_without_the_skills_and_the_teacher_reads_its_turns_with_them(method, tmp_path, monkeypatch):
    bench = start(method, tmp_path / "run", won=every_second, steps=2)
    seen = taught_samples(bench, monkeypatch)
    assert not any(request.skills for request in training(bench))
    assert [len(samples) for samples in seen] == [8, 8]
    requests = training(bench)[:8]
    for sample, request in zip(seen[0], requests, strict=True):
        first = bench.world.environment().reset(request.task, request.seed)
        shown = [cond.show(request.task, LIBRARY) for cond in (WITHOUT, WITH)]
        without, with_ = (bench.context.start(one.skills, first) for one in shown)
        assert sample.prompt_ids == without.ids and sample.teacher.ids == with_.ids
    assert bench.run.status()["state"] == "finished"


def test_opsd_learns_every_token_whatever_the_outcome_and_no_step_teaches_nothing(tmp_path, monkeypatch):
    bench = start("opsd", tmp_path / "run", won=outcomes(0, 0, 0, 0), steps=4, learner={"lr": 1e-2})
    seen = taught_samples(bench, monkeypatch)
    assert all(set(sample.advantages_T[sample.mask_T]) == {1.0} for sample in seen[0])
    assert not any("taught nothing" in note for note in bench.notes)
    values = [row["loss/divergence"] for row in bench.rows("metrics") if "loss/divergence" in row]
    assert len(values) == 4 and all(value > 0 for value in values)


@pytest.mark.parametrize("kind", ["base", "ema", "live"])
def test_opsd_has_the_teacher_that_its_recipe_asks_for(kind, tmp_path):
    bench = start("opsd", tmp_path / "run", steps=1, opsd={"teacher": kind, "decay": 0.5})
    bench.go()
    teacher, policy = bench.parts.learner.teacher.policy, bench.policy
    first = weights_of(tiny_policy())
    expected = {"base": first, "live": weights_of(policy), "ema": 0.5 * first + 0.5 * weights_of(policy)}[kind]
    assert torch.allclose(weights_of(teacher), expected, atol=1e-6)


# --- SDAR ---


def test_the_gate_and_its_gradient_by_hand():
    policy = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    teacher = torch.tensor([-0.8, -3.0, -0.5])
    terms, gates = gated_gap(policy, teacher, 5.0)
    expected = torch.sigmoid(torch.tensor([1.0, -5.0, 0.0]))
    assert torch.allclose(gates, expected)
    assert torch.allclose(terms.detach(), expected * torch.tensor([0.2, -1.0, 0.0]), atol=1e-6)
    terms.sum().backward()
    assert torch.allclose(policy.grad, -expected)  # the gate is a constant


@pytest.mark.parametrize("aggregate", ["token-mean", "sequence-mean-token-mean"])
def test_the_gated_term_is_added_to_grpo_in_its_mean(aggregate):
    policy, samples = tiny_policy(), make_samples()
    samples = [replace(one, old_logprobs_T=own_logprobs(policy, one)) for one in samples]
    config = EXACT.model_copy(update={"aggregate": aggregate, "max_grad_norm": 1e9, "micro_tokens": 80})
    expected = torch.zeros_like(weights_of(policy))
    for loss, sign in ((GrpoLoss.of(config), 1.0), (GatedLoss(GrpoLoss.of(config), 0.7, 5.0), -1.0)):
        twin = tiny_policy()
        learner = Learner(twin, config, total_steps=1)
        learner.keep_teacher("base")
        metrics = learner.step(samples, loss)
        expected += sign * torch.cat([weight.grad.flatten() for weight in twin.model.parameters()])
    assert 0 < metrics["loss/gate"] < 1
    total = torch.zeros(())
    for sample in samples:
        targets = torch.tensor(sample.token_ids)[torch.from_numpy(sample.mask_T)][:, None]
        own = alone(policy, sample.prompt_ids, sample).gather(-1, targets)[:, 0]
        with torch.no_grad():
            gap = alone(policy, sample.teacher.ids, sample).gather(-1, targets)[:, 0] - own
        term = -(torch.sigmoid(5.0 * gap) * own)
        whole = sum(one.trained_tokens for one in samples)
        total = total + (term.sum() / whole if aggregate == "token-mean" else term.mean() / len(samples))
    (-0.7 * total).backward()
    found = torch.cat([weight.grad.flatten() for weight in policy.model.parameters()])
    assert torch.allclose(expected, found, atol=1e-6)


def own_logprobs(policy, sample: Sample) -> np.ndarray:
    values = np.zeros(len(sample.token_ids), dtype=np.float32)
    with torch.no_grad():
        values[sample.mask_T] = score(policy, [sample]).logprobs_M.numpy()
    return values


def test_sdar_without_its_term_is_grpo(tmp_path):
    rows = {}
    for method, changes in (("grpo", {}), ("sdar", {"sdar": {"coef": 0.0}}), ("sdar", {"sdar": {"coef": 0.5}})):
        bench = start(method, tmp_path / f"{len(rows)}", won=every_second, steps=2, **changes)
        bench.go()
        rows[len(rows)] = weights_of(bench.policy)
    assert torch.equal(rows[0], rows[1]) and not torch.allclose(rows[0], rows[2], atol=1e-5)


def test_sdar_learns_from_groups_without_an_advantage():
    silent = [sample.scaled(0.0) for sample in make_samples()]
    grpo = GrpoLoss()
    assert not any(grpo.keeps(sample) for sample in silent)
    assert all(GatedLoss(grpo).keeps(sample) for sample in silent)
    assert not any(GatedLoss(grpo, coef=0.0).keeps(sample) for sample in silent)
