"""The findings about a run's skills before it began: `trust.json` in its folder, and its reading for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.errors import CheckpointError
from imprint.security.vetting import FINE, Clearance
from imprint.support.files import atomic_write, read_text

FILE_NAME = "trust.json"


@dataclass(frozen=True, slots=True)
class TrustRow:
    """One skill as the report shows it: all of it untrusted text.

    Attributes:
        findings: (rule, place, why and evidence) of each that would have refused it.
        changed: its files are others now than when the run began.
    """

    skill: str
    tier: str
    severity: str
    decision: str
    findings: tuple[tuple[str, str, str], ...]
    changed: bool

    @property
    def overridden(self) -> bool:
        """Whether it was allowed in spite of its findings."""
        return self.decision != FINE


def record_trust(run: Path, refuse: str, clearances: Sequence[Clearance]) -> list[str]:
    """Write what was decided now, keeping what the skills were when the run began.

    Returns:
        The skills whose files have changed since then.

    Raises:
        CheckpointError: the record is damaged, or cannot be written.
    """
    first = {row["skill"]: row.get("began", row["fingerprint"]) for row in _rows(run)}
    rows = []
    for clearance in clearances:
        row = clearance.to_record()
        began = first.get(clearance.skill, clearance.fingerprint)
        rows.append(row if began == clearance.fingerprint else {**row, "began": began})
    content = json.dumps({"refuse": refuse, "skills": rows}, indent=1) + "\n"
    path = run / FILE_NAME
    if not path.exists() or read_text(path) != content:
        atomic_write(path, content)
    return [row["skill"] for row in rows if "began" in row]


def overridden(run: Path) -> dict[str, tuple[str, str]]:
    """The skills that are allowed in spite of their findings: the fingerprint that was allowed, and by whom.

    Raises:
        CheckpointError: the record is damaged.
    """
    return {row["skill"]: (row["fingerprint"], row["decision"]) for row in _rows(run) if row["decision"] != FINE}


def trust_rows(run: Path) -> list[TrustRow]:
    """What the report shows; nothing for a run without a record.

    Raises:
        CheckpointError: the record is damaged.
    """
    return [
        TrustRow(
            row["skill"],
            str(row.get("tier", "")),
            str(row.get("severity", "")),
            row["decision"],
            tuple(_finding(finding) for finding in row.get("findings") or [] if isinstance(finding, dict)),
            "began" in row,
        )
        for row in _rows(run)
    ]


def _rows(run: Path) -> list[dict[str, Any]]:
    path = run / FILE_NAME
    if not path.exists():
        return []
    try:
        rows: list[dict[str, Any]] = json.loads(read_text(path))["skills"]
        if not all(isinstance(row[key], str) for row in rows for key in ("skill", "fingerprint", "decision")):
            raise TypeError("a row's text is no text")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        hint = "remove it; the skills are then judged anew"
        raise CheckpointError(f"is damaged: {error}", where=path, hint=hint) from error
    return rows


def _finding(finding: Mapping[str, Any]) -> tuple[str, str, str]:
    line = finding.get("line")
    place = f"{finding.get('file', '')}" + (f":{line}" if line else "")
    return str(finding.get("rule", "")), place, f"{finding.get('why', '')}: {finding.get('evidence', '')}".strip(": ")
