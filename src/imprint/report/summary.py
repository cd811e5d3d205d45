"""A run's records as numbers: the one reading of the JSONL files that charts and report share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imprint.errors import CheckpointError
from imprint.measurement.conditions import NAME, WITH, WITHOUT, ordered
from imprint.measurement.training_metrics import taught_nothing
from imprint.methods.weights.curriculum import CurriculumConfig, budget_at, stage_at
from imprint.report.records import evaluation_rows
from imprint.runs.run import Run
from imprint.support.stats import wilson

__all__ = ["DecisionRow", "EvaluationRow", "Headline", "Rate", "Summary", "families_of"]

SPLITS = ("test", "validation", "real")  # in the order in which a headline prefers them


@dataclass(frozen=True, slots=True)
class Rate:
    """A success rate, what it was counted on, and the ends of its 95% Wilson interval."""

    successes: int
    episodes: int

    @property
    def value(self) -> float:
        return self.successes / self.episodes

    @property
    def low(self) -> float:
        return wilson(self.successes, self.episodes).low

    @property
    def high(self) -> float:
        return wilson(self.successes, self.episodes).high


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One row of evaluations.jsonl; `arm` is the condition, `context_tokens` the mean per turn (None: not recorded)."""

    step: int
    split: str
    arm: str
    family: str
    rate: Rate
    context_tokens: float | None = None
    turns: float | None = None
    env_steps: int | None = None


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One row of curriculum.jsonl: what became of one skill at one step, and why."""

    step: int
    stage: int | None
    budget: int | None
    skill: str
    action: str
    active: bool
    helpfulness: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Headline:
    """Start and end of one condition; `start` is of another split than `end` where that one has no earlier step."""

    arm: str
    start: EvaluationRow | None
    end: EvaluationRow


@dataclass(frozen=True, slots=True)
class Summary:
    """All records of a run but the episodes; one evaluation per (step, split, arm, family), the last."""

    name: str
    recipe: Mapping[str, Any]
    recipe_text: str
    metrics: tuple[Mapping[str, Any], ...] = ()
    evaluations: tuple[EvaluationRow, ...] = ()
    decisions: tuple[DecisionRow, ...] = ()
    seconds: float | None = None
    episode_steps: tuple[int, ...] = field(default=())
    state: str = ""  # of the run: running, finished, interrupted, failed; empty if unknown

    @classmethod
    def of(cls, run: Run) -> Summary:
        """Read the records of `run`.

        Raises:
            CheckpointError: a line is damaged, or a row lacks what it must have (the file and key are named).
        """
        timings = [_number(row, "seconds") for row in run.rows("timings")]
        evaluations = {
            (e.step, e.split, e.arm, e.family): e
            for row in evaluation_rows(run)
            if (e := _evaluation(row, run.record_path("evaluations"))) is not None
        }
        decisions = {
            (d.step, d.skill): d
            for d in (_decision(row, run.record_path("curriculum")) for row in run.rows("curriculum"))
        }
        return cls(
            name=str(run.recipe.get("name") or run.path.resolve().name),
            recipe=run.recipe,
            recipe_text=run.recipe_text,
            metrics=tuple(row for row in run.rows("metrics") if isinstance(row.get("step"), int)),
            evaluations=tuple(sorted(evaluations.values(), key=lambda e: e.step)),
            decisions=tuple(sorted(decisions.values(), key=lambda d: d.step)),
            seconds=sum(t for t in timings if t is not None) if timings else None,
            episode_steps=tuple(run.episode_steps()),
            state=str(run.status().get("state", "")),
        )

    @property
    def conditions(self) -> list[str]:
        """The conditions that were evaluated: `with`, `without`, then others as they come."""
        return ordered(e.arm for e in self.evaluations)

    def condition(self, role: str) -> str:
        """The condition that plays a role: a run without `with` has its first other one in that place."""
        others = [name for name in self.conditions if name != WITHOUT.name]
        return others[0] if role == WITH.name and others and WITH.name not in others else role

    def label(self, role: str) -> str:
        """What charts and cards call the condition in a role."""
        name = self.condition(role)
        return f"{name} skills" if name in (WITH.name, WITHOUT.name) else name

    def curve(self, split: str, role: str, family: str = "all") -> list[EvaluationRow]:
        """The evaluations of one condition over the steps, oldest first."""
        name = self.condition(role)
        return [e for e in self.evaluations if (e.split, e.arm, e.family) == (split, name, family)]

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of a training metric, without the steps where it is absent or null."""
        pairs = [(row["step"], value) for row in self.metrics if (value := _number(row, name)) is not None]
        return [step for step, _ in pairs], [value for _, value in pairs]

    @property
    def curve_split(self) -> str | None:
        """The split that was evaluated at most steps (validation where two are equal)."""
        counts = {s: len({e.step for e in self.evaluations if e.split == s}) for s in ("validation", *SPLITS)}
        best = max(counts, key=lambda split: counts[split])
        return best if counts[best] else None

    def headline(self, arm: str) -> Headline | None:
        """The last evaluation of `arm`, on the test split if that was last, and the first to compare with."""
        curves = [curve for split in SPLITS if (curve := self.curve(split, arm))]
        if not curves:
            return None
        chosen = max(curves, key=lambda curve: curve[-1].step)
        firsts = [c[0] for c in (chosen, *curves) if c[0].step < chosen[-1].step]
        return Headline(arm, firsts[0] if firsts else None, chosen[-1])

    def rise(self, arm: str) -> tuple[EvaluationRow, EvaluationRow] | None:
        """The first and the last evaluation of `arm` on one split, the headline's if it was measured twice."""
        curves = [curve for split in SPLITS if len(curve := self.curve(split, arm)) > 1]
        best = max(curves, key=lambda curve: curve[-1].step, default=None)
        return None if best is None else (best[0], best[-1])

    @property
    def steps(self) -> int | None:
        """How many steps the recipe plans."""
        steps = self.recipe.get("steps")
        return steps if isinstance(steps, int) else None

    @property
    def share_done(self) -> float:
        """How much of the training is done, from 0 to 1."""
        if self.state in ("", "finished"):
            return 1.0
        budget = self.recipe.get("env_steps")
        done, planned = (self.env_steps or 0, budget) if isinstance(budget, int) else (self.last_step, self.steps or 1)
        return min(done / planned, 0.99)

    @property
    def last_step(self) -> int:
        """The last step any record speaks of."""
        steps = [row["step"] for row in self.metrics] + [e.step for e in self.evaluations]
        return max([*steps, *(d.step for d in self.decisions)], default=0)

    @property
    def env_steps(self) -> int | None:
        """Environment steps of training so far."""
        counts = self.series("env_steps")[1] or [e.env_steps for e in self.evaluations if e.env_steps is not None]
        return int(max(counts)) if counts else None

    @property
    def idle(self) -> tuple[int, int]:
        """How many training steps taught nothing (`taught_nothing`), and how many there were."""
        rows = [row for row in self.metrics if "train/success" in row]
        return sum(taught_nothing(row) for row in rows), len(rows)

    @property
    def skills(self) -> list[str]:
        """Every skill a decision was made about: those that left the context first come first."""
        last_active: dict[str, int] = {}
        for d in self.decisions:
            last_active[d.skill] = max(last_active.get(d.skill, -1), d.step if d.active else -1)
        return sorted(last_active, key=lambda skill: (last_active[skill], skill))

    @property
    def stages(self) -> list[tuple[int, int, int | None]]:
        """(first step, stage, budget) of every stage that was reached, in order; none without decisions.

        From the recipe and the steps that were done: a stage may begin without any decision.
        """
        total = self.steps or 0
        try:
            config = CurriculumConfig.model_validate(self.recipe.get("curriculum") or {})
        except ValidationError:  # a recipe of another version
            return []
        if not self.decisions or total < config.stage_count:
            return []
        first: dict[int, tuple[int, int, int | None]] = {}
        for step, tick in self._ticks():
            stage = stage_at(tick, total, config.stage_count)
            allowed = budget_at(tick, skills=len(self.skills), total_steps=total, config=config)
            first.setdefault(stage, (step, stage, allowed))
        return sorted(first.values())

    def _ticks(self) -> list[tuple[int, int]]:
        """(step, how far training was then from 0 to the recipe's `steps`), as `methods.loop.Clock` counts."""
        total, budget = self.steps or 0, self.recipe.get("env_steps")
        done = list(zip(*self.series("env_steps"), strict=True))
        if isinstance(budget, int) and budget > 0:
            return [(0, 0), *((step, min(total, total * int(used) // budget)) for step, used in done)]
        return [(step, step) for step in range(min(total, self.last_step) + 1)]


def pretty(family: str) -> str:
    """A family's name as words."""
    return family.replace("_", " ")


def families_of(evaluations: Iterable[EvaluationRow]) -> list[str]:
    """The task families in `evaluations`, without "all", by name."""
    return sorted({e.family for e in evaluations} - {"all"})


def _evaluation(row: Mapping[str, Any], where: Path) -> EvaluationRow | None:
    """None for a row of a family that had no episodes: it has no rate."""
    episodes, successes = _whole(row, "episodes", where), _whole(row, "successes", where)
    arm = _text(row, "arm", where)
    if not NAME.fullmatch(arm):
        raise CheckpointError(f"arm is {arm!r}", where=where, key="arm", hint="it is a condition's name: a-z, 0-9, _+-")
    if not 0 <= successes <= episodes:
        raise CheckpointError(
            f"{successes} successes of {episodes} episodes", where=where, key="successes", hint="fix the row"
        )
    if episodes == 0:
        return None
    env_steps = _number(row, "env_steps")
    return EvaluationRow(
        step=_whole(row, "step", where),
        split=_text(row, "split", where),
        arm=arm,
        family=str(row.get("family", "all")),
        rate=Rate(successes, episodes),
        context_tokens=_number(row, "context_tokens"),
        turns=_number(row, "turns"),
        env_steps=None if env_steps is None else int(env_steps),
    )


def _decision(row: Mapping[str, Any], where: Path) -> DecisionRow:
    stage, budget = _number(row, "stage"), _number(row, "budget")
    action = str(row.get("action", ""))
    return DecisionRow(
        step=_whole(row, "step", where),
        stage=None if stage is None else int(stage),
        budget=None if budget is None else int(budget),
        skill=_text(row, "skill", where),
        action=action,
        active=bool(row.get("active", action in ("keep", "admit", "readmit", "pinned"))),
        helpfulness=_number(row, "helpfulness"),
        low=_number(row, "low"),
        high=_number(row, "high"),
        reason=str(row.get("reason", "")),
    )


def _number(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _whole(row: Mapping[str, Any], key: str, where: Path) -> int:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise CheckpointError(
            f"a row has no whole number {key!r}: {str(dict(row))[:80]}",
            where=where,
            key=key,
            hint="fix the row",
        )
    return value


def _text(row: Mapping[str, Any], key: str, where: Path) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise CheckpointError(
            f"a row has no text {key!r}: {str(dict(row))[:80]}", where=where, key=key, hint="fix the row"
        )
    return value
