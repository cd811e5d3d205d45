"""One document of code: parsed in its language, its trace and its raw text held against the rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from imprint.skills.scan.behaviour import Event, Trace, Value
from imprint.skills.scan.documents import Document
from imprint.skills.scan.python_code import PythonModule, parse_python
from imprint.skills.scan.report import Finding, Severity, evidence
from imprint.skills.scan.rules import Rule, load_rules
from imprint.skills.scan.shell_code import analyse_shell

MAX_SHELL = 300_000
MAX_INLINE = 200


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
            elif document.language == "shell":
                runs.append(lambda document=document, trace=trace: self.shell(document.text, trace, document.line))  # type: ignore[misc]
        before = {}
        for run in runs:
            run()
        del before
        return [(document, event) for document, trace in traces for event in dict.fromkeys(trace.events)]

    def _module(self, document: Document, trace: Trace) -> PythonModule | None:
        try:
            tree = parse_python(document.text)
        except SyntaxError as error:
            if document.role == "file":
                self.errors.append(f"{document.file}:{error.lineno or 1}: is not Python that parses")
            return None
        module = PythonModule(
            tree, trace, lambda *found: self.inline(trace, *found), document.line, self.modules if document.role == "file" else {}
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

    def inline(self, trace: Trace, language: str, text: str, line: int, labels: frozenset[str]) -> None:
        """Code inside a string of other code."""
        self.inlined += 1
        if self.inlined > MAX_INLINE:
            return
        if language == "shell":
            self.shell(re.sub(r"\$\{(\w+)\}", r"${\1}", text), trace, line, labels)
        elif language == "python":
            try:
                tree = parse_python(text)
            except SyntaxError:
                return
            module = PythonModule(tree, trace, lambda *found: self.inline(trace, *found), line)
            module.globals["__labels__"] = Value(labels)
            module.analyse()


def judge_events(events: list[tuple[Document, Event]]) -> Iterator[tuple[Rule, Document, Finding]]:
    """The findings that the rules for flows and commands make of events."""
    rules = load_rules()
    for document, event in events:
        if event.sink == "command":
            for rule in rules["commands"]:
                if rule.roles and document.role not in rule.roles:
                    continue
                if rule.pattern is not None and rule.pattern.search(event.text) and not (rule.unless and rule.unless.search(event.text)):
                    yield rule, document, _finding(rule, document, event.line, event.text)
            continue
        for rule in rules["flows"]:
            if rule.fits(event, document.role):
                yield rule, document, _finding(rule, document, event.line, f"{event.sink} {event.text}")


def judge_text(document: Document) -> Iterator[tuple[Rule, Document, Finding]]:
    """The findings of the rules for raw code."""
    for rule in load_rules()["code"]:
        if rule.pattern is None or (rule.roles and document.role not in rule.roles):
            continue
        for found in rule.pattern.finditer(document.text):
            line = document.line + document.text.count("\n", 0, found.start())
            begin, end = document.text.rfind("\n", 0, found.start()) + 1, document.text.find("\n", found.end())
            yield rule, document, _finding(rule, document, line, document.text[begin : end if end >= 0 else None])


def _finding(rule: Rule, document: Document, line: int, text: str) -> Finding:
    severity = rule.severity_in(document.role)
    if severity > Severity.LOW and document.about_bad:
        severity = severity.lowered(2)
    return Finding(rule.id, severity, document.file, line, evidence(text), rule.why)
