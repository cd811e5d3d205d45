"""Intervals and tests for success rates: no figure is reported without one.

Everything is a pure function. Rates are fractions in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from imprint.errors import ImprintError

__all__ = ["Interval", "mcnemar", "mean_interval", "paired_difference", "wilson"]

_BESIDE = 1e-9


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate from `n` observations and its bounds; infinite ones mean that nothing is known."""

    low: float
    estimate: float
    high: float
    n: int

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary; an infinite end becomes None, as JSON has no infinity."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval (1927) for a success rate; keeps a width at 0 of n and n of n.

    Raises:
        ImprintError: no observations, counts that contradict each other, or a level outside (0, 1).
    """
    _need(n, 1, "a success rate")
    if not 0 <= successes <= n:
        raise ImprintError(f"{successes} successes of {n}", hint="give counts with 0 <= successes <= n")
    z2 = _quantile(level) ** 2
    rate = successes / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At the ends the formula gives 0 and 1 but for rounding.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(low, rate, high, n)


def paired_difference(with_E: Sequence[bool], without_E: Sequence[bool], level: float = 0.95) -> Interval:
    """Tango's score interval for a difference of success rates over pairs (same task, same seed).

    Unlike Wald or bootstrap intervals it keeps a width when no pair differs: z^2 / (n + z^2) on each side.
    Source: T. Tango, Statistics in Medicine 17 (1998) 891-908. Pairs count as independent; several seeds of
    one task are not quite that, and the interval is then somewhat narrow.

    Args:
        with_E, without_E: success of each pair's two arms, in the same order.

    Returns:
        rate(with) - rate(without), in [-1, 1], with its interval.

    Raises:
        ImprintError: no pairs, or arms of different length.
    """
    if len(with_E) != len(without_E):
        raise ImprintError(
            f"{len(with_E)} episodes with, {len(without_E)} without: these are no pairs",
            hint="play both arms on the same tasks and seeds",
        )
    n = len(with_E)
    _need(n, 1, "a paired difference")
    gained = sum(bool(a) and not b for a, b in zip(with_E, without_E, strict=True))
    lost = sum(bool(b) and not a for a, b in zip(with_E, without_E, strict=True))
    return _tango(gained, lost, n, _quantile(level))


def _tango(gained: int, lost: int, n: int, z: float) -> Interval:
    def surplus(delta: float, bound: float) -> float:
        """Zero where the score statistic at `delta` equals `bound`."""
        spread = n * (2 * _lost_rate(gained, lost, n, delta) + delta * (1 - delta))
        return gained - lost - n * delta - bound * math.sqrt(max(0.0, spread))

    estimate = (gained - lost) / n
    # When no pair differs, or all do, the statistic is 0/0 at the estimate: the ends are sought beside it.
    low = -1.0 if lost == n else brentq(surplus, -1.0, estimate - _BESIDE, args=(z,))
    high = 1.0 if gained == n else brentq(surplus, estimate + _BESIDE, 1.0, args=(-z,))
    return Interval(float(low), estimate, float(high), n)


def _lost_rate(gained: int, lost: int, n: int, delta: float) -> float:
    """The likeliest rate of lost pairs when the rate of gained pairs is `delta` higher (Tango's q21)."""
    b = (2 * n - gained + lost) * delta - gained - lost
    c = -lost * delta * (1 - delta)
    root = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    return min(max(root, 0.0, -delta), 1.0)


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value of gains and losses being equally likely; 1.0 when no pair differs."""
    if gained < 0 or lost < 0:
        raise ImprintError(f"counts of {gained} and {lost}", hint="give counts of pairs, 0 or more")
    return 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost, 0.5).pvalue)


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t interval for a mean over seeds; one seed gives infinite ends.

    Raises:
        ImprintError: no values.
    """
    n = len(values)
    _need(n, 1, "a mean")
    _quantile(level)
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if n == 1:
        return Interval(-math.inf, mean, math.inf, 1)
    half = float(student.ppf((1 + level) / 2, n - 1) * array.std(ddof=1) / math.sqrt(n))
    return Interval(mean - half, mean, mean + half, n)


def _quantile(level: float) -> float:
    """The two-sided normal quantile of `level`: 1.96 for 0.95."""
    if not 0 < level < 1:
        raise ImprintError(f"a confidence level of {level}", key="level", hint="choose one between 0 and 1, as 0.95")
    return float(norm.ppf((1 + level) / 2))


def _need(n: int, least: int, what: str) -> None:
    if n < least:
        raise ImprintError(f"{what} needs {least} or more observations, not {n}", hint="play more episodes")
