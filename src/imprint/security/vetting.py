"""The door before a model: no skill with a grave finding is shown or practised, unless the user names it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from imprint.errors import TrustError
from imprint.security.lock_file import read_lock, standing
from imprint.security.scanned import scanned
from imprint.skills.fingerprint import fingerprint
from imprint.skills.library import SkillLibrary
from imprint.skills.skill import Skill

if TYPE_CHECKING:
    from imprint.security.scan import Finding

RECIPE, COMMAND = "allowed by the recipe", "allowed by --trust"
FINE = "nothing grave found"


class TrustConfig(BaseModel):
    """The recipe's `trust` section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    refuse: Literal["critical", "high", "medium", "low", "never"] = Field(
        default="high", description="Refuse a skill with a finding of this severity or worse (`imprint skills scan`)."
    )
    allow: list[str] = Field(default=[], description="Skills that are used all the same, by name.")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about one skill, and on what grounds.

    Attributes:
        fingerprint: of its files, all of them.
        severity: of its gravest finding.
        findings: those that it would be refused for, but for somebody's word, as `SkillReport.to_json` writes them.
        unparsed: files that the scan could not make sense of.
    """

    skill: str
    fingerprint: str
    tier: str
    severity: str
    decision: str
    findings: tuple[Mapping[str, Any], ...] = ()
    unparsed: int = 0

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "skill": self.skill,
            "fingerprint": self.fingerprint,
            "tier": self.tier,
            "severity": self.severity,
            "decision": self.decision,
            "findings": [dict(finding) for finding in self.findings],
            "unparsed": self.unparsed,
        }


@dataclass(frozen=True, slots=True)
class Override:
    """What somebody said beside the recipe.

    Attributes:
        names: skills named on the command line.
        earlier: (fingerprint, decision) of skills that a run was begun with; they hold for that content only.
    """

    names: Collection[str] = ()
    earlier: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def decision(self, skill: str, content: str) -> str | None:
        """On whose word the skill is used; None on nobody's."""
        if skill in self.names:
            return COMMAND
        then, decision = self.earlier.get(skill, ("", ""))
        return decision if then == content else None


def vet(library: SkillLibrary, config: TrustConfig | None = None, override: Override | None = None) -> list[Verdict]:
    """Scan every skill of a library; one verdict a skill, in the library's order. Scans are kept by content.

    Raises:
        TrustError: a skill is refused (each is named with rule, file, line and the hint), a name that is allowed is no
            skill's, or a folder or the lock cannot be read.
    """
    from imprint.security.scan import Severity

    config, override = config or TrustConfig(), override or Override()
    _check_names(library, config.allow, "trust.allow")
    _check_names(library, override.names, "--trust")
    lock = read_lock(library.where) if isinstance(library.where, Path) else {}
    least = Severity.of("high" if config.refuse == "never" else config.refuse)  # what is worth a line in the report
    today = datetime.now(UTC).date().isoformat()
    verdicts, refused = [], []
    for skill in library.skills:
        if skill.path is None:  # made by the program itself, not read from anywhere
            continue
        now = standing(skill, lock, on=today)
        content = fingerprint(now.files)
        report = scanned(skill.path, content)
        grave = [finding for finding in report.findings if finding.severity >= least]
        decision: str | None = FINE
        if grave:
            by_recipe = config.refuse == "never" or skill.name in config.allow
            decision = RECIPE if by_recipe else override.decision(skill.name, content)
        if decision is None:
            refused.append((skill, grave))
            continue
        verdicts.append(
            Verdict(
                skill.name,
                content,
                now.trust.tier.name,
                report.severity.word,
                decision,
                tuple(finding.to_json() for finding in grave),
                len(report.errors),
            )
        )
    if refused:
        raise _refusal(refused)
    return verdicts


def _check_names(library: SkillLibrary, names: Iterable[str], key: str) -> None:
    for name in names:
        if name not in library:
            hint = f"there are: {', '.join(library.names)}"
            raise TrustError(f"no skill is called {name!r}", where=library.where, key=key, hint=hint)


def _refusal(refused: list[tuple[Skill, list[Finding]]]) -> TrustError:
    """One error for all that are refused, at the place of the first."""
    told = []
    for skill, grave in refused:
        first, more = grave[0], f" (and {len(grave) - 1} more)" if len(grave) > 1 else ""
        place = f"{first.file}:{first.line}" if first.line else first.file
        told.append(f"{skill.name}: {first.severity.word} {first.rule} in {place}: {first.why}{more}")
    skill, grave = refused[0]
    assert skill.path is not None
    names = [skill.name for skill, _ in refused]
    problem = f"the skill {names[0]!r} is refused" if len(names) == 1 else f"{len(names)} skills are refused"
    return TrustError(
        "\n    ".join([f"{problem}:", *told]),
        where=skill.path / grave[0].file.partition("!")[0],
        line=grave[0].line or None,
        hint=f"see `imprint skills scan {skill.path}`; take it out of the library or, once you have read it, say "
        f"`trust: {{allow: [{', '.join(names)}]}}` in the recipe or {' '.join(f'--trust {name}' for name in names)}",
    )
