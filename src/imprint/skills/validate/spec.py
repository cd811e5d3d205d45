"""Whether a skill follows the agentskills.io specification: the verdict of its reference library, and more.

Errors are what the reference refuses, so that both say the same of every skill; warnings are what it does not look at.
docs/manual/skills.md lists the few places where the two differ, each with a test. Nothing outside the folder is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imprint.skills.front import printable
from imprint.skills.skill import (
    EMPTY_PAGE,
    FIELDS,
    FILE_NAMES,
    MAX_COMPATIBILITY,
    MAX_DESCRIPTION,
    Skill,
    broken_name,
    normal_name,
)
from imprint.skills.validate.issue import Issue, ValidationReport, issue
from imprint.skills.validate.loose import read_loose
from imprint.skills.validate.page import check_body, check_characters
from imprint.skills.validate.references import MAX_LISTED, check_links
from imprint.skills.validate.rules import LENIENT
from imprint.skills.validate.strict import StrictError, Value, read_strict

MAX_FILE = 16 * 2**20
_DASHES = "---"
_BOM = "\ufeff"


def validate(folder: str | Path, *, lenient: bool = False) -> ValidationReport:
    """All issues of a skill folder; nothing that is in it makes this raise.

    Args:
        folder: the folder that holds SKILL.md.
        lenient: what real clients accept (unknown keys, another name than the folder's, YAML that a strict parser
            refuses, a long description) is a warning and no error.
    """
    folder = Path(folder)
    try:
        page = _page_of(folder)
        raw = _decode(_read(page), page)
    except _StopError as stop:
        return ValidationReport(folder, None, (stop.issue,))
    except (OSError, ValueError) as error:  # a path that cannot be, or may not be looked at
        return ValidationReport(folder, None, (_unreadable(folder, error),))
    text = raw.replace("\r\n", "\n").replace("\r", "\n")
    # The name a user sees, so that a linked folder goes by the name of the link, and `.` by its own.
    name = Path(os.path.abspath(folder)).name  # noqa: PTH100 - `absolute` keeps `..`
    rules = _Page(text, page, lenient=False)
    rules.judge(name)
    if lenient and any(one.level == "error" for one in rules.issues):  # what is valid stays valid
        rules = _Page(text, page, lenient=True)
        rules.judge(name)
    found = [*rules.issues, *check_characters(raw, page)]
    if rules.body_start is not None:
        first_line = text.count("\n", 0, rules.body_start) + 1
        found += check_body(text[rules.body_start :], first_line, page, folder)
    found += check_links(folder)
    if not any(one.level == "error" or one.rule in LENIENT for one in found):
        found += _refused_by_imprint(folder, page)
    found.sort(key=lambda one: (one.level != "error", str(one.file) != str(page), one.line or 0))
    return ValidationReport(folder, rules.name, tuple(found))


def page_parts(folder: Path) -> tuple[Path, str, str]:
    """The file, the front matter and the body of a skill that the lenient validation has no error against."""
    page = _page_of(folder)
    text = _decode(_read(page), page).replace("\r\n", "\n").replace("\r", "\n")
    rules = _Page(text, page, lenient=True)
    front = rules.split() or ""
    return page, front, text[rules.body_start :]


def same_names(reports: Sequence[ValidationReport]) -> list[ValidationReport]:
    """The reports, with a warning at each skill whose name an earlier one has."""
    first: dict[str, Path] = {}
    checked = []
    for report in reports:
        name = report.name
        if name is not None and name in first:
            problem = f"'{printable(name)}' is the name of the skill in {printable(str(first[name]), 200)} too"
            twice = issue("name-twice", problem, report.folder, key="name", hint="rename one of them")
            checked.append(replace(report, issues=(*report.issues, twice)))
            continue
        if name is not None:
            first[name] = report.folder
        checked.append(report)
    return checked


class _StopError(Exception):
    """There is nothing to look at further."""

    def __init__(self, found: Issue) -> None:
        super().__init__(found.problem)
        self.issue = found


def _page_of(folder: Path) -> Path:
    """SKILL.md, or else skill.md: the first that is there; a link counts if what it leads to is in the folder."""
    for path in (folder / name for name in FILE_NAMES):
        if not path.is_symlink():
            if os.path.lexists(path):
                return path
            continue
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            problem = "is a link that leads out of its folder"
            raise _StopError(issue("page-unreadable", problem, path, hint="put the file itself here"))
        if path.exists():
            return path
    if not folder.is_dir():
        raise _StopError(issue("page-missing", "is not a folder", folder, hint="give the folder that holds SKILL.md"))
    try:
        with os.scandir(folder) as entries:
            near = [entry.name for entry in entries if entry.name.lower() == FILE_NAMES[1]]
    except OSError as error:
        raise _StopError(_unreadable(folder, error)) from error
    hint = f"rename {near[0]} to SKILL.md" if near else "add one with a name, a description and the page"
    raise _StopError(issue("page-missing", "has no SKILL.md", folder, hint=hint))


def _read(page: Path) -> bytes:
    """The bytes of a plain file; a pipe or a device is not waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(os.path.realpath(page), flags)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _StopError(issue("page-unreadable", "is not a file", page, hint="put the page here as a file"))
            with os.fdopen(handle, "rb", closefd=False) as file:
                data = file.read(MAX_FILE + 1)
        finally:
            os.close(handle)
    except OSError as error:
        raise _StopError(_unreadable(page, error)) from error
    if len(data) > MAX_FILE:
        problem = f"is over {MAX_FILE:,} bytes"
        raise _StopError(issue("page-unreadable", problem, page, hint="move long material to references/"))
    return data


