"""Intervals against published examples, closed forms and a likelihood maximised by brute force."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from imprint.errors import ImprintError
from imprint.support.stats import mcnemar, mean_interval, paired_difference, wilson

Z2 = norm.ppf(0.975) ** 2


def pairs(gained: int, lost: int, n: int) -> tuple[list[bool], list[bool]]:
    rest = n - gained - lost
    return [True] * gained + [False] * lost + [True] * rest, [False] * gained + [True] * lost + [True] * rest


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_on_newcombes_examples(successes, n, low, high):  # Statistics in Medicine 17 (1998) 857-872
    found = wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.estimate == successes / n


@given(st.integers(1, 400), st.data(), st.floats(0.5, 0.999))
def test_wilson_is_symmetric_ordered_and_never_of_no_width(n, data, level):
    successes = data.draw(st.integers(0, n))
    found, mirror = wilson(successes, n, level), wilson(n - successes, n, level)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert found.low < found.high
    assert (found.low, found.high) == pytest.approx((1 - mirror.high, 1 - mirror.low))


def test_tango_on_a_published_example():
    # 21 children, airways before and after transplantation: 1 gained, 7 lost (Fagerland et al. 2014)
    found = paired_difference(*pairs(1, 7, 21))
    assert found.estimate == pytest.approx(-6 / 21)
    assert (found.low, found.high) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_tango_ends_are_where_the_score_test_turns():
    gained, lost, n = 12, 2, 50
    found = paired_difference(*pairs(gained, lost, n))
    for delta in (found.low, found.high):
        q = np.linspace(max(0, -delta), (1 - delta) / 2, 2_000_001)[1:-1]
        likelihood = gained * np.log(q + delta) + lost * np.log(q) + (n - gained - lost) * np.log(1 - 2 * q - delta)
        best = q[likelihood.argmax()]
        z = (gained - lost - n * delta) / math.sqrt(n * (2 * best + delta * (1 - delta)))
        assert abs(z) == pytest.approx(math.sqrt(Z2), abs=1e-4)


@pytest.mark.parametrize("n", [1, 4, 20, 140])
def test_no_pair_differs_yet_the_interval_has_width(n):
    found = paired_difference([True] * n, [True] * n)
    assert (found.low, found.high) == pytest.approx((-Z2 / (n + Z2), Z2 / (n + Z2)))


def test_every_pair_differs():
    found = paired_difference([True] * 20, [False] * 20)
    assert (found.low, found.high) == pytest.approx(((20 - Z2) / (20 + Z2), 1.0))
    found = paired_difference([False] * 20, [True] * 20)
    assert (found.low, found.high) == pytest.approx((-1.0, -(20 - Z2) / (20 + Z2)))


@given(st.integers(1, 200), st.data())
def test_tango_mirrors_and_holds_its_estimate(n, data):
    gained = data.draw(st.integers(0, n))
    lost = data.draw(st.integers(0, n - gained))
    found, mirror = paired_difference(*pairs(gained, lost, n)), paired_difference(*pairs(lost, gained, n))
    assert -1 <= found.low <= found.estimate <= found.high <= 1
    assert found.low < found.high
    assert (found.low, found.high) == pytest.approx((-mirror.high, -mirror.low), abs=1e-7)


def test_tango_covers_the_truth():
    rng = np.random.default_rng(0)
    cells = rng.multinomial(30, [0.25, 0.1, 0.65], size=400)  # gained, lost, no change: the truth is 0.15
    found = [paired_difference(*pairs(int(g), int(lost), 30)) for g, lost, _ in cells]
    assert np.mean([interval.low <= 0.15 <= interval.high for interval in found]) >= 0.92


def test_mcnemar_by_hand():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(1, 7) == mcnemar(7, 1) == pytest.approx(2 * (1 + 8) / 256)
    assert mcnemar(3, 3) == pytest.approx(1.0)
    with pytest.raises(ImprintError):
        mcnemar(-1, 2)


def test_mean_over_seeds_by_hand():
    # mean 2, std 1, t(0.975, 2) = 4.3027
    found = mean_interval([1.0, 2.0, 3.0])
    assert (found.low, found.estimate, found.high) == pytest.approx((2 - 2.4841, 2, 2 + 2.4841), abs=1e-4)
    assert found.n == 3


def test_one_seed_says_nothing_and_survives_json():
    found = mean_interval([0.7])
    assert (found.low, found.high) == (-math.inf, math.inf)
    text = json.dumps(found.to_record(), allow_nan=False)
    assert json.loads(text) == {"low": None, "estimate": 0.7, "high": None, "n": 1}


def test_bad_counts_are_refused():
    for call in (
        lambda: wilson(0, 0),
        lambda: wilson(3, 2),
        lambda: wilson(1, 2, level=95),
        lambda: paired_difference([], []),
        lambda: paired_difference([True], [True, False]),
        lambda: mean_interval([]),
    ):
        with pytest.raises(ImprintError, match="hint"):
            call()
