"""What is found about skill folders, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imprint.errors import ImprintError
from imprint.skills.front import shown
from imprint.skills.validate.rules import RULES
from imprint.support.sarif import Level


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or may be.

    Attributes:
        rule: an id of `RULES`.
        level: `error` for what makes a skill invalid, else `warning`.
        problem: what is wrong, one sentence.
        file: the file or folder at fault.
        line: counted from 1; None for a finding about the whole.
        key: the key of the front matter.
        hint: what to do about it.
    """

    rule: str
    level: Level
    problem: str
    file: Path
    line: int | None = None
    key: str | None = None
    hint: str | None = None

    def describe(self) -> str:
        """As errors are told: `level[rule] file:line: key: problem`, and below it the hint."""
        where = shown(str(self.file), 4_096)  # on one line, whatever the name of the file holds
        told = ImprintError(self.problem, where=where, key=self.key, line=self.line, hint=self.hint)
        return f"{self.level}[{self.rule}] {told.describe()}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about one skill folder; `name` is the skill's own, as far as it could be read.

    Errors come first, then what is in the page, by line.
    """

    folder: Path
    name: str | None
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == "warning")

    @property
    def valid(self) -> bool:
        return not self.errors


def finding(
    rule: str, problem: str, file: Path, line: int | None = None, key: str | None = None, hint: str | None = None
) -> Finding:
    """A finding of its rule's own level."""
    return Finding(rule, RULES[rule].level, problem, file, line, key, hint)
