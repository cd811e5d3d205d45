"""A run's rows as typed records: what tables, charts and comparisons are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from imprint.errors import CheckpointError
from imprint.measurement.conditions import NAME
from imprint.measurement.evaluate import EVIDENCE
from imprint.measurement.trials import Evaluation, evaluations
from imprint.runs.run import Record, Run
from imprint.types import Trial

__all__ = ["DecisionRow", "run_costs", "run_decisions", "run_evaluations", "run_trials"]

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One row of curriculum.jsonl: what became of one skill at one step, and why.

    A method may leave out what it has no figure for; `active` is whether the skill is shown after the decision.
    """

    step: int
    skill: str
    action: str = ""
    active: bool = False
    stage: int | None = None
    budget: int | None = None
    helpfulness: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def run_trials(run: Run) -> list[Trial]:
    """Every measured episode of a run, oldest first.

    Raises:
        CheckpointError: a row is damaged, or lacks a key (the line is named).
    """
    return _rows(run, "trials", "trial", Trial.from_record)


def run_evaluations(run: Run, *, from_trials: bool = True) -> list[Evaluation]:
    """The evaluation of each (step, split, condition, family) that had episodes, oldest first; of equals, the last.

    They are made of the trials. Runs of older versions have none: their rows are read from `evaluations.jsonl`.

    Args:
        from_trials: read the trials; without, `evaluations.jsonl` is taken as it is (a thousandth of the size).

    Raises:
        CheckpointError: a row is damaged, or contradicts itself (the line is named).
    """
    trials = run_trials(run) if from_trials else []
    derived = evaluations(trial for trial in trials if trial.split != EVIDENCE)
    known = {(row.step, row.split, row.arm) for row in derived}
    stored = _rows(run, "evaluations", "evaluation", _evaluation)
    rows = [*(row for row in stored if (row.step, row.split, row.arm) not in known), *derived]
    last = {(row.step, row.split, row.arm, row.family): row for row in rows if row.episodes}
    return sorted(last.values(), key=lambda row: row.step)


def run_costs(run: Run) -> dict[str, float]:
    """What the training of a run took: `optimizer_steps`, `tokens_learned` and `seconds`, as far as it is recorded.

    Validations are not among the seconds, except where older runs did not time them.
    """
    metrics, timings = run.rows("metrics"), run.rows("timings")
    costs = {
        name: sum(row.get(metric) or 0 for row in metrics)
        for name, metric in (("optimizer_steps", "learner/optimizer_steps"), ("tokens_learned", "learner/tokens"))
        if any(metric in row for row in metrics)
    }
    if timings:
        costs["seconds"] = round(sum(row.get("seconds", 0.0) - row.get("validation", 0.0) for row in timings), 1)
    return costs


def run_decisions(run: Run) -> list[DecisionRow]:
    """Every decision about a skill, oldest first; one a step and skill, the last.

    Raises:
        CheckpointError: a row is damaged (the line is named).
    """
    last = {(row.step, row.skill): row for row in _rows(run, "curriculum", "decision", _decision)}
    return sorted(last.values(), key=lambda row: row.step)


def _rows(run: Run, record: Record, noun: str, read: Callable[[dict[str, Any]], Row]) -> list[Row]:
    found = []
    for number, row in enumerate(run.rows(record), start=1):
        try:
            found.append(read(row))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"a row is no {noun}: {error!r}",
                where=run.record_path(record),
                line=number,
                hint="fix the row, or remove it",
            ) from error
    return found


def _evaluation(row: Mapping[str, Any]) -> Evaluation:
    found = _typed(Evaluation, {"family": "all", **row})
    if not NAME.fullmatch(found.arm):
        raise ValueError(f"arm is {found.arm!r}, which cannot name a condition")
    if not 0 <= found.successes <= found.episodes:
        raise ValueError(f"{found.successes} successes of {found.episodes} episodes")
    return found


def _decision(row: Mapping[str, Any]) -> DecisionRow:
    shown = row.get("action") in ("keep", "admit", "readmit", "pinned")  # for rows older than the key
    return _typed(DecisionRow, {"active": shown, **row})


_TYPES: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "str": str, "bool": bool}


def _typed(kind: type[Row], row: Mapping[str, Any]) -> Row:
    """A row as the dataclass `kind`, whose fields are of the types above or None; other keys are left out."""
    values = {}
    for one in fields(kind):  # type: ignore[arg-type]
        if one.name in row:
            value, (name, _, optional) = row[one.name], str(one.type).partition(" | ")
            fits = isinstance(value, _TYPES[name]) and (name == "bool" or not isinstance(value, bool))
            if not fits and not (optional and value is None):
                raise TypeError(f"{one.name} is {value!r}, which is no {name}")
            values[one.name] = value
    return kind(**values)
