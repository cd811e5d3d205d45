"""`scan_skill`: everything that one skill folder holds, read and judged; nothing of it is ever run."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from imprint.security.scan.code import CodeScan, judge_events, judge_text
from imprint.security.scan.documents import CODE, Document, documents
from imprint.security.scan.encodings import layers
from imprint.security.scan.files import SkillFile, read_skill, text_of
from imprint.security.scan.intent import Intent, compare, read_intent
from imprint.security.scan.normal import Hidden, normalise
from imprint.security.scan.prose import scan_prose
from imprint.security.scan.report import Finding, Severity, SkillReport, evidence, ordered
from imprint.security.scan.rules import rule
from imprint.skills.installed import claims_a_skill
from imprint.skills.skill import FILE_NAMES
from imprint.skills.tree import SKIPPED, find_skills

MAX_LAYERS = 3
MAX_SIGNATURE = 100_000
SERVERS = ".mcp.json"
_TRICKS = {
    "tags": "P2-invisible",
    "zero-width": "P2-zero-width",
    "bidi": "P2-bidi",
    "terminal": "P2-terminal",
    "homoglyph": "P2-lookalike",
    "padding": "P2-padding",
}


def scan_skill(folder: Path) -> SkillReport:
    """Read all files of a skill (or of a folder with a `.mcp.json`) and report what they do."""
    return _Scan(Path(folder)).report()


class _Scan:
    """One scan of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = Path(os.path.abspath(folder)).name  # noqa: PTH100 - a link goes by its own name
        self.documents: list[Document] = []
        self.findings: list[Finding] = []
        self.errors: list[str] = []
        self.intent, self.page = Intent(), FILE_NAMES[0]

    def report(self) -> SkillReport:
        for file in read_skill(self.folder):
            self._read(file)
        code = CodeScan()
        events = code.analyse([document for document in self.documents if document.language in CODE])
        lenient = self.intent.about_security
        self.findings += [_raised(document.role, finding) for document, finding in judge_events(events, lenient)]
        for document in self.documents:
            found = judge_text(document, lenient) if document.language in CODE else scan_prose(document)
            self.findings += [_raised(document.role, finding) for finding in found]
        self.findings += compare(self.intent, self.page, self.name, events, self.documents)
        return SkillReport(self.folder, self.name, ordered(self.findings), tuple(self.errors + code.errors))

    def _read(self, file: SkillFile) -> None:
        self.findings += _refused(file)
        text = None if file.compiled else text_of(file.data)
        if text is None:  # no text, but a signature may be in it
            if not file.compiled:
                self.findings.append(_finding("SC3-unread", file.name, 0, "binary data of no known kind"))
            self.documents.append(Document(file.name, 1, "other", file.data[:MAX_SIGNATURE].decode("latin-1"), "file"))
            return
        if file.name in FILE_NAMES:
            self.page = file.name
            self.intent, problem = read_intent(self.folder / file.name, text)
            if problem is not None:
                self.errors.append(f"{file.name}: {problem}")
        clean, tricks = normalise(text)
        self.findings += [_trick(file.name, trick) for trick in tricks]
        self.documents += documents(file.name, clean)
        self._unwrap(file.name, clean, 0, 0)

    def _unwrap(self, file: str, text: str, line: int, depth: int) -> None:
        """What encodings hide in a text, as documents of their own."""
        for place, layer in layers(text) if depth < MAX_LAYERS else ():
            at = line or text.count("\n", 0, place) + 1
            if re.match(r"https?://[^\s]+$", layer):
                role = "server" if file.endswith(SERVERS) else ""
                self.findings.append(_finding("SC3-hidden-url", file, at, layer, role))
                continue
            for language in ("shell", "python", "prose"):
                self.documents.append(Document(file, at, language, layer, "layer"))
            self._unwrap(file, layer, at, depth + 1)


def scan_tree(root: Path) -> list[SkillReport]:
    """One report for every skill below `root`."""
    return [scan_skill(folder) for folder in scan_units(root)]


def scan_units(root: Path) -> list[Path]:
    """What there is to scan: skill folders, linked ones too as a library reads them, and folders outside of them that
    declare MCP servers."""
    skills = find_skills(root)
    if root not in skills:
        links = (entry for entry in Path(root).iterdir() if entry.is_symlink() and entry.exists())
        skills += [entry for entry in links if claims_a_skill(entry)]
    known = {os.fspath(folder) for folder in skills}
    return sorted([*skills, *_server_folders(Path(root), known)])


def _server_folders(root: Path, skills: Collection[str]) -> Iterator[Path]:
    for base, below, names in os.walk(root):
        if base in skills:
            below[:] = []
            continue
        below[:] = [name for name in below if name not in SKIPPED]
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


def _raised(role: str, finding: Finding) -> Finding:
    """What is hidden from readers is worse than what can be read."""
    name = {"comment": "P2-hidden-order", "layer": "SC3-layer"}.get(role)
    if name is None or finding.severity < Severity.MEDIUM:
        return finding
    above = rule(name)
    return replace(
        finding, rule=name, severity=max(finding.severity, above.severity), why=f"{above.why}: {finding.why}"
    )


def _finding(name: str, file: str, line: int, text: str, role: str = "") -> Finding:
    found = rule(name)
    return Finding(name, found.severity_in(role), file, line, evidence(text), found.why)
