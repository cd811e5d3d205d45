"""The results of a scan: findings, and one report for each skill."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from imprint.skills.front import printable

LONGEST_EVIDENCE = 200


class Severity(IntEnum):
    """How much a finding weighs; comparable."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Severity:
        """The severity with this name.

        Raises:
            KeyError: there is none.
        """
        return cls[word.upper()]

    def lowered(self, steps: int) -> Severity:
        """That much less, but never none: what was found stays in the report."""
        return Severity(max(min(self, Severity.LOW), self - steps))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in a skill that a reader should see.

    Attributes:
        rule: the published pattern's id and the rule's own name, e.g. `SC2-fetch-and-run`.
        file: relative to the skill's folder; the parts of an archive follow a `!`.
        line: 1-based; 0 where a line means nothing (a binary file).
        evidence: the text at fault, already safe to print.
        why: what it does, one sentence.
    """

    rule: str
    severity: Severity
    file: str
    line: int
    evidence: str
    why: str

    @property
    def pattern(self) -> str:
        """The published pattern: P1..P4, E1..E4, PE1..PE3, SC1..SC3."""
        return self.rule.partition("-")[0]

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "severity": self.severity.word,
            "file": self.file,
            "line": self.line,
            "evidence": self.evidence,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class SkillReport:
    """All findings of one skill, the most severe first, and what could not be parsed and was left out."""

    path: Path
    name: str
    findings: tuple[Finding, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        """That of the most severe finding."""
        return max((finding.severity for finding in self.findings), default=Severity.NONE)

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "name": self.name,
            "severity": self.severity.word,
            "findings": [finding.to_json() for finding in self.findings],
            "errors": list(self.errors),
        }


def evidence(text: str) -> str:
    """Untrusted text as evidence: one short line, nothing that a terminal obeys."""
    return printable(" ".join(text[: 4 * LONGEST_EVIDENCE].split()), LONGEST_EVIDENCE)


def ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    """Most severe first, then by place; one finding per rule and line."""
    unique: dict[tuple[str, str, int], Finding] = {}
    for finding in findings:
        key = (finding.rule, finding.file, finding.line)
        if key not in unique or unique[key].severity < finding.severity:
            unique[key] = finding
    return tuple(sorted(unique.values(), key=lambda f: (-f.severity, f.file, f.line, f.rule)))
