"""Security findings of skills: what they say and what they do, read and never run."""

from imprint.security.scan.report import Finding, Severity, SkillReport
from imprint.security.scan.scanner import scan_skill, scan_tree, scan_units

__all__ = ["Finding", "Severity", "SkillReport", "scan_skill", "scan_tree", "scan_units"]
