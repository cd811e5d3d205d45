"""Step-level advantages: how much better a turn did than the other turns of its group that acted in the same state.

Source: GiGPO (arXiv 2505.10978, Eq. 3 to 8). Suffix `_E`: episodes; nested lists are episodes of turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from imprint.learning.advantages import Scale, turn_advantages

__all__ = ["DISCOUNT", "STEP_WEIGHT", "gigpo_advantages", "shared_states", "step_advantages"]

STEP_WEIGHT, DISCOUNT = 1.0, 0.95  # GiGPO's


def step_advantages(
    returns: Sequence[Sequence[float]],
    anchors: Sequence[Sequence[Hashable]],
    groups_E: Sequence[Hashable],
    *,
    scale: Scale = "std",
    eps: float = 1e-6,
    std_floor: float = 0.0,
) -> list[list[float]]:
    """(G_t - mean) / (std + eps) over all turns of a group's episodes that acted in one state (Eq. 6 and 7).

    Args:
        returns: what each turn of each episode led to (`rewards.discounted_returns`).
        anchors: what identifies the state that each turn acted in; compared within a group only.
        groups_E: which group (task) each episode belongs to.
        scale, eps, std_floor: as in `group_advantages`.

    Returns:
        One advantage per turn; exactly 0 where a state occurs once, and where all its returns are equal.

    Raises:
        ImprintError: a return that is not finite.
        ValueError: lengths differ.
    """
    # Every turn is a sample of its own: an episode of one turn, in the group of its state.
    by_episode = zip(returns, _states(anchors, groups_E), strict=True)
    turns = [([value], state) for episode in by_episode for value, state in zip(*episode, strict=True)]
    values, states = [value for value, _ in turns], [state for _, state in turns]
    found = iter(turn_advantages(values, states, unit="turn", scale=scale, eps=eps, std_floor=std_floor))
    return [[next(found)[0] for _ in returns_e] for returns_e in returns]


def gigpo_advantages(
    scores: Sequence[Sequence[float]],
    returns: Sequence[Sequence[float]],
    anchors: Sequence[Sequence[Hashable]],
    groups_E: Sequence[Hashable],
    *,
    step_weight: float = STEP_WEIGHT,
    scale: Scale = "std",
    std_floor: float = 0.0,
) -> list[list[float]]:
    """A = A_episode + step_weight * A_step (Eq. 8), one per turn.

    Args:
        scores: as `turn_advantages` takes them, for the first term, in which every episode weighs the same.
        returns, anchors: as `step_advantages` takes them, for the second.
    """
    episode = turn_advantages(scores, groups_E, unit="episode", scale=scale, std_floor=std_floor)
    step = step_advantages(returns, anchors, groups_E, scale=scale, std_floor=std_floor)
    return [
        [whole + step_weight * part for whole, part in zip(whole_e, part_e, strict=True)]
        for whole_e, part_e in zip(episode, step, strict=True)
    ]


def shared_states(anchors: Sequence[Sequence[Hashable]], groups_E: Sequence[Hashable]) -> float:
    """The share of the turns whose state another turn of their group acted in; the rest have no step advantage."""
    states = [state for states_e in _states(anchors, groups_E) for state in states_e]
    counts = Counter(states)
    return sum(counts[state] > 1 for state in states) / max(1, len(states))


def _states(anchors: Sequence[Sequence[Hashable]], groups_E: Sequence[Hashable]) -> list[list[tuple[Hashable, ...]]]:
    """Of each turn, its group and its state."""
    return [[(group, anchor) for anchor in states_e] for states_e, group in zip(anchors, groups_E, strict=True)]
