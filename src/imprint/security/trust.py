"""How far a skill is trusted: tiers, the gates before them, and what a skill of a tier may do in Imprint.

After the trust framework of arXiv 2602.12430. Pure: no file is read here. `docs/manual/trust.md` has the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum

from imprint.errors import TrustError


class Tier(IntEnum):
    """The four tiers. Every skill begins at T1, and falls back to it when a file of it changes."""

    T1 = 1
    T2 = 2
    T3 = 3
    T4 = 4


class Permission(StrEnum):
    """What a skill may be used for. Imprint itself uses the first two; the others are for what runs beside it."""

    SHOW = "be shown to a model that acts in a world without tools"
    PRACTISE = "be practised in such a world"
    READ = "have its own files read, when the user says so"
    RUN = "have its scripts and declared tools run in a sandbox with its own files and no network"
    NETWORK = "use the network"


class Gate(StrEnum):
    """The four gates."""

    G1 = "G1"  # static scan
    G2 = "G2"  # semantic: does the content do what it says
    G3 = "G3"  # behaviour in a sandbox
    G4 = "G4"  # permissions: declared against observed


class GateStatus(StrEnum):
    """The result of a gate."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"
    VOUCHED = "vouched for"  # by a person, who says why


_FIRST = {
    Permission.SHOW: Tier.T1,
    Permission.PRACTISE: Tier.T1,
    Permission.READ: Tier.T2,
    Permission.RUN: Tier.T3,
    Permission.NETWORK: Tier.T4,
}
# A tier needs the gates of the tiers below it too.
NEEDED: Mapping[Tier, tuple[Gate, ...]] = {
    Tier.T1: (),
    Tier.T2: (Gate.G1,),
    Tier.T3: (Gate.G1, Gate.G2, Gate.G4),
    Tier.T4: (Gate.G1, Gate.G2, Gate.G3, Gate.G4),
}


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of one gate, and why."""

    status: GateStatus
    why: str = ""

    @property
    def open(self) -> bool:
        return self.status in (GateStatus.PASSED, GateStatus.VOUCHED)


Gates = Mapping[Gate, GateResult]


@dataclass(frozen=True, slots=True)
class Step:
    """One change of tier: when (a date), to which, and why."""

    on: str
    tier: Tier
    because: str


@dataclass(frozen=True, slots=True)
class Trust:
    """Where one skill stands.

    Attributes:
        fingerprint: of the content that the tier was given for.
        gates: their results when the tier was given; empty at T1.
        history: every change, oldest first.
    """

    fingerprint: str
    tier: Tier = Tier.T1
    gates: Gates = field(default_factory=dict)
    history: tuple[Step, ...] = ()


def may(tier: Tier, permission: Permission) -> bool:
    """Whether a skill of this tier has this permission."""
    return tier >= _FIRST[permission]


def permissions(tier: Tier) -> list[Permission]:
    """All that a skill of this tier may do."""
    return [permission for permission in Permission if may(tier, permission)]


def closed_gates(tier: Tier, gates: Gates) -> list[tuple[Gate, GateResult]]:
    """The gates that keep a skill from this tier."""
    found = [(gate, gates.get(gate, GateResult(GateStatus.NOT_RUN))) for gate in NEEDED[tier]]
    return [(gate, result) for gate, result in found if not result.open]


def promote(trust: Trust, to: Tier, gates: Gates, *, because: str, on: str) -> Trust:
    """The skill at a higher tier, for a reason, and with its gates open.

    Raises:
        TrustError: it is there already, no reason is given, or a gate is closed (each is named).
    """
    _need_reason(because)
    if to <= trust.tier:
        raise TrustError(f"is at {trust.tier.name} already", hint="use --revoke to go back to T1")
    closed = closed_gates(to, gates)
    if closed:
        listed = "; ".join(
            f"{gate} {result.status}" + (f": {result.why}" if result.why else "") for gate, result in closed
        )
        raise TrustError(
            f"{to.name} needs {', '.join(NEEDED[to])}: {listed}",
            hint='fix the skill, or vouch for a gate by name: --vouch "G2=I read it all"',
        )
    used = {gate: gates[gate] for gate in NEEDED[to]}
    return replace(trust, tier=to, gates=used, history=(*trust.history, Step(on, to, because)))


def revoke(trust: Trust, *, because: str, on: str) -> Trust:
    """The skill back at T1.

    Raises:
        TrustError: it is there, or no reason is given.
    """
    _need_reason(because)
    if trust.tier is Tier.T1:
        raise TrustError("is at T1 already", hint="take the skill out of the library to stop its use")
    return replace(trust, tier=Tier.T1, gates={}, history=(*trust.history, Step(on, Tier.T1, because)))


def changed(trust: Trust, fingerprint: str, changes: Sequence[str], *, on: str) -> Trust:
    """The skill with its new content: at T1, unless nothing changed."""
    if fingerprint == trust.fingerprint:
        return trust
    fallen = replace(trust, fingerprint=fingerprint, tier=Tier.T1, gates={})
    if trust.tier is Tier.T1:
        return fallen
    because = (
        "changed: "
        + (", ".join(changes[:5]) or "its content")
        + (f" and {len(changes) - 5} more" if len(changes) > 5 else "")
    )
    return replace(fallen, history=(*trust.history, Step(on, Tier.T1, because)))


def _need_reason(because: str) -> None:
    if not because.strip():
        raise TrustError("no reason is given", key="--because", hint='say why: --because "..."')
