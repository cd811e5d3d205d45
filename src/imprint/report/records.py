"""The evaluations of a run, made from its trials: what tables, charts and comparisons are made of."""

from __future__ import annotations

from typing import Any

from imprint.errors import CheckpointError
from imprint.measurement.evaluate import EVIDENCE
from imprint.measurement.trials import evaluations
from imprint.runs.run import Run
from imprint.types import Trial


def run_trials(run: Run) -> list[Trial]:
    """Every measured episode of a run, oldest first.

    Raises:
        CheckpointError: a row is damaged, or lacks a key.
    """
    trials = []
    for number, row in enumerate(run.rows("trials"), start=1):
        try:
            trials.append(Trial.from_record(row))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"a row is no trial: {error!r}",
                where=run.record_path("trials"),
                line=number,
                hint="fix the row, or remove it",
            ) from error
    return trials


def evaluation_rows(run: Run) -> list[dict[str, Any]]:
    """Rows of (step, split, condition, family), oldest first.

    What older versions wrote has no trials: its rows are read from `evaluations.jsonl`, which keeps the same figures.

    Raises:
        CheckpointError: a line is damaged.
    """
    trials = run_trials(run)
    derived = [row.to_record() for row in evaluations(trial for trial in trials if trial.split != EVIDENCE)]
    known = {(row["step"], row["split"], row["arm"]) for row in derived}
    stored = [row for row in run.rows("evaluations") if _place(row) not in known]
    return sorted([*stored, *derived], key=lambda row: row["step"] if isinstance(row.get("step"), int) else -1)


def _place(row: dict[str, Any]) -> tuple[Any, Any, Any]:
    return row.get("step"), row.get("split"), row.get("arm")
