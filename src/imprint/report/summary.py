"""A run's records as numbers: the one reading of the JSONL files that charts and report share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from imprint.measurement.conditions import WITH, WITHOUT
from imprint.measurement.naming import ordered, spelled
from imprint.measurement.training_metrics import taught_nothing
from imprint.measurement.trials import Evaluation
from imprint.methods.weights.curriculum import CurriculumConfig, budget_at, stage_at
from imprint.report.records import DecisionRow, run_decisions, run_evaluations
from imprint.runs.machine import machines
from imprint.runs.run import Run

__all__ = ["Headline", "Summary", "families_of", "pretty"]

SPLITS = ("test", "validation", "real")  # in the order in which a headline prefers them


@dataclass(frozen=True, slots=True)
class Headline:
    """Start and end of one condition; `start` is of another split than `end` where that one has no earlier step."""

    arm: str
    start: Evaluation | None
    end: Evaluation


@dataclass(frozen=True, slots=True)
class Summary:
    """All records of a run but the episodes; one evaluation per (step, split, arm, family), the last."""

    name: str
    recipe: Mapping[str, Any]
    recipe_text: str
    metrics: tuple[Mapping[str, Any], ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    decisions: tuple[DecisionRow, ...] = ()
    timings: tuple[Mapping[str, Any], ...] = ()
    episode_steps: tuple[int, ...] = field(default=())
    state: str = ""  # of the run, see `Run.state`
    machines: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, run: Run) -> Summary:
        """Read the records of `run`.

        Raises:
            CheckpointError: a row is damaged, or lacks what it must have (the line is named).
        """
        return cls._of(
            run,
            run_evaluations(run),
            decisions=tuple(run_decisions(run)),
            timings=tuple(run.rows("timings")),
            episode_steps=tuple(run.episode_steps()),
            machines=tuple(machines(run.path)),
        )

    @classmethod
    def brief(cls, run: Run) -> Summary:
        """What a list of runs needs: state, metrics and evaluations, without reading the trials.

        Raises:
            CheckpointError: as `of`.
        """
        return cls._of(run, run_evaluations(run, from_trials=False))

    @classmethod
    def _of(cls, run: Run, evaluations: Iterable[Evaluation], **more: Any) -> Summary:
        return cls(
            name=str(run.recipe.get("name") or run.path.resolve().name),
            recipe=run.recipe,
            recipe_text=run.recipe_text,
            metrics=tuple(row for row in run.rows("metrics") if isinstance(row.get("step"), int)),
            evaluations=tuple(evaluations),
            state=run.state,
            **more,
        )

    @property
    def method(self) -> str:
        return str(self.recipe.get("method", ""))

    @property
    def world(self) -> str:
        """Its name, as the recipe has it."""
        env = self.recipe.get("env")
        return str(env.get("name", "") if isinstance(env, dict) else env or "")

    @property
    def seed(self) -> int | None:
        seed = self.recipe.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def seconds(self) -> float | None:
        """Of all training steps; None where they were not recorded."""
        found = [seconds for row in self.timings if (seconds := _number(row, "seconds")) is not None]
        return sum(found) if found else None

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
        return spelled(self.condition(role))

    def curve(self, split: str, role: str, family: str = "all") -> list[Evaluation]:
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

    def rise(self, arm: str) -> tuple[Evaluation, Evaluation] | None:
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
        if self.state == "finished":
            return 1.0
        budget = self.recipe.get("env_steps")
        done, planned = (self.env_steps or 0, budget) if isinstance(budget, int) else (self.last_step, self.steps or 1)
        return min(done / planned, 0.99 if self.state else 1.0)

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

        From the recipe and the steps that were done: a stage may begin without any decision. In a pipeline the
        curriculum is that of one of its methods, and its stages are not known.
        """
        total = self.steps or 0
        try:
            config = CurriculumConfig.model_validate(self.recipe.get("curriculum") or {})
        except ValidationError:  # a recipe of another version
            return []
        if not self.decisions or "pipeline" in self.recipe or total < config.stage_count:
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


def families_of(evaluations: Iterable[Evaluation]) -> list[str]:
    """The task families in `evaluations`, without "all", by name."""
    return sorted({e.family for e in evaluations} - {"all"})


def _number(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
