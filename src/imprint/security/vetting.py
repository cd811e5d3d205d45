"""The door before a model: no skill with a severe finding is shown or practised, unless the user names it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from imprint.errors import SkillError, TrustError
from imprint.security.lock_file import Entry, read_lock, standing
from imprint.security.scanned import scanned
from imprint.skills.fingerprint import fingerprint
from imprint.skills.front import printable
from imprint.skills.library import SkillLibrary
from imprint.skills.skill import FILE_NAMES, Skill, decode_page

if TYPE_CHECKING:
    from imprint.security.scan import Finding

RECIPE, COMMAND = "allowed by the recipe", "allowed by --trust"
FINE = "nothing grave found"  # a value of trust.json, which runs of every version hold


class TrustConfig(BaseModel):
    """The recipe's `trust` section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    refuse: Literal["critical", "high", "medium", "low", "never"] = Field(
        default="high", description="Refuse a skill with a finding of this severity or worse (`imprint skills scan`)."
    )
    allow: list[str] = Field(default=[], description="Skills that are used all the same, by name.")


@dataclass(frozen=True, slots=True)
class Clearance:
    """Why one skill may be used.

    Attributes:
        fingerprint: of its files, all of them.
        severity: of its most severe finding.
        clearance: `FINE`, or who allowed it (`decision` in `trust.json`).
        findings: those that it would be refused for, were it not allowed, as `SkillReport.to_json` writes them.
        unparsed: files that the scan could not parse.
    """

    skill: str
    fingerprint: str
    tier: str
    severity: str
    clearance: str
    findings: tuple[Mapping[str, Any], ...] = ()
    unparsed: int = 0

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "skill": self.skill,
            "fingerprint": self.fingerprint,
            "tier": self.tier,
            "severity": self.severity,
            "decision": self.clearance,
            "findings": [dict(finding) for finding in self.findings],
            "unparsed": self.unparsed,
        }


@dataclass(frozen=True, slots=True)
class Override:
    """What is allowed beside the recipe.

    Attributes:
        names: skills named on the command line.
        earlier: (fingerprint, clearance) of skills that a run was begun with; they hold for that content only.
    """

    names: Collection[str] = ()
    earlier: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def clearance(self, skill: str, content: str) -> str | None:
        """What allows the skill to be used; None if nothing does."""
        if skill in self.names:
            return COMMAND
        then, clearance = self.earlier.get(skill, ("", ""))
        return clearance if then == content else None


@dataclass(frozen=True, slots=True)
class Vetting:
    """The door: what is refused, and what is allowed all the same."""

    config: TrustConfig = field(default_factory=TrustConfig)
    override: Override = field(default_factory=Override)

    def vet(self, library: SkillLibrary) -> list[Clearance]:
        """As the function `vet`."""
        _check_names(library, self.config.allow, "trust.allow")
        _check_names(library, self.override.names, "--trust")
        return self.admit(library.skills, library.where)

    def admit(self, skills: Iterable[Skill], where: str | Path | None) -> list[Clearance]:
        """Scan skills of the library at `where`; one clearance a skill, in their order.

        Raises:
            TrustError: a skill is refused, or a folder or the lock cannot be read.
        """
        lock = read_lock(where) if isinstance(where, Path) else {}
        cleared, refused = [], []
        for skill in skills:
            clearance, findings = self._look_at(skill, lock)
            if clearance is None:
                refused.append((skill, findings))
            else:
                cleared.append(clearance)
        if refused:
            raise _refusal(refused, where)
        return cleared

    def unnamed(self) -> Vetting:
        """The door without the names that are allowed: for text that has not been read by a person yet."""
        return Vetting(self.config.model_copy(update={"allow": []}), replace(self.override, names=()))

    def _look_at(self, skill: Skill, lock: Mapping[str, Entry]) -> tuple[Clearance | None, Sequence[Finding]]:
        """What allows one skill, None if nothing does; and its findings that need to be allowed."""
        from imprint.security.scan import Severity

        refuse = self.config.refuse
        least = Severity.of("high" if refuse == "never" else refuse)  # what is worth a line in the report
        with _on_disk(skill) as stored:
            assert stored.path is not None
            now = standing(stored, lock, on=datetime.now(UTC).date().isoformat())
            content = fingerprint(now.files)
            report = scanned(stored.path, content)
        severe = [finding for finding in report.findings if finding.severity >= least]
        allowed: str | None = FINE
        if severe:
            by_recipe = refuse == "never" or skill.name in self.config.allow
            allowed = RECIPE if by_recipe else self.override.clearance(skill.name, content)
        if allowed is None:
            return None, severe
        records = tuple(finding.to_json() for finding in severe)
        tier, severity, unparsed = now.trust.tier.name, report.severity.word, len(report.errors)
        return Clearance(skill.name, content, tier, severity, allowed, records, unparsed), severe


