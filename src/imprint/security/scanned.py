"""The scan of a skill, kept by its content: what was scanned once is read from a file the next time."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imprint.errors import ImprintError
from imprint.support.files import atomic_write

if TYPE_CHECKING:
    from imprint.security.scan import SkillReport


def scanned(folder: Path, fingerprint: str) -> SkillReport:
    """The report on a skill folder whose content has this fingerprint.

    A cache that cannot be read or written costs time and nothing else.
    """
    from imprint.security.scan import scan_skill

    path = cache_folder() / f"{_scanner()}-{fingerprint.removeprefix('sha256:')}.json"
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return _report(folder, json.loads(path.read_text(encoding="utf-8")))
    report = scan_skill(folder)
    with suppress(ImprintError, OSError):
        atomic_write(path, json.dumps(report.to_json()) + "\n")
    return report


def cache_folder() -> Path:
    """Where scans are kept: below `IMPRINT_CACHE`, else the user's cache folder."""
    given = os.environ.get("IMPRINT_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imprint"
    return base / "scans"


def _report(folder: Path, content: Any) -> SkillReport:
    from imprint.security.scan import Finding, Severity, SkillReport

    findings = tuple(
        Finding(**{**finding, "severity": Severity.of(finding["severity"])}) for finding in content["findings"]
    )
    return SkillReport(folder, folder.name, findings, tuple(content["errors"]))


@lru_cache(maxsize=1)
def _scanner() -> str:
    """What the scanner is: another rule, another file name, so that an old scan never passes for a new one."""
    digest = hashlib.sha256()
    root, skills = Path(str(resources.files("imprint.security") / "scan")), Path(str(resources.files("imprint.skills")))
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.yaml"), skills / "tree.py", skills / "skill.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
