"""The Dynamic Curriculum: which skills stay in the context, as pure functions of the step and of evidence.

Training is cut into S stages. Stage s allows M(s) = ceil(N (S - s) / (S - 1)) of the N skills, so the first
stage allows all and the last none. Every `interval` steps the policy plays validation tasks with and without
each skill; skills that help stay, the most helpful first, as far as the budget goes (SKILL0, arXiv
2604.02268, Algorithm 1).

The loop of a method uses it so:

    state = initial_state(library.names, total_steps=T, config=config)
    for step in range(T):
        if evidence_due(step, skills=state.skills, total_steps=T, config=config):
            evidence = {skill: ... for skill in candidates(state, config)}
            state = decide(state, evidence, step=step, total_steps=T, config=config)
        else:
            state = enforce(state, step=step, total_steps=T, config=config)
        ...  # train with state.active

Steps count from 0, stages from 1. Nothing depends on dictionary order, hash seeds or earlier calls.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from imprint.errors import CheckpointError, ImprintError, LibraryError, RecipeError
from imprint.measurement.helpfulness import Kind, SkillEvidence

if TYPE_CHECKING:
    from imprint.recipe import Recipe

__all__ = [
    "Action",
    "CurriculumConfig",
    "CurriculumState",
    "SkillDecision",
    "budget",
    "budget_at",
    "candidates",
    "check_stages",
    "decide",
    "enforce",
    "evidence_due",
    "initial_state",
    "rows_since",
    "stage_at",
]

Action = Literal["keep", "withdraw", "admit", "readmit", "stay_out", "abstain", "pinned"]


class CurriculumConfig(BaseModel):
    """The `curriculum` section of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mode: Literal["dynamic", "fixed"] = Field(
        default="dynamic",
        description="fixed: no evidence; the first M(s) skills by name (or at random) are shown.",
    )
    interval: int = Field(default=10, ge=1, description="Training steps between two looks at the evidence.")
    stages: int = Field(default=3, ge=1, description="Number of stages S; the last one shows no skill.")
    schedule: tuple[int, ...] | None = Field(
        default=None, min_length=1, description="The budget of each stage, in place of the formula."
    )
    helpfulness: Kind = Field(default="leave_one_out", description="What a skill is compared with; see `arms`.")
    threshold: float = Field(default=0.0, ge=-1, le=1, description="A skill helps when its helpfulness is above this.")
    filter: bool = Field(default=True, description="Withdraw skills that do not help, even within the budget.")
    rank: Literal["helpfulness", "random"] = Field(default="helpfulness", description="random is an ablation.")
    readmit: bool = Field(default=True, description="Whether a withdrawn skill may return on new evidence.")
    pinned: tuple[str, ...] = Field(
        default=(),
        description="Skills that go first and need no evidence; they count, and a budget of 0 binds them.",
    )

    @model_validator(mode="after")
    def _check_schedule(self) -> CurriculumConfig:
        if self.schedule is None:
            return self
        if any(allowed < 0 for allowed in self.schedule):
            raise ValueError("schedule: a budget cannot be negative")
        if "stages" in self.model_fields_set and self.stages != len(self.schedule):
            raise ValueError(f"schedule has {len(self.schedule)} stages but stages is {self.stages}: give one of them")
        return self

    @property
    def stage_count(self) -> int:
        """The number of stages, whichever way it was given."""
        return self.stages if self.schedule is None else len(self.schedule)


