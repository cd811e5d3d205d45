"""What the training episodes of a step were like, and what could be learned from them, as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from imprint.learning.rewards import RewardConfig, outcome
from imprint.learning.sample import Sample
from imprint.types import Episode, StopReason

__all__ = ["gradient_tokens", "rollout_metrics", "taught_nothing", "zero_advantage_groups"]


def rollout_metrics(
    groups: Sequence[Sequence[Episode]], reward: RewardConfig, *, active: int, env_steps: int
) -> dict[str, float]:
    """Success in all and by family, turns, tokens read, invalid turns, flat groups and stop reasons.

    A group is flat (`train/flat_groups`) when all its episodes have the same outcome, so that none is better than
    another. Penalties may still tell them apart: see `zero_advantage_groups`.

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
        "train/flat_groups": _mean([len({outcome(episode, reward) for episode in group}) == 1 for group in groups]),
        "curriculum/active": float(active),
        "env_steps": float(env_steps),
    }
    for family in sorted({episode.task.category for episode in episodes}):
        numbers[f"train/success/{family}"] = _mean(
            [episode.success for episode in episodes if episode.task.category == family]
        )
    stops = Counter(episode.stop for episode in episodes)
    return numbers | {f"stop/{reason}": stops[reason] / len(episodes) for reason in StopReason}


def taught_nothing(row: Mapping[str, Any]) -> bool:
    """Whether a training step's metrics tell that nothing could be learned from its episodes.

    The loss kept no sample, or no episode succeeded and every group was flat: what is left then are penalties.
    """
    return row.get("loss/samples") == 0 or (row.get("train/success") == 0 and row.get("train/flat_groups") == 1)


def zero_advantage_groups(groups: Sequence[Sequence[Episode]], samples: Sequence[Sample]) -> float:
    """The share of the groups from which nothing is learned: every advantage of every sample of theirs is 0.

    A sample is of an episode whose very tokens it has; replayed ones are of none.
    """
    learned = {id(sample.token_ids) for sample in samples if sample.advantages_T.any()}
    tokens_G = [[part.token_ids for episode in group for part in (episode.views or (episode,))] for group in groups]
    return _mean([not any(id(tokens) in learned for tokens in group) for group in tokens_G])


def gradient_tokens(samples: Sequence[Sample]) -> float:
    """The share of the tokens to be trained that have an advantage: the others have no gradient."""
    total = sum(sample.trained_tokens for sample in samples)
    return sum(int((sample.advantages_T != 0).sum()) for sample in samples) / max(1, total)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
