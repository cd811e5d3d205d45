"""What the training episodes of a step were like, as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from imprint.types import Episode, StopReason


def rollout_metrics(groups: Sequence[Sequence[Episode]], *, active: int, env_steps: int) -> dict[str, float]:
    """Success in all and by family, turns, tokens read, invalid turns, flat groups and stop reasons.

    Args:
        active: skills in force, as `curriculum/active`.
        env_steps: turns played in training so far.
    """
    episodes = [episode for group in groups for episode in group]
    turns = [turn for episode in episodes for turn in episode.turns]
    numbers = {
        "train/success": _mean([episode.success for episode in episodes]),
        "train/turns": len(turns) / len(episodes),
        "train/invalid": _mean([not turn.valid for turn in turns]),
        "train/context_tokens": _mean([turn.context_tokens for turn in turns]),
        "train/flat_groups": _mean([len({episode.success for episode in group}) == 1 for group in groups]),
        "curriculum/active": float(active),
        "env_steps": float(env_steps),
    }
    for family in sorted({episode.task.category for episode in episodes}):
        numbers[f"train/success/{family}"] = _mean(
            [episode.success for episode in episodes if episode.task.category == family]
        )
    stops = Counter(episode.stop for episode in episodes)
    return numbers | {f"stop/{reason}": stops[reason] / len(episodes) for reason in StopReason}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
