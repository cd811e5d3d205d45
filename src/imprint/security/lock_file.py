"""`skills.lock`, beside the skills of a library: what was trusted, how far, and why.

The file is yours, like any list of what you trust: one that comes with another's library records what they trust, so
read it or remove it before you use theirs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.errors import TrustError
from imprint.security.trust import Gate, GateResult, GateStatus, Step, Tier, Trust, changed
from imprint.skills.fingerprint import Files, changes, files_of, fingerprint
from imprint.skills.front import printable
from imprint.skills.skill import Skill
from imprint.support.files import atomic_write

FILE_NAME = "skills.lock"
VERSION = 1
MAX_BYTES = 40_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A locked skill: its files as they were, and the trust in them."""

    files: Files
    trust: Trust


Lock = dict[str, Entry]


@dataclass(frozen=True, slots=True)
class Standing:
    """A skill as it is now: its files, the trust in them, and why it is at T1 if something else is locked."""

    skill: str
    files: Files
    trust: Trust
    why: str = ""


def standing(skill: Skill, lock: Mapping[str, Entry], *, on: str) -> Standing:
    """Where `skill` stands: its locked tier if its content is the locked one, else T1.

    Raises:
        TrustError: its folder cannot be read.
    """
    assert skill.path is not None
    files = files_of(skill.path)
    now = fingerprint(files)
    entry = lock.get(skill.name)
    if entry is None:
        return Standing(skill.name, files, Trust(now), "is not in skills.lock")
    found = changes(entry.files, files)
    why = f"changed since it was locked: {', '.join(found[:5])}" + (" ..." if len(found) > 5 else "") if found else ""
    return Standing(skill.name, files, changed(entry.trust, now, found, on=on), why)


def locked(standings: Sequence[Standing]) -> Lock:
    """The lock of these skills as they are now."""
    return {one.skill: Entry(one.files, one.trust) for one in standings}


def read_lock(library: Path) -> Lock:
    """The lock of a library; empty where there is none.

    Raises:
        TrustError: the file is damaged; a damaged lock is never an empty one.
    """
    path = library / FILE_NAME
    if not path.exists():
        return {}
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"is over {MAX_BYTES:,} bytes")
        content = json.loads(data.decode("utf-8"))
        if content["version"] != VERSION:
            raise ValueError(f"has version {content['version']!r}, not {VERSION}")
        return {name: _entry(value) for name, value in content["skills"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        hint = "restore the file, or remove it and promote the skills anew"
        raise TrustError(f"is damaged: {printable(str(error))}", where=path, line=line, hint=hint) from error


def write_lock(library: Path, lock: Mapping[str, Entry]) -> Path:
    """Write the lock, sorted and one value a line, so that a change shows as one in a diff.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    path = library / FILE_NAME
    content = {"version": VERSION, "skills": {name: _record(lock[name]) for name in sorted(lock)}}
    atomic_write(path, json.dumps(content, indent=1, ensure_ascii=True) + "\n")
    return path


def _record(entry: Entry) -> dict[str, Any]:
    trust = entry.trust
    return {
        "tier": trust.tier.name,
        "fingerprint": trust.fingerprint,
        "files": dict(sorted(entry.files.items())),
        "gates": {
            gate.value: {"outcome": result.status.value, "why": result.why}
            for gate, result in sorted(trust.gates.items())
        },
        "history": [{"on": step.on, "tier": step.tier.name, "because": step.because} for step in trust.history],
    }


def _entry(value: Mapping[str, Any]) -> Entry:
    files = {_text(path): _text(line) for path, line in value["files"].items()}
    gates = {
        Gate(gate): GateResult(GateStatus(result["outcome"]), _text(result["why"]))
        for gate, result in value["gates"].items()
    }
    history = tuple(Step(_text(step["on"]), Tier[step["tier"]], _text(step["because"])) for step in value["history"])
    trust = Trust(_text(value["fingerprint"]), Tier[value["tier"]], gates, history)
    if fingerprint(files) != trust.fingerprint:
        raise ValueError("a fingerprint does not fit its files")
    return Entry(files, trust)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value
