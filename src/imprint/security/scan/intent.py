"""What a skill declares that it is and may do, compared with what its code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imprint.errors import SkillError
from imprint.security.scan.behaviour import FETCHED, Event, host_of, is_local
from imprint.security.scan.documents import Document
from imprint.security.scan.names import skill_lookalike
from imprint.security.scan.report import Finding, evidence
from imprint.security.scan.rules import context, rule
from imprint.skills.front import parse_front

_SHELL = re.compile(r"(?i)\b(?:bash|shell|exec\w*|terminal|command\w*|run\w*)\b|\*")
_NETWORK = re.compile(r"(?i)\b(?:web\w*|network|http\w*|fetch|internet|browser|mcp\w*|bash|shell)\b|\*")
_NAMES_HOSTS = re.compile(r"(?i)network|hosts?|domains?|urls?|endpoints?")
_LIMIT = re.compile(r"(?i)\bdomain:([\w.*-]+)|\bhttps?://([^\s/:)\"']+)")
_BARE_HOST = re.compile(r"(?i)(?<![\w.*-])(?:\*\.)?(?:[a-z0-9-]+\.)+[a-z]{2,}(?![\w-])")
_CALLERS = frozenset({"curl", "wget", "http", "https"})
_WRITE = re.compile(r"(?i)\b(?:\w*write\w*|\w*edit\w*|bash|shell|filesystem)\b|\*")


@dataclass(slots=True)
class Intent:
    """A skill's declaration.

    Attributes:
        tools: what it declares under `allowed-tools` or `permissions`; None if it declares nothing.
        hosts: which machines those limit it to, e.g. by `WebFetch(domain:docs.example.com)`; empty sets no limit.
        strict: declared as `permissions`, which no author writes by habit.
    """

    name: str = ""
    description: str = ""
    tools: str | None = None
    hosts: frozenset[str] = frozenset()
    strict: bool = False
    lines: dict[str, int] = field(default_factory=dict)

    @property
    def about_security(self) -> bool:
        """Whether its subject is attacks, so that its pages name many."""
        return bool(context("security_topic").search(f"{self.name} {self.description}".replace("-", " ")))


def read_intent(page: Path, text: str) -> tuple[Intent, str | None]:
    """What the front matter declares, and what is wrong with it if it cannot be read."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        return Intent(), "does not start with front matter"
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), None)
    if end is None:
        return Intent(), "the front matter has no end"
    try:
        values, places = parse_front(page, "\n".join(lines[1:end]), first_line=2)
    except SkillError as error:
        return Intent(), f"line {error.line or 1}: {error.problem}"
    except RecursionError:
        return Intent(), "the front matter is nested too deeply"
    key = "permissions" if "permissions" in values else "allowed-tools"
    declared = values.get(key)
    tools = None if declared is None else _words(declared)
    names = _words(values.get("name", "")), _words(values.get("description", ""))
    return Intent(*names, tools, frozenset(_hosts(declared)), key == "permissions", places), None


def compare(
    intent: Intent, page: str, name: str, events: list[tuple[Document, Event]], documents: list[Document]
) -> Iterator[Finding]:
    """Findings where what the code does departs from what is declared."""
    imitated = skill_lookalike(name) or skill_lookalike(intent.name)
    if imitated is not None:
        yield _finding("SC1-lookalike-name", page, intent.lines.get("name", 1), f"{intent.name or name} for {imitated}")
    line = intent.lines.get("permissions", intent.lines.get("allowed-tools", 1))
    if intent.tools is not None:
        if re.search(r"(?:^|\s)\*(?:\s|$)|\bBash\(\*\)", intent.tools):
            yield _finding("PE1-everything", page, line, intent.tools)
        rule_id = "PE1-beyond" if intent.strict else "PE1-undeclared"
        for what, declared, places in _done(events, documents):
            if not declared.search(intent.tools):
                yield _finding(
                    rule_id,
                    places[0].file,
                    places[1],
                    f"{what}, declared: {intent.tools or 'nothing'}",
                )
        for host, document, at in _reached(events) if intent.hosts else ():
            if not any(_within(host, limit) for limit in intent.hosts):
                problem = f"reaches {host}, declared: {', '.join(sorted(intent.hosts))}"
                yield _finding(rule_id, document.file, at, problem)
    prose = " ".join(document.text for document in documents if document.role == "page" and document.file == page)
    for what, declared, places in _done(events, documents, scripts=True):
        if (declared is _NETWORK and context("says_offline").search(prose)) or (
            declared is _WRITE and context("says_read_only").search(prose)
        ):
            yield _finding("PE1-contradicts", places[0].file, places[1], what)


def _done(
    events: list[tuple[Document, Event]], documents: list[Document], scripts: bool = False
) -> Iterator[tuple[str, re.Pattern[str], tuple[Document, int]]]:
    """What the code does that a declaration should name, with the first place of each."""
    kinds: dict[str, tuple[str, re.Pattern[str], tuple[Document, int]]] = {}
    for document, event in events:
        if document.role not in (("file",) if scripts else ("file", "block")):
            continue
        if event.sink in ("send", "fetch"):
            kinds.setdefault("network", ("calls other machines", _NETWORK, (document, event.line)))
        elif event.sink == "command" and not event.text.startswith("python-"):
            kinds.setdefault("shell", ("runs commands", _SHELL, (document, event.line)))
        elif event.sink == "write" and document.language in ("python", "javascript"):
            kinds.setdefault("write", ("writes files", _WRITE, (document, event.line)))
    yield from kinds.values()


def _reached(events: list[tuple[Document, Event]]) -> Iterator[tuple[str, Document, int]]:
    """The machines that the code names and calls, each with its first place; this one is none."""
    seen = {""}
    for document, event in events:
        if document.role not in ("file", "block"):
            continue
        addresses = [label.partition(":")[2] for label in event.labels if label.startswith(FETCHED)]
        if event.sink in ("send", "fetch"):
            addresses.append(event.text)
        words = event.text.split()
        if event.sink == "command" and words and words[0].rpartition("/")[2] in _CALLERS:
            addresses += [word for word in words[1:] if "://" in word]
        for host in map(host_of, addresses):
            if host not in seen and not is_local(host):
                seen.add(host)
                yield host, document, event.line


def _within(host: str, limit: str) -> bool:
    """Whether a host is the declared one or a part of it; `*.example.com` has the parts only in form."""
    limit = limit.removeprefix("*.")
    return limit == "*" or host == limit or host.endswith(f".{limit}")


def _hosts(value: Any, named: bool = False) -> Iterator[str]:
    """The machines that a declaration names; a bare name counts under a key of that kind (`network: [...]`)."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _hosts(part, named or bool(_NAMES_HOSTS.fullmatch(str(key))))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _hosts(part, named)
    elif isinstance(value, str):
        yield from ((found[1] or found[2]).lower() for found in _LIMIT.finditer(value))
        if named:
            yield from (found[0].lower() for found in _BARE_HOST.finditer(value))


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_words(part) for part in value)
    if isinstance(value, dict):
        return " ".join(f"{key} {_words(part)}" for key, part in value.items())
    return str(value)


def _finding(name: str, file: str, line: int, text: str) -> Finding:
    found = rule(name)
    return Finding(name, found.severity, file, line, evidence(text), found.why)
