"""SIRI: beneficial skill-guided actions, learned under the plain prompt (arXiv 2606.02355), with given skills.

    1. warm up: GiGPO on episodes without skills;
    2. paired validation: each group plays its task with and without the skills; u_k is the gain in success of the
       groups that showed skill k, a running mean, and a skill with u_k > `threshold` is beneficial;
    3. GiGPO goes on without skills, and  - sum_t w U(y1)+ A_t+ log pi(a_t | x0, y1_<t)  is added over the episodes
       that read beneficial skills alone,    U(y1) = R(y1) - mean_j R(y0_j),   A_t of turn t in the whole group

U is the trajectory's utility and A_t the advantage of its action, by `advantage` (`unit: step` compares it with what
the other episodes did in the same state, with skills or without); x+ = max(0, x).

Departures: SIRI mines its skills from its own successes, here the library is given; so its second phase is what
remains of it, the validation, and takes place in the training groups. The abstract names the two weights but not their
formulas: these are ours. Invalid actions are not learned. Episodes with skills have no RL term of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from imprint.learning.sample import OffPolicy, Sample, group_samples, turn_advantages_of
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Group, Loop
from imprint.methods.weights.mixed import MixedGrpo, Mixture, apart
from imprint.methods.weights.transfer import Carrier

if TYPE_CHECKING:
    from imprint.skills.library import SkillLibrary
    from imprint.types import Episode

__all__ = ["SPEC", "Internalization", "Siri"]

MEMORY = 0.8  # of the running mean of a skill's gains, per group


class Internalization(Mixture):
    """The `internalization` section of a recipe."""

    weight: float = Field(default=1.0, ge=0, description="Weight of the skill-guided actions.")
    warm_up: float = Field(default=0.1, ge=0, lt=1, description="Share of the training before skills are read.")
    threshold: float = Field(
        default=0.0, ge=-1, le=1, description="A skill is learned from while its gain in success is above this."
    )


class Siri(MixedGrpo):
    """Mixed groups: the plain half learns by RL, and from the actions of the other half that helped."""

    def __init__(self, internalization: Internalization) -> None:
        super().__init__(internalization)
        self.settings = internalization
        self.utilities: dict[str, float] = {}

    def begin(self, library: SkillLibrary, bench: Workbench) -> None:
        self.carrier = Carrier(bench, "positive", OffPolicy())

    def readers(self, loop: Loop) -> int:
        return 0 if loop.share < self.settings.warm_up else super().readers(loop)

    def samples(self, loop: Loop, groups: list[Group]) -> list[Sample]:
        """The episodes without skills, with their advantages among themselves."""
        plain = [[episode for episode in group if not episode.skills] for group in groups]
        return group_samples(plain, loop.scores(plain), loop.advantage)

    def carried_over(self, loop: Loop, groups: list[Group]) -> list[Sample]:
        """The actions of readers that gained from beneficial skills, under the plain prompt."""
        for group in groups:
            self.note(group)
        advantages = iter(turn_advantages_of(groups, loop.scores(groups), loop.advantage))
        samples = []
        for group in groups:
            baseline = self.carrier.baseline(group)
            for episode, advantages_T in [(episode, next(advantages)) for episode in group]:
                utility = 0.0 if baseline is None else self.carrier.score(episode) - baseline
                if utility > 0 and self.beneficial(episode):
                    pairs = zip(episode.turns, advantages_T, strict=True)
                    weights = [turn.valid * utility * max(0.0, advantage) for turn, advantage in pairs]
                    samples += self.carrier.carried(episode, [self.settings.weight * weight for weight in weights])
        return samples

    def note(self, group: Group) -> None:
        """Move the utilities of the skills that a group showed towards its gain in success."""
        halves = apart([group])
        if len(halves) == 2:
            having, lacking = (sum(e.success for e in half) / len(half) for half in halves)
            for name in halves[0][0].skills:
                before = self.utilities.get(name, having - lacking)
                self.utilities[name] = MEMORY * before + (1 - MEMORY) * (having - lacking)

    def beneficial(self, episode: Episode) -> bool:
        """Whether an episode read skills, and each of them helps."""
        found = [self.utilities.get(name, 0.0) > self.settings.threshold for name in episode.skills]
        return bool(found) and all(found)

    def numbers(self) -> dict[str, float]:
        return {f"utility/{name}": utility for name, utility in sorted(self.utilities.items())}

    def state(self) -> dict[str, dict[str, Any]]:
        return {"json": {"utilities": dict(self.utilities)}}

    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        self.utilities = {name: float(value) for name, value in state["json"]["utilities"].items()}


SPEC = MethodSpec(Siri, sections={"internalization": Internalization}, paced=("the warm-up",))
