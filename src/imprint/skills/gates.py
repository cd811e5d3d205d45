"""The four gates, held against one skill as it is."""

from __future__ import annotations

from collections.abc import Mapping

from imprint.errors import TrustError
from imprint.skills.permissions import observe, permission_gate
from imprint.skills.scanned import scanned
from imprint.skills.skill import Skill
from imprint.skills.trust import Gate, Outcome, Passage, Tier


def gates(skill: Skill, fingerprint: str, tier: Tier, vouched: Mapping[Gate, str] | None = None) -> dict[Gate, Passage]:
    """What each gate says to this skill at this tier.

    G1 and G4 are run. G2 needs somebody who understands the text and G3 a sandbox that runs it; Imprint has neither
    here, so they are not run, and only a person's word opens them.

    Args:
        fingerprint: of the skill's files, for the scan that is kept by it.
        vouched: gates that a person opens, and why; a gate that passes by itself stays passed.

    Raises:
        TrustError: a word is given for G1 where the scan found something critical.
    """
    assert skill.path is not None
    found = {
        Gate.G1: _scan_gate(skill, fingerprint),
        Gate.G2: Passage(Outcome.NOT_RUN, "nobody has compared what it says with what it does"),
        Gate.G3: Passage(Outcome.NOT_RUN, "Imprint runs no scripts of skills"),
        Gate.G4: permission_gate(skill.allowed_tools, observe(skill.path), tier),
    }
    for gate, why in (vouched or {}).items():
        if found[gate].open:
            continue
        if gate is Gate.G1 and scanned(skill.path, fingerprint).severity.word == "critical":
            raise TrustError(
                f"has a critical finding, which nobody can vouch for: {found[gate].why}",
                where=skill.path,
                mend=f"see `imprint skills scan {skill.path}`, and mend the skill",
            )
        found[gate] = Passage(Outcome.VOUCHED, f"{why} (instead of: {found[gate].outcome}, {found[gate].why})")
    return found


def _scan_gate(skill: Skill, fingerprint: str) -> Passage:
    from imprint.skills.scan import Severity

    assert skill.path is not None
    report = scanned(skill.path, fingerprint)
    if report.severity >= Severity.HIGH:
        first = report.findings[0]
        place = f"{first.file}:{first.line}" if first.line else first.file
        return Passage(Outcome.FAILED, f"{first.severity.word} {first.rule} in {place}")
    unread = f", {len(report.errors)} not parsed" if report.errors else ""
    worst = f"nothing above {report.severity.word}" if report.findings else "nothing found"
    return Passage(Outcome.PASSED, worst + unread)