def vet(library: SkillLibrary, config: TrustConfig | None = None, override: Override | None = None) -> list[Clearance]:
    """Scan every skill of a library; one clearance a skill, in the library's order. Scans are kept by content.

    A skill that was read from no file (a model wrote it) is scanned as the SKILL.md that it would be.

    Raises:
        TrustError: a skill is refused (each is named with rule, file, line and the hint), a name that is allowed is no
            skill's, or a folder or the lock cannot be read.
    """
    return Vetting(config or TrustConfig(), override or Override()).vet(library)


@contextmanager
def _on_disk(skill: Skill) -> Iterator[Skill]:
    """The skill as a folder that can be scanned: its own, or for text that no file holds one that is removed again."""
    if skill.path is not None:
        yield skill
        return
    with tempfile.TemporaryDirectory(prefix="imprint-") as folder:
        path, data = Path(folder, FILE_NAMES[0]), skill.page()
        try:
            decode_page(path, data)  # what is not text would not be read by the scan either
        except SkillError as error:
            problem = f"the skill {printable(skill.name)!r} {error.problem}"
            raise TrustError(problem, hint="a skill that comes from no file has to be text as a SKILL.md is") from error
        path.write_bytes(data)
        if (
            len(skill.description.splitlines()) > 1
        ):  # quoted as a value it is no Markdown, and a model is shown it unquoted
            (path.parent / "description.md").write_text(skill.description, encoding="utf-8", errors="replace")
        yield replace(skill, path=path.parent)


def _check_names(library: SkillLibrary, names: Iterable[str], key: str) -> None:
    for name in names:
        if name not in library:
            hint = f"there are: {', '.join(library.names)}"
            raise TrustError(f"no skill is called {name!r}", where=library.where, key=key, hint=hint)


def _refusal(refused: list[tuple[Skill, Sequence[Finding]]], where: str | Path | None) -> TrustError:
    """One error for all that are refused, at the place of the first."""
    names = [skill.name for skill, _ in refused]
    problem = f"the skill {names[0]!r} is refused" if len(names) == 1 else f"{len(names)} skills are refused"
    lines = [_refusal_line(skill, severe) for skill, severe in refused]
    (skill, (first, *_)), allow = refused[0], ", ".join(names)
    stored = skill.path is not None
    see = f"see `imprint skills scan {skill.path}`; " if stored else ""
    return TrustError(
        "\n    ".join([f"{problem}:", *lines]),
        where=skill.path / first.file.partition("!")[0] if skill.path is not None else where,
        line=first.line if stored and first.line else None,
        hint=f"{see}take it out of the library or, once you have read it, say `trust: {{allow: [{allow}]}}` in the "
        f"recipe or {' '.join(f'--trust {name}' for name in names)}",
    )


def _refusal_line(skill: Skill, severe: Sequence[Finding]) -> str:
    first, more = severe[0], f" (and {len(severe) - 1} more)" if len(severe) > 1 else ""
    place = f"{first.file}:{first.line}" if first.line else first.file
    return f"{skill.name}: {first.severity.word} {first.rule} in {place}: {first.why}{more}"
