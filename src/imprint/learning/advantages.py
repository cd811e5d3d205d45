"""Scores to advantages: how much better each episode, or turn, did than the others of its group.

Sources: GRPO (arXiv 2402.03300), Dr. GRPO's unscaled advantage (arXiv 2503.20783). Suffix `_E`: episodes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from imprint.errors import ImprintError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Scale", "Singleton", "Unit", "group_advantages", "turn_advantages"]

Unit = Literal["episode", "turn"]
Scale = Literal["std", "none"]
Singleton = Literal["zero", "raw"]


def group_advantages(
    returns_E: Sequence[float] | Tensor,
    groups_E: Sequence[Hashable] | Tensor,
    turns_E: Sequence[int] | Tensor | None = None,
    *,
    unit: Unit = "episode",
    scale: Scale = "std",
    eps: float = 1e-6,
    std_floor: float = 0.0,
    singleton: Singleton = "zero",
) -> Tensor:
    """How much better each episode did than the other episodes of its group: (R - mean) / (std + eps).

    Args:
        returns_E: (E,) the return of each episode.
        groups_E: (E,) which group (task) each episode belongs to.
        turns_E: (E,) number of turns; needed when `unit` is "turn".
        unit: what mean and std are taken over. "episode": every episode counts once. "turn": every episode
            counts once per turn, as if each turn were a sample with the episode's return (SKILL0's reference
            code), so that long episodes pull the baseline towards themselves.
        scale: "std" divides by the unbiased standard deviation; "none" only subtracts the mean (Dr. GRPO).
        eps: added to the standard deviation.
        std_floor: the least standard deviation to divide by; keeps a tiny bonus from becoming the whole
            signal in a group where all else is equal.
        singleton: a group of one sample has nothing to compare with. "zero" learns nothing from it; "raw"
            uses mean 0 and std 1, as the reference code does, so the advantage is the return itself.

    Returns:
        (E,) float32. A group whose returns are all equal gives exactly 0 everywhere.

    Raises:
        ImprintError: a return that is not finite.
        ValueError: lengths differ, or `turns_E` is missing or below 1 where it is needed.
    """
    returns = _as_list(returns_E)
    if unit == "turn" and turns_E is None:
        raise ValueError('unit="turn" needs turns_E')
    weights = [1.0] * len(returns) if unit == "episode" or turns_E is None else _as_list(turns_E)
    if any(weight < 1 for weight in weights):
        raise ValueError("every episode needs at least one turn")
    import torch

    options = _Options(scale, eps, std_floor, singleton)
    values = _advantages(returns, weights, _as_list(groups_E), options)
    return torch.tensor(values, dtype=torch.float32)


def turn_advantages(
    scores: Sequence[Sequence[float]],
    groups_E: Sequence[Hashable] | Tensor,
    *,
    unit: Unit = "episode",
    scale: Scale = "std",
    eps: float = 1e-6,
    std_floor: float = 0.0,
    singleton: Singleton = "zero",
) -> list[list[float]]:
    """The general form of `group_advantages`: one score, hence one advantage, per turn.

    `scores[e][t]` is the episode's return and whatever belongs to turn t alone (an invalid-action penalty).
    With `unit="turn"` every turn weighs 1; with `unit="episode"` the turns of an episode share a weight of 1.
    The spread counts differences within an episode too, so that groups whose episodes differ only by a
    penalty stay bounded. When all turns of every episode score the same, the result equals
    `group_advantages`. An episode without turns takes no part and gets an empty list.

    Raises:
        ImprintError: a score that is not finite.
        ValueError: `scores` and `groups_E` differ in length.
    """
    groups = _as_list(groups_E)
    flat: list[float] = []
    weights: list[float] = []
    owners: list[Hashable] = []
    for scores_e, group in zip(scores, groups, strict=True):
        flat.extend(scores_e)
        weights.extend([1.0 if unit == "turn" else 1.0 / max(1, len(scores_e))] * len(scores_e))
        owners.extend([group] * len(scores_e))
    options = _Options(scale, eps, std_floor, singleton)
    values = iter(_advantages(flat, weights, owners, options))
    return [[next(values) for _ in scores_e] for scores_e in scores]


class _Options(NamedTuple):
    scale: Scale
    eps: float
    std_floor: float
    singleton: Singleton


def _advantages(
    values: Sequence[float],
    weights: Sequence[float],
    groups: Sequence[Hashable],
    options: _Options,
) -> list[float]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, (value, _, group) in enumerate(zip(values, weights, groups, strict=True)):
        if not math.isfinite(value):
            raise ImprintError(
                f"group {group!r} has a score of {value}",
                hint="make the environment and the reward settings give finite numbers",
            )
        members[group].append(index)
    result = [0.0] * len(values)
    for indices in members.values():
        normal = _normalise([values[i] for i in indices], [weights[i] for i in indices], options)
        for index, value in zip(indices, normal, strict=True):
            result[index] = value
    return result


def _normalise(values: list[float], weights: list[float], options: _Options) -> list[float]:
    """Centre and scale one group; a weight of w stands for w copies of the value."""
    samples = round(math.fsum(weights))  # shares of 1/T add up to whole episodes, but for rounding
    if samples == 1 and options.singleton == "raw":
        divisor = 1.0 + options.eps if options.scale == "std" else 1.0
        return [value / divisor for value in values]
    # An explicit test: the rounding of the mean, divided by eps, would not be exactly 0.
    if samples == 1 or min(values) == max(values):
        return [0.0] * len(values)
    mean = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / samples
    if options.scale == "none":
        return [value - mean for value in values]
    squares = math.fsum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True))
    std = max(math.sqrt(squares / (samples - 1)), options.std_floor)
    return [(value - mean) / (std + options.eps) for value in values]


def _as_list(values: Sequence[Any] | Tensor) -> list[Any]:
    return list(values if isinstance(values, Sequence) else values.tolist())