def _unreadable(path: Path, error: Exception) -> Issue:
    reason = getattr(error, "strerror", None) or str(error)
    return issue("page-unreadable", f"cannot be read: {reason}", path, hint="check the path and its permissions")


def _decode(data: bytes, page: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _StopError(issue("page-unreadable", "is not UTF-8", page, line, hint="save it as UTF-8")) from error


def _refused_by_imprint(folder: Path, page: Path) -> list[Issue]:
    """What our own reader of skills, which is stricter and divides a page by its lines, has against a valid one."""
    return [
        issue("imprint-refuses", f"Imprint does not read it: {error.problem}", page, error.line, error.key, error.hint)
        for error in Skill.check(folder)
        if error.problem != EMPTY_PAGE
    ]


class _Page:
    """The rules of the specification, applied to the text of a page."""

    def __init__(self, text: str, page: Path, *, lenient: bool) -> None:
        self.text, self.page, self.lenient = text, page, lenient
        self.issues: list[Issue] = []
        self.name: str | None = None
        self.body_start: int | None = None
        self.front_start = 0

    def judge(self, folder_name: str) -> None:
        front = self.split()
        if front is None:
            return
        root = self._parse(front)
        if root is None:
            return
        self._keys(root)
        self._name(root, folder_name)
        self._description(root)
        self._compatibility(root)
        self._kinds(root)

    def _add(
        self,
        rule: str,
        problem: str,
        at: int = 0,
        key: str | None = None,
        hint: str | None = None,
        *,
        kept: bool = False,
    ) -> None:
        """Note an issue at a character of the text; in the lenient mode some weigh less, unless `kept`."""
        line = self.text.count("\n", 0, at) + 1
        found = issue(rule, problem, self.page, line, key, hint)
        if self.lenient and rule in LENIENT and not kept:
            found = replace(found, level="warning")
        self.issues.append(found)

    def _add_at(self, rule: str, key: str, value: Value, problem: str, hint: str) -> None:
        self._add(rule, problem, self.front_start + value.key_index, printable(key), hint)

    def split(self) -> str | None:
        """The front matter as the reference cuts it out: what is between the first two `---`, wherever they stand."""
        start = len(_BOM) if self.lenient and self.text.startswith(_BOM) else 0
        if not self.text.startswith(_DASHES, start):
            mark = "a byte order mark stands before it" if self.text.startswith(_BOM) else "begin with a line ---"
            self._add("front-missing", "does not start with front matter", hint=mark)
            return None
        self.front_start = start + len(_DASHES)
        end = self.text.find(_DASHES, self.front_start)
        by_line = _line_of_dashes(self.text, self.front_start)
        if end < 0:
            self._add("front-missing", "the front matter has no end", hint="end it with a line ---")
            return None
        if end != by_line or self.text[self.front_start : self.text.find("\n", self.front_start)].strip():
            problem = "a --- that is not a line of its own ends the front matter for the reference library"
            self._add("front-dashes", problem, end, hint="write the value without three dashes in a row")
        if self.lenient and by_line is not None:
            end = by_line
        self.body_start = end + len(_DASHES)
        return self.text[self.front_start : end]

    def _parse(self, front: str) -> Value | None:
        try:
            return read_strict(front)
        except StrictError as error:
            rule, at = "front-limit" if error.limit else "front-yaml", self.front_start + error.index
            loose = read_loose(front) if self.lenient else None
            self._add(rule, error.problem, at, hint=error.hint, kept=loose is None)
            return loose

    def _keys(self, root: Value) -> None:
        unknown = [(key, value) for key, value in root.entries.items() if key not in FIELDS]
        for key, value in unknown[:MAX_LISTED]:
            hint = f"use one of: {', '.join(FIELDS)}; anything else goes under metadata"
            self._add_at("key-unknown", key, value, "unknown key", hint)

    def _name(self, root: Value, folder_name: str) -> None:
        value = root.entries.get("name")
        if value is None:
            self._add("name-missing", "is missing", key="name", hint="add `name: ...`")
            return
        if value.kind != "text" or not value.text.strip():
            problem = "is empty" if value.kind == "text" else "is not text"
            self._add_at("name-missing", "name", value, problem, "give it text")
            return
        self.name = normal_name(value.text)
        for problem in broken_name(value.text):
            hint = "use lowercase letters, digits and single hyphens between"
            self._add_at("name-format", "name", value, problem, hint)
        if self.name != normal_name(folder_name, strip=False):
            problem = f"'{printable(self.name)}' differs from its folder '{printable(folder_name)}'"
            self._add_at("name-folder", "name", value, problem, "give both the same name")

    def _description(self, root: Value) -> None:
        value = root.entries.get("description")
        if value is None:
            self._add("description-missing", "is missing", key="description", hint="add `description: ...`")
        elif value.kind != "text" or not value.text.strip():
            problem = "is empty" if value.kind == "text" else "is not text"
            self._add_at("description-missing", "description", value, problem, "say what it does and when to use it")
        elif len(value.text) > MAX_DESCRIPTION:
            problem = f"has {len(value.text):,} characters, over {MAX_DESCRIPTION:,}"
            self._add_at("description-long", "description", value, problem, "shorten it")

    def _compatibility(self, root: Value) -> None:
        value = root.entries.get("compatibility")
        if value is None:
            return
        if value.kind != "text":
            self._add_at("compatibility-format", "compatibility", value, "is not text", "write it as one text")
        elif len(value.text) > MAX_COMPATIBILITY:
            problem = f"has {len(value.text):,} characters, over {MAX_COMPATIBILITY}"
            self._add_at("compatibility-format", "compatibility", value, problem, "shorten it")
        elif not value.text.strip():
            self._add_at("value-format", "compatibility", value, "is empty", "give it text or remove it")

    def _kinds(self, root: Value) -> None:
        """What the specification says of the other fields, and the reference does not check."""
        for key in ("license", "allowed-tools"):
            value = root.entries.get(key)
            if value is not None and (value.kind != "text" or not value.text.strip()):
                problem = "is empty" if value.kind == "text" else "is not one text"
                self._add_at("value-format", key, value, problem, "write one text, or remove it")
        metadata = root.entries.get("metadata")
        if metadata is not None and metadata.kind != "map":
            self._add_at("value-format", "metadata", metadata, "is not a map", "write one `key: value` a line below it")
        elif metadata is not None:
            nested = [(key, value) for key, value in metadata.entries.items() if value.kind != "text"]
            for key, value in nested[:MAX_LISTED]:
                self._add_at("value-format", f"metadata.{key}", value, "is not text", "write texts, and nest nothing")


def _line_of_dashes(text: str, start: int) -> int | None:
    """Where the first line after `start` begins that is `---` and nothing else."""
    at = text.find("\n" + _DASHES, start)
    while at >= 0:
        end = text.find("\n", at + 1)
        if not text[at + 1 + len(_DASHES) : end if end >= 0 else len(text)].strip():
            return at + 1
        at = text.find("\n" + _DASHES, at + 1)
    return None
