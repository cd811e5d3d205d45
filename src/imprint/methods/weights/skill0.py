"""SKILL0: in-context agentic RL with a Dynamic Curriculum (arXiv 2604.02268, Algorithm 1).

The skills stand in the prompt while the policy practises. Every few steps it is tested with and without each of them;
those that no longer help are withdrawn, at most M(s) = ceil(N (S - s) / (S - 1)) stay in stage s, and in the last stage
none do. What the policy can do then, it can do without the skill text.

Read `Skill0.run`: it is the algorithm, in the paper's order. The curriculum is `curriculum.py`, pure functions.

Where this departs from the paper, and why:
- Helpfulness is per skill (`leave_one_out` by default); the paper's Algorithm 1 compares all skills with none and
  credits each. `curriculum.helpfulness: all_vs_none` gives the paper's.
- Both conditions of a validation play the same tasks with the same seeds, on a split of their own; in the reference
  code they play different games, from the test set.
- Skills and history are text in one growing context by default; `context.skills` and `context.history` draw them, in a
  new prompt at every step, as the paper does (docs/manual/images.md).
- Advantages weigh episodes, not turns, equally (`advantage.unit: turn` gives the reference's).
- A bonus for compressing (`reward.compression_bonus`) is held small by a floor on the group's deviation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imprint.learning import losses
from imprint.learning.sample import Sample, group_samples
from imprint.measurement.conditions import WITH, WITHOUT, only
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Group, Loop
from imprint.methods.weights.curriculum import (
    CurriculumConfig,
    CurriculumState,
    candidates,
    check_stages,
    decide,
    enforce,
    evidence_due,
    initial_state,
    rows_since,
)

if TYPE_CHECKING:
    from imprint.agent import Agent
    from imprint.context.shown import Shown
    from imprint.skills.library import SkillLibrary
    from imprint.types import Task

__all__ = ["SPEC", "Skill0"]


class Skill0:
    """GRPO under a curriculum that withdraws the skills."""

    skills: CurriculumState

    def __init__(self, curriculum: CurriculumConfig) -> None:
        self.curriculum = curriculum

    # --- the algorithm -----------------------------------------------------------------------------------------------

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        self.begin(agent.library, bench)
        loop = Loop(bench, self)
        loss = losses.GrpoLoss.of(bench.recipe.learner)
        with loop:
            if loop.updates == 0:
                self.review(loop)
            for _ in loop.each():
                groups = loop.play(lambda task, index: self.show(task, index, agent.library))
                loop.learn(groups, self.samples(loop, groups), loss, active=len(self.skills.active))
                self.review(loop)
            loop.test(WITH, WITHOUT)
        return agent.trained(loop.checkpoint, WITHOUT)

    def begin(self, library: SkillLibrary, bench: Workbench) -> None:
        """All the skills that stage 1 allows."""
        steps = bench.recipe.steps or self.curriculum.stage_count  # without steps there is only a test
        self.skills = initial_state(library.names, total_steps=steps, config=self.curriculum, seed=bench.seed)

    def show(self, task: Task, index: int, library: SkillLibrary) -> Shown:
        """What episode `index` of a group shows: the active skills that serve the task."""
        return only("active", self.skills.active).show(task, library)

    def samples(self, loop: Loop, groups: list[Group]) -> list[Sample]:
        """Each episode, with its group-relative advantages."""
        return group_samples(groups, loop.scores(groups), loop.advantage)

    def review(self, loop: Loop) -> None:
        """Validate when it is due; then filter, rank and select the skills on fresh evidence, and hold the budget."""
        loop.validate(WITH, WITHOUT)
        if loop.done:
            return
        config, total, seed, old = self.curriculum, loop.steps, loop.bench.seed, self.skills
        due = loop.last_multiple(config.interval)
        if loop.due(config.interval) and evidence_due(due, skills=old.skills, total_steps=total, config=config):
            evidence = loop.helpfulness(candidates(old, config), old.active, config.helpfulness)
            self.skills = decide(old, evidence, step=due, total_steps=total, config=config, seed=seed)
        self.skills = enforce(self.skills, step=loop.now, total_steps=total, config=config, seed=seed)
        loop.record(rows_since(old, self.skills))

    # --- what an exact resume needs ----------------------------------------------------------------------------------

    def state(self) -> dict[str, dict[str, Any]]:
        return {"json": {"curriculum": self.skills.to_record()}}

    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        self.skills = CurriculumState.from_record(state["json"]["curriculum"])


SPEC = MethodSpec(Skill0, {"curriculum": CurriculumConfig}, paced=("the skill budget",), check=check_stages)
