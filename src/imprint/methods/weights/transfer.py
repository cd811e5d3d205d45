"""Transfer: what episodes gained by reading the skills, carried over to the prompt that shows none.

    g = E_{y1 ~ pi(.|x1)} [ A0(y1) grad log pi(y1 | x0) ],    A0(y1) = R(y1) - mean_j R(y0_j)

with x1 the prompt that shows the skills, x0 the same prompt without them, and the baseline from the episodes of the
same group under x0 (RLTF-SD, arXiv 2602.02482). For methods with mixed groups (`mixed.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from imprint.context.shown import Shown
from imprint.learning.rewards import turn_scores
from imprint.learning.sample import OffPolicy, Sample, off_prompt

if TYPE_CHECKING:
    from imprint.methods.base import Workbench
    from imprint.methods.loop import Group
    from imprint.types import Episode

__all__ = ["Carrier", "Gains"]

Gains = Literal["positive", "all"]


class Carrier:
    """Makes the samples under the prompt that shows no skill.

    Args:
        gains: "positive" carries over what succeeded and beat the baseline, in its valid actions; "all" carries over
            every episode and turn with its A0, of either sign.
        rules: how the carried tokens are learned.
    """

    def __init__(self, bench: Workbench, gains: Gains, rules: OffPolicy) -> None:
        assert bench.context is not None
        self.context, self.reward = bench.context, bench.recipe.reward
        self.gains, self.rules = gains, rules

    def score(self, episode: Episode) -> float:
        """The mean score of an episode's turns, without the bonus for compressing: R."""
        scores = turn_scores(episode, self.reward)
        return sum(scores) / len(scores)

    def baseline(self, group: Group) -> float | None:
        """The mean score of the episodes that were shown no skill; None if all were shown some."""
        scores = [self.score(episode) for episode in group if not episode.skills]
        return sum(scores) / len(scores) if scores else None

    def carried(self, episode: Episode, weights: Sequence[float] | None = None) -> list[Sample]:
        """A reader's actions under the prompt that shows no skill, with one weight per turn.

        By default 1; with positive gains, 0 where the action was not valid.
        """
        if weights is None:
            weights = [float(turn.valid or self.gains == "all") for turn in episode.turns]
        return off_prompt(episode, weights, self.context.render(episode, Shown()), self.rules)

    def chosen(self, group: Group) -> list[Episode]:
        """The readers of a group whose actions may be carried over."""
        return [episode for episode in group if episode.skills and (episode.success or self.gains == "all")]

    def transferred(self, episode: Episode, baseline: float, weight: float) -> list[Sample]:
        """A chosen reader's samples, each token with weight * A0."""
        gain = self.score(episode) - baseline
        if gain > 0 or self.gains == "all":
            return [sample.scaled(weight * gain) for sample in self.carried(episode)]
        return []
