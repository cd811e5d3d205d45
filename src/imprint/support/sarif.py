"""SARIF 2.1.0: findings in files, as code scanning services and editors read them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal
from urllib.parse import quote

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a tool looks for.

    Attributes:
        id: what results refer to, e.g. `name-folder`; never changes its meaning.
        name: a few words, in CamelCase by custom.
        short: one sentence: what is wrong.
        help: what it means and how to fix it, Markdown.
        level: of its results, unless they say otherwise.
        properties: what a service wants beside (`tags`, `precision`, `security-severity`).
    """

    id: str
    name: str
    short: str
    help: str
    level: Level = "warning"
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """One finding.

    Attributes:
        rule: the id of its rule.
        level: how bad it is.
        message: what is wrong here, plain text.
        uri: the file, as `uri` gives it.
        line: counted from 1; 1 for a finding about the file as a whole.
    """

    rule: str
    level: Level
    message: str
    uri: str
    line: int = 1


def sarif(tool: str, version: str, rules: Sequence[Rule], results: Sequence[Result]) -> dict[str, Any]:
    """One run of a version of `tool`, ready for `json.dumps`.

    Raises:
        ValueError: a result refers to a rule that is not there, or two rules share an id.
    """
    index = {rule.id: place for place, rule in enumerate(rules)}
    if len(index) < len(rules):
        raise ValueError("two rules share an id")
    unknown = next((result.rule for result in results if result.rule not in index), None)
    if unknown is not None:
        raise ValueError(f"no rule is called {unknown!r}")
    driver = {"name": tool, "version": version, "rules": [_rule(rule) for rule in rules]}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints"}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{**run, "results": [_result(result, index[result.rule]) for result in results]}],
    }


def uri(path: PurePath, base: PurePath | None = None) -> str:
    """`path` relative to `base` (the current folder), percent-encoded; a `file:` URI if it is not below it.

    Services match relative ones with the files of a repository, so that the tool should run at its root.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links stay: the user should see the path that was given
    origin = Path(os.path.abspath(base or Path.cwd()))  # noqa: PTH100
    if not absolute.is_relative_to(origin):
        return "file://" + quote(os.fsencode(absolute.as_posix()))
    return quote(os.fsencode(absolute.relative_to(origin).as_posix()))


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": unicode_text(rule.short)},
        "fullDescription": {"text": unicode_text(rule.short)},
        "help": {"text": unicode_text(rule.help), "markdown": unicode_text(rule.help)},
        "defaultConfiguration": {"level": rule.level},
        **({"properties": dict(rule.properties)} if rule.properties else {}),
    }


def _result(result: Result, rule_index: int) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": result.uri}, "region": {"startLine": max(1, result.line)}}
    return {
        "ruleId": result.rule,
        "ruleIndex": rule_index,
        "level": result.level,
        "message": {"text": unicode_text(result.message)},
        "locations": [{"physicalLocation": place}],
    }


def unicode_text(text: str) -> str:
    """Text that is Unicode: a file's name may hold half a character, and strict readers refuse the whole report."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
