"""Advantages and losses against numbers worked by hand, and the laws they obey."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imprint.errors import ImprintError
from imprint.learning.advantages import group_advantages, turn_advantages
from imprint.learning.losses.grpo import policy_loss
from imprint.learning.losses.tokens import aggregate_tokens, entropy, kl_penalty, merge_metrics

finite = st.floats(-10, 10, allow_nan=False)
groups_of_scores = st.lists(st.lists(finite, min_size=1, max_size=5), min_size=1, max_size=8)


def logs(*ratios: float) -> torch.Tensor:
    return torch.tensor(ratios, dtype=torch.float64).log()


def close(found: object, expected: object, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), atol=tolerance, rtol=0)


# --- advantages ---------------------------------------------------------------------------------------------


def test_one_success_of_four():
    # mean 1/4; variance (9/16 + 3/16) / 3 = 1/4; std 1/2
    close(group_advantages([1, 0, 0, 0], "aaaa"), [1.5, -0.5, -0.5, -0.5])


def test_unit_turn_counts_an_episode_once_per_turn():
    # one turn of 1 and three of 0: the sample of the test above
    close(group_advantages([1, 0], [7, 7], [1, 3], unit="turn"), [1.5, -0.5])
    # per episode: mean 1/2, std sqrt(1/2)
    close(group_advantages([1, 0], [7, 7], [1, 3], unit="episode"), [math.sqrt(0.5), -math.sqrt(0.5)])


def test_groups_do_not_touch_and_may_interleave():
    both = group_advantages([1, 5, 0, 3], ["a", "b", "a", "b"])
    close(both[[0, 2]], group_advantages([1, 0], "aa"))
    close(both[[1, 3]], group_advantages([5, 3], "bb"))


def test_scale_none_only_centres():
    close(group_advantages([10, 0, 2], "aaa", scale="none"), [6.0, -4.0, -2.0])


def test_std_floor_keeps_a_tiny_bonus_tiny():
    returns = [1.0, 1.0, 1.01]
    assert group_advantages(returns, "aaa").abs().max() > 1
    assert group_advantages(returns, "aaa", std_floor=0.5).abs().max() < 0.02


def test_equal_returns_give_exactly_zero():
    # 0.1 * 3 / 3 is not 0.1 in floating point; divided by eps the error would be seen
    assert group_advantages([0.1] * 3, "aaa", eps=1e-12).tolist() == [0.0, 0.0, 0.0]


def test_a_group_of_one():
    assert group_advantages([10.0], "a").tolist() == [0.0]
    close(group_advantages([10.0], "a", singleton="raw"), [10.0], 1e-4)
    assert turn_advantages([[1.0]], "a", singleton="raw", scale="none") == [[1.0]]
    # one episode of several turns is a singleton per episode, not per turn
    assert turn_advantages([[1.0, 0.0]], "a", unit="episode") == [[0.0, 0.0]]
    assert turn_advantages([[1.0, 0.0]], "a", unit="turn") != [[0.0, 0.0]]


def test_turn_advantages_with_a_penalty():
    scores = [[1.0, 0.9], [0.0, 0.0]]
    # mean 0.475; squares 0.275625 + 0.180625 + 2 * 0.225625 = 0.9075; / 3 = 0.55 ** 2
    found = turn_advantages(scores, "aa", unit="turn")
    close(found, [[0.525 / 0.55, 0.425 / 0.55], [-0.475 / 0.55] * 2])
    # each turn weighs a half: 0.9075 / 2 / (2 - 1) = 0.45375
    std = math.sqrt(0.45375)
    close(turn_advantages(scores, "aa", unit="episode"), [[0.525 / std, 0.425 / std], [-0.475 / std] * 2])


def test_episode_means_that_agree_do_not_explode():
    # every episode has one bad turn of two: the spread within episodes keeps the scale
    found = turn_advantages([[1.0, 0.9], [0.9, 1.0]], "aa", unit="episode")
    assert max(abs(a) for episode in found for a in episode) < 2


@pytest.mark.parametrize("unit", ["episode", "turn"])
def test_an_episode_without_turns_takes_no_part(unit):
    found = turn_advantages([[1.0], [], [0.0]], "aaa", unit=unit)
    assert found[1] == []
    close([found[0], found[2]], [[math.sqrt(0.5)], [-math.sqrt(0.5)]])


def test_bad_input_is_refused():
    with pytest.raises(ImprintError, match="nan"):
        group_advantages([math.nan, 1.0], "aa")
    with pytest.raises(ValueError, match="turns_E"):
        group_advantages([1.0, 0.0], "aa", unit="turn")
    with pytest.raises(ValueError):
        group_advantages([1.0, 0.0], "a")
    with pytest.raises(ValueError, match="one turn"):
        group_advantages([1.0, 0.0], "aa", [0, 2], unit="turn")


@given(
    st.lists(st.tuples(finite, st.integers(1, 6)), min_size=1, max_size=8),
    st.sampled_from(["episode", "turn"]),
)
def test_turn_form_equals_group_form_when_turns_score_alike(episodes, unit):
    returns, turns = zip(*episodes, strict=True)
    groups = ["g"] * len(episodes)
    by_turn = turn_advantages([[r] * n for r, n in episodes], groups, unit=unit)
    by_episode = group_advantages(returns, groups, turns, unit=unit)
    for scores, value, n in zip(by_turn, by_episode.tolist(), turns, strict=True):
        # A group whose returns differ by rounding only is beyond comparison to the last digit.
        assert scores == pytest.approx([value] * n, abs=1e-3)


@given(groups_of_scores, st.randoms(use_true_random=False))
def test_advantages_follow_their_episodes_in_any_order(scores, random):
    order = list(range(len(scores)))
    random.shuffle(order)
    groups = [index % 2 for index in range(len(scores))]
    found = turn_advantages(scores, groups)
    shuffled = turn_advantages([scores[i] for i in order], [groups[i] for i in order])
    for place, index in enumerate(order):
        assert shuffled[place] == pytest.approx(found[index], abs=1e-6)


@given(groups_of_scores)
def test_advantages_of_a_group_balance(scores):
    found = turn_advantages(scores, ["g"] * len(scores), unit="turn", scale="none")
    assert sum(map(sum, found)) == pytest.approx(0, abs=1e-9)
    found = turn_advantages(scores, ["g"] * len(scores), unit="episode", scale="none")
    assert sum(sum(turns) / len(turns) for turns in found if len(scores) > 1) == pytest.approx(0, abs=1e-9)


# --- the loss -----------------------------------------------------------------------------------------------

# ratio, advantage -> loss, gradient with respect to the log-prob (which is -A r where it flows)
REGIONS = [
    (1.0, 1.0, -1.0, -1.0),  # on-policy
    (1.5, 1.0, -1.2, 0.0),  # good and already likelier: clipped above
    (0.5, 1.0, -0.5, -0.5),  # good but less likely: free to recover
    (0.5, -1.0, 0.8, 0.0),  # bad and already less likely: clipped below
    (2.0, -1.0, 2.0, 2.0),  # bad and likelier: free
    (5.0, -1.0, 3.0, 0.0),  # bad and far likelier: dual clip
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "gradient"), REGIONS)
def test_each_region_by_hand(ratio, advantage, loss, gradient):
    new = logs(ratio).requires_grad_()
    found, _ = policy_loss(new, logs(1.0), torch.tensor([advantage]), torch.tensor([True]))
    found.backward()
    close(found.item(), loss)
    close(new.grad.item(), gradient)


def test_asymmetric_clip_and_no_dual_clip():
    options = {"clip_high": 0.6, "dual_clip": None}
    loss, metrics = policy_loss(logs(1.5, 5.0), logs(1, 1), torch.tensor([1.0, -1.0]), torch.ones(2), **options)
    close(loss.item(), (-1.5 + 5.0) / 2)
    assert metrics["clip_fraction"] == metrics["dual_clip_fraction"] == 0.0


def test_metrics_by_hand():
    ratios, advantages = [row[0] for row in REGIONS], [row[1] for row in REGIONS]
    mask = torch.tensor([True] * 6 + [False])
    new, old = logs(*ratios, 99.0), logs(*[1.0] * 7)
    _, metrics = policy_loss(new, old, torch.tensor([*advantages, 1.0]), mask)
    assert metrics["clip_fraction"] == pytest.approx(2 / 6)
    assert metrics["dual_clip_fraction"] == pytest.approx(1 / 6)
    assert metrics["ratio_max"] == pytest.approx(5.0)
    assert metrics["tokens"] == 6
    expected = sum(r - 1 - math.log(r) for r in ratios) / 6
    assert metrics["approx_kl"] == pytest.approx(expected)


def test_what_is_masked_is_never_read():
    junk = torch.tensor([math.nan, math.inf, -math.inf], dtype=torch.float64)
    new = torch.cat([logs(1.1), junk]).requires_grad_()
    old = torch.cat([logs(1.0), junk.flip(0)])
    advantages = torch.tensor([1.0, math.nan, math.nan, 1.0])
    mask = torch.tensor([True, False, False, False])
    loss, metrics = policy_loss(new, old, advantages, mask)
    loss.backward()
    close(loss.item(), -1.1)
    close(new.grad, torch.tensor([-1.1, 0.0, 0.0, 0.0], dtype=torch.float64))
    assert all(math.isfinite(value) for value in metrics.values())


def test_importance_weights_are_constants():
    new, weights = logs(1.0, 1.0).requires_grad_(), torch.tensor([2.0, 0.5], requires_grad=True)
    loss, _ = policy_loss(new, logs(1.0, 1.0), torch.ones(2), torch.ones(2), importance_T=weights)
    loss.backward()
    close(loss.item(), -1.25)
    close(new.grad, torch.tensor([-1.0, -0.25], dtype=torch.float64))
    assert weights.grad is None


def test_no_tokens_is_a_zero_loss_with_a_graph():
    new = logs(1.0, 1.0).requires_grad_()
    for aggregate in ("token-mean", "sequence-mean-token-mean"):
        sequences = torch.tensor([0, 1])
        mask = torch.zeros(2, dtype=torch.bool)
        loss, metrics = policy_loss(new, new, torch.ones(2), mask, aggregate=aggregate, sequences_T=sequences)
        loss.backward()
        assert loss.item() == 0.0
        assert metrics["tokens"] == 0


def test_aggregates_by_hand():
    values = torch.tensor([[1.0, 2.0, 3.0], [10.0, 99.0, 99.0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    sequences = torch.tensor([[4, 4, 4], [9, 9, 9]])
    close(aggregate_tokens(values, mask, "token-mean"), 4.0)
    close(aggregate_tokens(values, mask, "sequence-mean-token-mean", sequences_T=sequences), 6.0)
    close(aggregate_tokens(values, mask, "token-mean", denominator=8), 2.0)
    with pytest.raises(ValueError, match="sequences_T"):
        aggregate_tokens(values, mask, "sequence-mean-token-mean")
    with pytest.raises(ValueError, match="positive"):
        aggregate_tokens(values, mask, "token-mean", denominator=0)


@settings(max_examples=40)
@given(st.data(), st.sampled_from(["token-mean", "sequence-mean-token-mean"]))
def test_micro_batches_add_up_to_the_full_batch(data, aggregate):
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=6))
    cut = data.draw(st.integers(1, len(lengths) - 1))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    total = sum(lengths)
    old, shift, advantages = torch.randn(3, total, generator=generator, dtype=torch.float64)
    mask = torch.rand(total, generator=generator) < 0.8
    sequences = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    counted = int(mask.sum()) if aggregate == "token-mean" else len(set(sequences[mask].tolist()))

    def run(part: slice, denominator: float | None) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
        new = (old + shift).requires_grad_()
        arguments = (x[part] for x in (new, old, advantages, mask))
        options = {"aggregate": aggregate, "sequences_T": sequences[part], "denominator": denominator}
        loss, metrics = policy_loss(*arguments, **options)
        return loss, torch.autograd.grad(loss, new)[0], metrics

    denominator = float(max(1, counted))
    edge = sum(lengths[:cut])
    full_loss, full_gradient, full_metrics = run(slice(None), None)
    parts = [run(part, denominator) for part in (slice(0, edge), slice(edge, None))]
    close(sum(part[0] for part in parts), full_loss, 1e-12)
    close(sum(part[1] for part in parts), full_gradient, 1e-12)
    assert merge_metrics(part[2] for part in parts) == pytest.approx(full_metrics, abs=1e-4)


def test_gradient_agrees_with_finite_differences():
    new = logs(1.05, 0.7, 1.9, 0.95, 4.0).requires_grad_()  # away from the corners at 0.8, 1.2 and 3
    advantages = torch.tensor([1.0, 2.0, -1.0, -0.5, -1.0], dtype=torch.float64)
    old, mask = torch.zeros(5, dtype=torch.float64), torch.tensor([1, 1, 1, 1, 1])
    assert torch.autograd.gradcheck(lambda x: policy_loss(x, old, advantages, mask)[0], (new,))


def test_dual_clip_below_one_is_refused():
    with pytest.raises(ValueError, match="dual_clip"):
        policy_loss(logs(1), logs(1), torch.ones(1), torch.ones(1), dual_clip=0.9)


def test_merging_nothing_is_refused():
    with pytest.raises(ValueError, match="no metrics"):
        merge_metrics([])


def test_descent_makes_the_rewarded_action_likelier():
    logits = torch.zeros(3, requires_grad=True)
    actions = torch.tensor([0, 1, 2, 0])
    advantages = group_advantages([1, 0, 0, 1], "aaaa")
    old = torch.log_softmax(logits, -1)[actions].detach()
    loss, _ = policy_loss(torch.log_softmax(logits, -1)[actions], old, advantages, torch.ones(4))
    loss.backward()
    after = torch.softmax(logits.detach() - logits.grad, -1)
    assert after[0] > 1 / 3 > after[1]


# --- KL and entropy -----------------------------------------------------------------------------------------


def test_kl_estimators_by_hand():
    # one token, policy 1/2, reference 1/4: d = ln 2
    d = math.log(2)
    new, reference = logs(0.5), logs(0.25)
    close(kl_penalty(new, reference, "k1").item(), d)
    close(kl_penalty(new, reference, "k2").item(), d * d / 2)
    close(kl_penalty(new, reference, "k3").item(), 0.5 - 1 + d)
    with pytest.raises(ValueError, match="k9"):
        kl_penalty(new, reference, "k9")  # type: ignore[arg-type]


def test_k1_and_k3_are_unbiased_and_k2_has_the_right_gradient():
    logits = torch.tensor([0.3, -0.2, 1.1], dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor([0.0, 0.5, -0.5], dtype=torch.float64), -1)
    logprobs = torch.log_softmax(logits, -1)
    chances = logprobs.exp().detach()
    exact = (logprobs.exp() * (logprobs - reference)).sum()
    for estimator in ("k1", "k3"):
        close((chances * kl_penalty(logprobs, reference, estimator)).sum(), exact, 1e-12)
    (wanted,) = torch.autograd.grad(exact, logits, retain_graph=True)
    (found,) = torch.autograd.grad((chances * kl_penalty(logprobs, reference, "k2")).sum(), logits)
    close(found, wanted, 1e-12)


@given(st.floats(-30, 0), st.floats(-30, 0))
def test_k3_is_never_negative(new, reference):
    assert kl_penalty(torch.tensor([new]), torch.tensor([reference]), "k3").item() >= 0


def test_entropy_of_known_distributions():
    close(entropy(torch.zeros(2, 4)), [math.log(4)] * 2)
    # 3/4 and 1/4: 2 ln 2 - 3/4 ln 3
    close(entropy(torch.tensor([math.log(3.0), 0.0])).item(), 2 * math.log(2) - 0.75 * math.log(3))


def test_entropy_with_forbidden_tokens():
    logits = torch.tensor([0.0, 0.0, -math.inf], requires_grad=True)
    value = entropy(logits)
    value.backward()
    close(value.item(), math.log(2))
    assert torch.isfinite(logits.grad).all()
