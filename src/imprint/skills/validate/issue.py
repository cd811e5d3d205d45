"""What is found about skill folders, and how it is described."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imprint.errors import ImprintError, SkillError
from imprint.skills.front import printable
from imprint.skills.validate.rules import RULES
from imprint.support.sarif import Level


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong, or may be.

    Attributes:
        rule: an id of `RULES`.
        level: `error` for what makes a skill invalid, else `warning`.
        problem: what is wrong, one sentence.
        file: the file or folder at fault.
        line: counted from 1; None for an issue about the whole.
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

    def error(self) -> SkillError:
        """As the error that a reader of the skill raises."""
        return SkillError(self.problem, where=self.file, line=self.line, key=self.key, hint=self.hint)

    def describe(self) -> str:
        """As errors are described: `level[rule] file:line: key: problem`, and below it the hint."""
        where = printable(str(self.file), 4_096)  # on one line, whatever the name of the file holds
        error = ImprintError(self.problem, where=where, key=self.key, line=self.line, hint=self.hint)
        return f"{self.level}[{self.rule}] {error.describe()}"


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What was found about one skill folder; `name` is the skill's own, as far as it could be read.

    Errors come first, then what is in the page, by line.
    """

    folder: Path
    name: str | None
    issues: tuple[Issue, ...]

    @property
    def errors(self) -> tuple[Issue, ...]:
        return tuple(issue for issue in self.issues if issue.level == "error")

    @property
    def warnings(self) -> tuple[Issue, ...]:
        return tuple(issue for issue in self.issues if issue.level == "warning")

    @property
    def valid(self) -> bool:
        return not self.errors


def issue(
    rule: str, problem: str, file: Path, line: int | None = None, key: str | None = None, hint: str | None = None
) -> Issue:
    """An issue of its rule's own level."""
    return Issue(rule, RULES[rule].level, problem, file, line, key, hint)
