"""The four gates, held against one skill as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from imprint.errors import TrustError
from imprint.security.permissions import observe, permission_gate
from imprint.security.scanned import scanned
from imprint.security.trust import Gate, GateResult, GateStatus, Tier
from imprint.skills.front import printable
from imprint.skills.skill import Skill

if TYPE_CHECKING:
    from imprint.security.judge import Judge
    from imprint.security.scan import SkillReport


def gates(
    skill: Skill,
    fingerprint: str,
    tier: Tier,
    vouched: Mapping[Gate, str] | None = None,
    judge: Judge | None = None,
) -> dict[Gate, GateResult]:
    """The result of each gate for this skill at this tier.

    G1 and G4 are run. G2 needs a reader who understands the text, a judge or a person; G3 needs a sandbox that runs
    it, which Imprint has not, so only a person can open it.

    Args:
        fingerprint: of the skill's files, for the scan that is kept by it.
        vouched: gates that a person opens, and why; a gate that passes by itself stays passed.
        judge: who is asked for G2; by default G2 is not run.

    Raises:
        TrustError: G1 is vouched for where the scan found something critical.
        PolicyError: the judge cannot be reached.
    """
    assert skill.path is not None
    found = {
        Gate.G1: _scan_gate(skill, fingerprint),
        Gate.G2: _meaning_gate(skill, judge),
        Gate.G3: GateResult(GateStatus.NOT_RUN, "Imprint runs no scripts of skills"),
        Gate.G4: permission_gate(skill.allowed_tools, observe(skill.path), tier),
    }
    for gate, why in (vouched or {}).items():
        if found[gate].open:
            continue
        if gate is Gate.G1 and scanned(skill.path, fingerprint).severity.word == "critical":
            raise TrustError(
                f"has a critical finding, which cannot be vouched for: {found[gate].why}",
                where=skill.path,
                hint=f"see `imprint skills scan {skill.path}`, and fix the skill",
            )
        found[gate] = GateResult(GateStatus.VOUCHED, f"{why} (instead of: {found[gate].status}, {found[gate].why})")
    return found


def _scan_gate(skill: Skill, fingerprint: str) -> GateResult:
    from imprint.security.scan import Severity

    assert skill.path is not None
    report = scanned(skill.path, fingerprint)
    if report.severity >= Severity.HIGH:
        return GateResult(GateStatus.FAILED, _most_severe(report))
    unread = f", {len(report.errors)} not parsed" if report.errors else ""
    return GateResult(GateStatus.PASSED, _mild(report) + unread)


def _meaning_gate(skill: Skill, judge: Judge | None) -> GateResult:
    """The judge's verdict on the whole skill; a part of it or an invalid answer opens nothing."""
    if judge is None:
        return GateResult(GateStatus.NOT_RUN, "what it claims has not been compared with what it does")
    from imprint.security.judge import judge_all
    from imprint.security.scan import Severity, SkillReport

    assert skill.path is not None
    (report,) = judge_all([SkillReport(skill.path, skill.name)], judge)
    who = f"{printable(judge.model)} judges: "
    if report.severity >= Severity.HIGH:
        return GateResult(GateStatus.FAILED, f"{who}{_most_severe(report)}: {report.findings[0].evidence}")
    if report.errors:
        return GateResult(GateStatus.NOT_RUN, "; ".join(report.errors))
    return GateResult(GateStatus.PASSED, who + _mild(report))


def _most_severe(report: SkillReport) -> str:
    first = report.findings[0]
    place = f"{first.file}:{first.line}" if first.line else first.file
    return f"{first.severity.word} {first.rule} in {place}"


def _mild(report: SkillReport) -> str:
    return f"nothing above {report.severity.word}" if report.findings else "nothing found"
