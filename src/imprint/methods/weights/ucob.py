"""UCOB: in each state the better of two branches, with skills or without, teaches the other (arXiv 2606.29502).

    1. each group plays its task with the skills and without (`mixed.py`), and learns by GRPO with step advantages
    2. of the turns of a group that acted in one state, the valid one with the highest return G is the source
    3. turns of the other branch in that state whose return is lower by g = G - G' > `gap` learn from it:
       loss += coef * mean_t  v s KL( p(. | source's context, a_<t) || pi(. | own context, a_<t) )
       over the tokens a of the source's action, with  v = clip(g / 0.2, 0, 2),  s = sigmoid(5 g)

p is the policy as it is (a constant), G the discounted return of `advantage.discount`, and a context is all that stood
before the turn: prompt, skills or none, and the episode so far. Constants are those of the authors' code, which is
also where the rules were read.

Departures: the advantages compare episodes of one branch; the KL keeps the tokens outside the teacher's top 32 as one
token, where theirs renormalises (`learning/losses/distillation.py` says why); UCOB writes its skills itself and is
evaluated with them, here they are given, and both are measured.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from imprint.learning import losses
from imprint.learning.config import DivergenceTopK
from imprint.learning.sample import Sample, anchors_of
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Group, Loop
from imprint.methods.weights.mixed import MixedGrpo, Mixture
from imprint.models.sampling import Prompt

if TYPE_CHECKING:
    from imprint.learning.losses import Loss
    from imprint.skills.library import SkillLibrary
    from imprint.types import Episode

__all__ = ["SPEC", "Branches", "Ucob"]

FULL, MOST, SLOPE = 0.2, 2.0, 5.0  # the gap with weight 1, the largest weight, and the slope of the gate
Turn = tuple["Episode", int, float]  # an episode, the number of one of its turns, and what that led to


class Branches(Mixture):
    """The `ucob` section of a recipe."""

    coef: float = Field(default=0.1, ge=0, description="Weight of what a branch learns from the other.")
    gap: float = Field(default=0.05, ge=0, description="A branch teaches where its return is higher by more than this.")
    pairs: int = Field(default=2, ge=1, description="Turns that learn from one state's best turn, at most.")
    top_k: DivergenceTopK = 32


class Ucob(MixedGrpo):
    """Mixed groups, whose branches teach each other."""

    def __init__(self, ucob: Branches) -> None:
        super().__init__(ucob)
        self.settings = ucob

    def begin(self, library: SkillLibrary, bench: Workbench) -> None:
        bench.learner.keep_teacher("live")
        self.objective = losses.BesideLoss(
            losses.GrpoLoss.of(bench.recipe.learner), self.settings.coef, top_k=self.settings.top_k
        )

    def loss(self, bench: Workbench) -> Loss:
        return self.objective

    def samples(self, loop: Loop, groups: list[Group]) -> list[Sample]:
        self.own = super().samples(loop, groups)
        return self.own

    def carried_over(self, loop: Loop, groups: list[Group]) -> list[Sample]:
        """The source's action in the context of each turn that it teaches, in both directions."""
        pairs = [pair for group in groups for pair in self.pairs(loop, group)]
        self.taught = {True: 0, False: 0}
        for _, (learner, _, _), _ in pairs:
            self.taught[bool(learner.skills)] += 1
        taught = [taught_action(source, learner, weight_of(gap)) for source, learner, gap in pairs]
        return self.objective.on_scale(self.own, taught)

    def pairs(self, loop: Loop, group: Group) -> Iterator[tuple[Turn, Turn, float]]:
        """(source, learner, gap) for each turn that learns from the other branch."""
        returns = loop.advantage.returns
        assert returns is not None
        states: defaultdict[str, list[Turn]] = defaultdict(list)
        for episode in group:
            for place, (anchor, value) in enumerate(zip(anchors_of(episode), returns(episode), strict=True)):
                states[anchor].append((episode, place, value))
        for turns in states.values():
            valid = [turn for turn in turns if turn[0].turns[turn[1]].valid]
            if valid:
                source = max(valid, key=lambda turn: turn[2])
                others = [turn for turn in turns if bool(turn[0].skills) is not bool(source[0].skills)]
                behind = sorted(others, key=lambda turn: turn[2])[: self.settings.pairs]
                yield from (
                    (source, turn, source[2] - turn[2]) for turn in behind if source[2] - turn[2] > self.settings.gap
                )

    def numbers(self) -> dict[str, float]:
        return {"branches/taught_with": float(self.taught[True]), "branches/taught_without": float(self.taught[False])}


def weight_of(gap: float) -> float:
    """v s of a gap in returns."""
    return min(max(gap / FULL, 0.0), MOST) / (1.0 + math.exp(-SLOPE * gap))


def taught_action(source: Turn, learner: Turn, weight: float) -> Sample:
    """The source's action as the learner would have to say it, with what the source had read for the teacher."""
    action = action_ids(source)
    read = before(learner)
    return Sample.imitation(read.ids, action, [weight] * len(action), read.pictures).taught(before(source))


def action_ids(turn: Turn) -> tuple[int, ...]:
    episode, place, _ = turn
    if episode.views:
        return episode.views[place].token_ids
    return episode.token_ids[episode.turns[place].start : episode.turns[place].stop]


def before(turn: Turn) -> Prompt:
    """All that stood before a turn."""
    episode, place, _ = turn
    if episode.views:
        return Prompt(episode.views[place].prompt_ids, pictures=episode.views[place].pictures)
    ids = (*episode.prompt_ids, *episode.token_ids[: episode.turns[place].start])
    return Prompt(ids, pictures=episode.pictures)


SPEC = MethodSpec(Ucob, sections={"ucob": Branches}, paced=())
