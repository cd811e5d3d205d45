"""One document of code: parsed in its language, its trace and its raw text held against the rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from imprint.security.scan.behaviour import FETCHED, Event, Trace, Value
from imprint.security.scan.documents import Document, is_shell_like
from imprint.security.scan.javascript_code import analyse_javascript
from imprint.security.scan.names import is_installer, package_lookalike
from imprint.security.scan.python_code import PythonModule, parse_python
from imprint.security.scan.report import Finding, Severity, evidence
from imprint.security.scan.rules import Rule, load_rules, rule
from imprint.security.scan.shell_code import analyse_shell

MAX_SHELL = 300_000
MAX_INLINE = 200
_INSTALLS = re.compile(
    r"^(?:sudo )?(?:npx|npm (?:i|install|exec)|pnpm (?:add|dlx)|yarn (?:add|dlx)|bunx?|pip3? install|"
    r"uv pip install|uv add|uvx|pipx run)\b(.*)"
)


@dataclass(slots=True)
class CodeScan:
    """The code of one skill, whose files know each other's functions and what the others wrote."""

    files: dict[str, frozenset[str]] = field(default_factory=dict)
    modules: dict[str, PythonModule] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    inlined: int = 0

    def analyse(self, documents: list[Document]) -> list[tuple[Document, Event]]:
        """What all of them do. Python files first learn of each other; two rounds, so that files written late count."""
        traces: list[tuple[Document, Trace]] = []
        runs = []
        for document in documents:
            trace = Trace(self.files)
            traces.append((document, trace))
            if document.language == "python":
                module = self._module(document, trace)
                if module is not None:
                    runs.append(module.analyse)
                elif document.role == "block" and is_shell_like(document.text):  # a fence that names the wrong language
                    runs.append(lambda document=document, trace=trace: self.shell(document.text, trace, document.line))  # type: ignore[misc]
            elif document.language == "javascript":
                runs.append(lambda document=document, trace=trace: self.javascript(document.text, trace, document.line))  # type: ignore[misc]
            elif document.language == "shell":
                runs.append(lambda document=document, trace=trace: self.shell(document.text, trace, document.line))  # type: ignore[misc]
        for run in runs:
            run()
        return [(document, event) for document, trace in traces for event in dict.fromkeys(trace.events)]

    def _module(self, document: Document, trace: Trace) -> PythonModule | None:
        try:
            tree = parse_python(document.text)
        except SyntaxError as error:
            if document.role == "file":
                self.errors.append(f"{document.file}:{error.lineno or 1}: is not Python that parses")
            return None
        module = PythonModule(
            tree,
            trace,
            lambda *found: self.inline(trace, *found),
            document.line,
            self.modules if document.role == "file" else {},
        )
        if document.role == "file":
            self.modules[document.file.rpartition("/")[2].removesuffix(".py")] = module
        return module

    def shell(self, text: str, trace: Trace, line: int, unknown: frozenset[str] | None = None) -> None:
        analyse_shell(
            text[:MAX_SHELL],
            trace,
            first_line=line,
            unknown=unknown,
            inline=lambda language, code, at: self.inline(trace, language, code, at, frozenset()),
        )

    def javascript(self, text: str, trace: Trace, line: int) -> None:
        analyse_javascript(text[:MAX_SHELL], trace, lambda *found: self.inline(trace, *found), line)

    def inline(self, trace: Trace, language: str, text: str, line: int, labels: frozenset[str]) -> None:
        """Code inside a string of other code."""
        self.inlined += 1
        if self.inlined > MAX_INLINE:
            return
        if language == "javascript":
            self.javascript(text, trace, line)
        elif language == "shell":
            self.shell(re.sub(r"\$\{(\w+)\}", r"${\1}", text), trace, line, labels)
        elif language == "python":
            try:
                tree = parse_python(text)
            except SyntaxError:
                return
            module = PythonModule(tree, trace, lambda *found: self.inline(trace, *found), line)
            module.globals["__labels__"] = Value(labels)
            module.analyse()


def judge_events(events: list[tuple[Document, Event]], lenient: bool = False) -> Iterator[tuple[Document, Finding]]:
    """The findings that the rules for flows and commands make of events; `lenient` with code that pages show."""
    rules = load_rules()
    for document, event in events:
        if event.sink in ("command", "write"):
            yield from ((document, finding) for finding in _judge_command(rules["commands"], document, event, lenient))
        if event.sink == "command":
            continue
        for flow in rules["flows"]:
            if flow.fits(event, document.role):
                finding = _finding(flow, document, event.line, f"{event.sink} {event.text}", lenient)
                known = flow.id == "SC2-fetch-and-run" and _known_source(event)
                yield document, replace(finding, severity=finding.severity.lowered(1)) if known else finding


def judge_text(document: Document, lenient: bool = False) -> Iterator[Finding]:
    """The findings of the rules for raw code."""
    lower = document.text.lower()
    for raw in load_rules()["code"]:
        if raw.pattern is None or not raw.may_match(lower):
            continue
        for found in raw.pattern.finditer(document.text):
            line = document.line + document.text.count("\n", 0, found.start())
            begin, end = document.text.rfind("\n", 0, found.start()) + 1, document.text.find("\n", found.end())
            yield _finding(raw, document, line, document.text[begin : end if end >= 0 else None], lenient)


def _judge_command(rules: tuple[Rule, ...], document: Document, event: Event, lenient: bool) -> Iterator[Finding]:
    for found in rules:
        if found.roles and document.role not in found.roles:
            continue
        if (
            found.pattern is None
            or not found.pattern.search(event.text)
            or (found.unless and found.unless.search(event.text))
        ):
            continue
        yield _finding(found, document, event.line, event.text, lenient)
    installs = _INSTALLS.match(event.text)
    for word in installs.group(1).split() if installs else ():
        imitated = None if word.startswith("-") else package_lookalike(word)
        if imitated is not None:
            yield _finding(rule("SC1-lookalike-name"), document, event.line, f"{word} for {imitated}", lenient)


def _known_source(event: Event) -> bool:
    """Whether all that is run was fetched from where well-known projects publish their installers."""
    sources = [label.partition(":")[2] for label in event.labels if label.startswith(FETCHED)]
    return bool(sources) and all(map(is_installer, sources))


def _finding(rule: Rule, document: Document, line: int, text: str, lenient: bool) -> Finding:
    severity = rule.severity_in(document.role)
    if severity > Severity.LOW and (document.about_bad or (lenient and document.role in ("block", "inline"))):
        severity = severity.lowered(2)
    return Finding(rule.id, severity, document.file, line, evidence(text), rule.why)
