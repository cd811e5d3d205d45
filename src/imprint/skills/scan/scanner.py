"""`scan_skill`: everything that one skill folder holds, read and judged; nothing of it is ever run."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from imprint.skills.scan.code import CodeScan, judge_events, judge_text
from imprint.skills.scan.documents import Document, documents
from imprint.skills.scan.files import SkillFile, read_skill, text_of
from imprint.skills.scan.normal import Hidden, normalise
from imprint.skills.scan.prose import scan_prose
from imprint.skills.scan.report import Finding, SkillReport, evidence, ordered
from imprint.skills.scan.rules import rule
from imprint.skills.skill import FILE_NAMES, Skill
from imprint.skills.tree import find_skills

SERVERS = ".mcp.json"
_TRICKS = {"tags": "P2-invisible", "zero-width": "P2-zero-width", "bidi": "P2-bidi", "homoglyph": "P2-lookalike", "padding": "P2-padding"}
_CODE = ("shell", "python", "javascript", "other")


def scan_skill(folder: Path) -> SkillReport:
    """Read all files of a skill (or of a folder with a `.mcp.json`) and report what they do."""
    folder = Path(folder)
    findings: list[Finding] = []
    errors: list[str] = []
    found: list[Document] = []
    for file in read_skill(folder):
        findings += _refused(file)
        text = text_of(file.data)
        if text is None:
            findings.append(_finding("SC3-unread", file.name, 0, "binary data of no known kind"))
            continue
        clean, tricks = normalise(text)
        findings += [_trick(file.name, trick) for trick in tricks]
        found += documents(file.name, clean)
    code = CodeScan()
    events = code.analyse([document for document in found if document.language in _CODE])
    findings += [finding for _, _, finding in judge_events(events)]
    for document in found:
        if document.language in _CODE:
            findings += [finding for _, _, finding in judge_text(document)]
        else:
            findings += [_in_place(document, finding) for _, finding in scan_prose(document)]
    errors += code.errors
    if any((folder / name).is_file() for name in FILE_NAMES):
        errors += [problem.describe().splitlines()[0] for problem in Skill.check(folder)]
    return SkillReport(folder, folder.name, ordered(findings), tuple(errors))


def scan_tree(root: Path) -> list[SkillReport]:
    """One report for every skill below `root`."""
    return [scan_skill(folder) for folder in scan_units(root)]


def scan_units(root: Path) -> list[Path]:
    """What there is to scan: skill folders, and folders outside of them that declare MCP servers."""
    skills = find_skills(root)
    known = {os.fspath(folder) for folder in skills}
    return sorted([*skills, *_server_folders(Path(root), known)])


def _server_folders(root: Path, skills: Collection[str]) -> Iterator[Path]:
    for base, below, names in os.walk(root):
        if base in skills:
            below[:] = []
            continue
        below[:] = [name for name in below if name not in (".git", "node_modules", "__pycache__")]
        if SERVERS in names:
            yield Path(base)


def _refused(file: SkillFile) -> Iterable[Finding]:
    if not file.refused:
        return
    name = "SC3-unread"
    if file.compiled:
        name = "SC3-bytecode" if "bytecode" in file.refused else "SC3-binary"
    elif "leads out" in file.refused:
        name = "SC3-link-out"
    yield _finding(name, file.name, 0, file.refused)


def _trick(file: str, trick: Hidden) -> Finding:
    return _finding(_TRICKS[trick.kind], file, trick.line, trick.text)


def _in_place(document: Document, finding: Finding) -> Finding:
    """An order in a comment is worse than one that can be read."""
    if document.role != "comment":
        return finding
    why = f"{rule('P2-hidden-order').why}: {finding.why}"
    return Finding("P2-hidden-order", max(finding.severity, rule("P2-hidden-order").severity), finding.file, finding.line, finding.evidence, why)


def _finding(name: str, file: str, line: int, text: str) -> Finding:
    found = rule(name)
    return Finding(name, found.severity, file, line, evidence(text), found.why)