def budget(stage: int, stages: int, skills: int) -> int:
    """How many of `skills` may be shown in `stage` (1..stages): M(s) = ceil(N (S - s) / (S - 1)).

    A single stage is a last stage, so it allows none; use a schedule for skills that are never withdrawn.
    """
    if not 1 <= stage <= stages or skills < 0:
        raise ValueError(f"no budget for stage {stage} of {stages} with {skills} skills")
    return 0 if stages == 1 else -(-skills * (stages - stage) // (stages - 1))


def check_stages(recipe: Recipe) -> None:
    """See that a recipe's steps can be cut into its stages, before anything is loaded.

    Raises:
        RecipeError: fewer steps than stages.
    """
    if recipe.steps:  # without steps there is only a test
        stage_at(0, recipe.steps, recipe.section("curriculum", CurriculumConfig).stage_count)


def stage_at(step: int, total_steps: int, stages: int) -> int:
    """The stage (1..stages) of a training step counted from 0; past the end it is the last.

    Every stage has floor(total_steps / stages) steps, and the last one the remainder too.

    Raises:
        RecipeError: fewer steps than stages.
        ValueError: a negative step.
    """
    if step < 0:
        raise ValueError(f"steps count from 0, not {step}")
    if stages < 1 or total_steps < stages:
        raise RecipeError(
            f"{total_steps} training steps cannot be cut into {stages} stages",
            key="curriculum.stages",
            hint="train for more steps or ask for fewer stages",
        )
    return min(step // (total_steps // stages) + 1, stages)


def budget_at(step: int, *, skills: int, total_steps: int, config: CurriculumConfig) -> int:
    """How many of `skills` may be shown at `step`, by the schedule or else by the formula."""
    stage = stage_at(step, total_steps, config.stage_count)
    if config.schedule is None:
        return budget(stage, config.stages, skills)
    return min(config.schedule[stage - 1], skills)


def evidence_due(step: int, *, skills: Sequence[str], total_steps: int, config: CurriculumConfig) -> bool:
    """Whether evidence is needed before training at `step`: every `interval` steps, while the budget lasts.

    Step 0 needs none: the policy has not been trained, and all the budget allows is shown.
    """
    if config.mode == "fixed" or step == 0 or step % config.interval:
        return False
    return budget_at(step, skills=len(skills), total_steps=total_steps, config=config) > 0


@dataclass(frozen=True, slots=True)
class SkillDecision:
    """What was decided about one skill at one step, on what evidence and why."""

    step: int
    stage: int
    budget: int
    skill: str
    action: Action
    helpfulness: float | None
    interval: tuple[float, float] | None
    reason: str


@dataclass(frozen=True, slots=True)
class CurriculumState:
    """All the curriculum remembers; it belongs in every checkpoint.

    Attributes:
        skills: every skill of the run, by name; N is their number.
        active: the skills shown now, best first. Prompts should show them in the library's order, not in this
            one.
        stage: the stage (from 1) the state was last brought up to.
        history: every decision so far, oldest first.
    """

    skills: tuple[str, ...]
    active: tuple[str, ...]
    stage: int = 1
    history: tuple[SkillDecision, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """A dictionary that survives JSON; the inverse is `from_record`."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> CurriculumState:
        """The inverse of `to_record`.

        Raises:
            CheckpointError: the record is incomplete or from something else.
        """
        try:
            history = tuple(
                SkillDecision(**{**d, "interval": None if d["interval"] is None else tuple(d["interval"])})
                for d in record["history"]
            )
            state = cls(tuple(record["skills"]), tuple(record["active"]), int(record["stage"]), history)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the curriculum state cannot be read ({error!r})", hint="resume from an earlier checkpoint"
            ) from error
        if not set(state.active) <= set(state.skills):
            raise CheckpointError(
                "the curriculum state shows skills it does not know",
                hint="resume with the skills of the first run",
            )
        return state


def initial_state(
    skills: Sequence[str], *, total_steps: int, config: CurriculumConfig, seed: int = 0
) -> CurriculumState:
    """The state before step 0: as many skills as stage 1 allows, pinned ones first, then by name (or at random).

    Raises:
        LibraryError: two skills share a name.
        RecipeError: a pinned skill does not exist, or there are fewer steps than stages.
    """
    if len(set(skills)) != len(skills):
        raise LibraryError("two skills share a name", hint="give every skill a name of its own")
    unknown = sorted(set(config.pinned) - set(skills))
    if unknown:
        raise RecipeError(
            f"no skill is called {unknown[0]!r}",
            key="curriculum.pinned",
            hint=f"choose from: {', '.join(sorted(skills))}",
        )
    names = tuple(sorted(skills))
    allowed = budget_at(0, skills=len(names), total_steps=total_steps, config=config)
    return CurriculumState(names, _starting_order(names, config, seed)[:allowed])


def candidates(state: CurriculumState, config: CurriculumConfig) -> tuple[str, ...]:
    """The skills that evidence could keep or bring back, by name; others need not be measured.

    A pinned skill is measured too: it stays whatever is found, and the report shows what it adds.
    """
    if config.readmit:
        return state.skills
    withdrawn = {decision.skill for decision in state.history if decision.action == "withdraw"}
    return tuple(skill for skill in state.skills if skill in state.active or skill not in withdrawn)


def enforce(
    state: CurriculumState, *, step: int, total_steps: int, config: CurriculumConfig, seed: int = 0
) -> CurriculumState:
    """Bring the state up to `step` without new evidence: skills over the budget go, the last ranked first.

    Returns `state` itself when nothing changes. In mode "fixed" a budget that grows lets skills in, in their
    fixed order.
    """
    stage = stage_at(step, total_steps, config.stage_count)
    allowed = budget_at(step, skills=len(state.skills), total_steps=total_steps, config=config)
    active = state.active[:allowed]
    if config.mode == "fixed":
        active = _starting_order(state.skills, config, seed)[:allowed]
    if stage == state.stage and active == state.active:
        return state
    why = _over_budget(stage, config.stage_count, allowed)
    changes: list[tuple[str, Action, str]] = [(name, "withdraw", why) for name in state.active if name not in active]
    changes += [(name, "admit", f"fixed order; {why}") for name in active if name not in state.active]
    history = tuple(
        SkillDecision(step, stage, allowed, name, action, None, None, reason) for name, action, reason in changes
    )
    return replace(state, active=active, stage=stage, history=state.history + history)


def decide(
    state: CurriculumState,
    evidence: Mapping[str, SkillEvidence | None],
    *,
    step: int,
    total_steps: int,
    config: CurriculumConfig,
    seed: int = 0,
) -> CurriculumState:
    """One look at the evidence: filter (helpfulness above the threshold), rank, select the first M(s).

    - Ranked by helpfulness, most first; ties go by name.
    - A skill without evidence (no entry, None, or n = 0) abstains: shown before, it keeps its place behind
      those that are known to help, as far as the budget goes; not shown, it stays out.
    - A budget of 0 empties the set whatever the evidence says.
    - With `filter: false`, skills that do not help come last but may fill the budget; with `rank: random` the
      order is drawn at random from `seed` and the step.

    Returns:
        The next state; its history has one more decision for each skill of the run.

    Raises:
        ImprintError: evidence about an unknown skill, filed under another's name, or of another kind than
        configured.
    """
    if config.mode == "fixed":
        return enforce(state, step=step, total_steps=total_steps, config=config, seed=seed)
    known = _known_evidence(state, evidence, config)
    stage = stage_at(step, total_steps, config.stage_count)
    allowed = budget_at(step, skills=len(state.skills), total_steps=total_steps, config=config)
    eligible = [skill for skill in candidates(state, config) if _is_eligible(skill, state, known, config)]
    active = tuple(_ranked(eligible, known, step, config, seed)[:allowed])
    history = []
    for skill in state.skills:
        action, reason = _explain(skill, state, active, known, stage, allowed, config)
        found = known.get(skill)
        helpfulness, interval = (found.helpfulness, found.interval) if found else (None, None)
        history.append(SkillDecision(step, stage, allowed, skill, action, helpfulness, interval, reason))
    return replace(state, active=active, stage=stage, history=state.history + tuple(history))


def _known_evidence(
    state: CurriculumState, evidence: Mapping[str, SkillEvidence | None], config: CurriculumConfig
) -> dict[str, SkillEvidence]:
    known = {}
    for name, found in evidence.items():
        if name not in state.skills or (found is not None and found.skill != name):
            about = name if found is None else found.skill
            raise ImprintError(f"evidence under {name!r} is about {about!r}", hint=f"skills: {', '.join(state.skills)}")
        if found is not None and found.kind != config.helpfulness:
            raise ImprintError(
                f"evidence for {name!r} is of kind {found.kind!r}",
                hint=f"form the arms by {config.helpfulness!r}",
            )
        if found is not None and found.n > 0:
            known[name] = found
    return known


def _is_eligible(
    skill: str, state: CurriculumState, known: Mapping[str, SkillEvidence], config: CurriculumConfig
) -> bool:
    if skill in config.pinned:
        return True
    if skill not in known:
        return skill in state.active
    return not config.filter or known[skill].helpfulness > config.threshold


def _ranked(
    skills: Sequence[str], known: Mapping[str, SkillEvidence], step: int, config: CurriculumConfig, seed: int
) -> list[str]:
    def key(skill: str) -> tuple[int, float, str]:
        if skill in config.pinned:
            return 0, 0.0, skill
        if skill not in known:
            return 2, 0.0, skill
        helpfulness = known[skill].helpfulness
        return (1 if helpfulness > config.threshold else 3), -helpfulness, skill

    if config.rank == "random":
        return _at_random(skills, config, f"{seed}/{step}")
    return sorted(skills, key=key)


def _at_random(skills: Sequence[str], config: CurriculumConfig, seed: str) -> list[str]:
    drawn = sorted(skills)
    random.Random(seed).shuffle(drawn)  # a string seed is hashed the same way in every process
    return sorted(drawn, key=lambda skill: skill not in config.pinned)


def _starting_order(skills: Sequence[str], config: CurriculumConfig, seed: int) -> tuple[str, ...]:
    if config.rank == "random":
        return tuple(_at_random(skills, config, f"{seed}/start"))
    return tuple(sorted(skills, key=lambda skill: (skill not in config.pinned, skill)))


def _explain(
    skill: str,
    state: CurriculumState,
    active: Sequence[str],
    known: Mapping[str, SkillEvidence],
    stage: int,
    allowed: int,
    config: CurriculumConfig,
) -> tuple[Action, str]:
    """What became of one skill and why, in words for the report."""
    was, stays = skill in state.active, skill in active
    found = known.get(skill)
    if skill in config.pinned and stays:
        return "pinned", "pinned by the recipe"
    if stays and found is None:
        return "abstain", "no evidence: it keeps its place while the budget allows"
    out: Action = "withdraw" if was else "stay_out"
    if allowed == 0:
        return out, _over_budget(stage, config.stage_count, allowed)
    if found is None:
        return out, "no evidence" + (f", and {_over_budget(stage, config.stage_count, allowed)}" if was else "")
    sign = ">" if found.helpfulness > config.threshold else "<="
    measured = f"helpfulness {found.helpfulness:+.3f} {sign} {config.threshold:g} over {found.n} pairs"
    if stays:
        ever = any(decision.skill == skill and decision.action == "withdraw" for decision in state.history)
        action: Action = "keep" if was else "readmit" if ever else "admit"
        return action, f"{measured}; place {list(active).index(skill) + 1} of {allowed}"
    if skill not in candidates(state, config):
        return out, f"{measured}; withdrawn skills do not return (readmit is off)"
    if config.filter and sign == "<=":
        return out, measured
    return out, f"{measured}; {_over_budget(stage, config.stage_count, allowed)}"


def _over_budget(stage: int, stages: int, allowed: int) -> str:
    return f"stage {stage} of {stages} allows {allowed or 'no'} skill{'' if allowed == 1 else 's'}"


def rows_since(before: CurriculumState, after: CurriculumState) -> list[dict[str, Any]]:
    """The decisions of `after` that `before` had not taken, as rows of `curriculum.jsonl` without their step."""
    return [
        {
            "stage": decision.stage,
            "budget": decision.budget,
            "skill": decision.skill,
            "action": decision.action,
            "helpfulness": decision.helpfulness,
            "low": None if decision.interval is None else decision.interval[0],
            "high": None if decision.interval is None else decision.interval[1],
            "reason": decision.reason,
            "active": decision.skill in after.active,
        }
        for decision in after.history[len(before.history) :]
    ]
