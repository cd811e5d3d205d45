"""Every rule finds its own examples and leaves its counter-examples alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imprint.security.scan.code import CodeScan, judge_events, judge_text
from imprint.security.scan.documents import Document
from imprint.security.scan.prose import scan_prose
from imprint.security.scan.report import Finding, Severity
from imprint.security.scan.rules import Rule, all_rules, load_rules

PATTERNS = {"P1", "P2", "P3", "P4", "E1", "E2", "E3", "E4", "PE1", "PE2", "PE3", "SC1", "SC2", "SC3"}
EXAMPLES = [
    pytest.param(rule, example, wanted, id=f"{rule.id}-{'match' if wanted else 'pass'}-{number}")
    for rule in all_rules()
    for wanted, examples in ((True, rule.match), (False, rule.passes))
    for number, example in enumerate(examples)
]


def findings(rule: Rule, example: Any) -> list[Finding]:
    role = next(iter(rule.roles), "page" if rule.kind == "prose" else "file")
    if rule.kind == "prose":
        return list(scan_prose(Document("SKILL.md", 1, "prose", example, role)))
    language, text = next(iter(example.items())) if isinstance(example, dict) else ("shell", example)
    document = Document("run", 1, language, text, role)
    if rule.kind == "code":
        return list(judge_text(document))
    return [finding for _, finding in judge_events(CodeScan().analyse([document]))]


@pytest.mark.parametrize(("rule", "example", "wanted"), EXAMPLES)
def test_examples(rule: Rule, example: Any, wanted: bool) -> None:
    # A sentence that describes an attack may stay in the report, but with no weight.
    found = [finding for finding in findings(rule, example) if finding.rule == rule.id]
    grave = [finding for finding in found if finding.severity >= max(rule.severity, Severity.LOW)]
    if wanted:
        assert grave, [(finding.rule, finding.severity) for finding in findings(rule, example)]
    else:
        assert not grave


def test_every_rule_has_examples_and_a_published_pattern() -> None:
    for rule in all_rules():
        assert rule.id.partition("-")[0] in PATTERNS
        assert rule.why and not rule.why.endswith(".")
        if rule.kind != "files":
            assert rule.match and rule.passes, rule.id
    assert {rule.id.partition("-")[0] for rule in all_rules()} == PATTERNS


def test_ids_are_unique() -> None:
    listed = [rule.id for rules in load_rules().values() for rule in rules]
    assert len(listed) == len(set(listed))


def test_the_documentation_lists_every_rule() -> None:
    page = (Path(__file__).parent.parent / "docs" / "manual" / "scan.md").read_text(encoding="utf-8")
    for rule in all_rules():
        elsewhere = "".join(f" ({role}: {severity.word})" for role, severity in rule.by_role.items())
        assert f"| `{rule.id}` | {rule.severity.word}{elsewhere} | {rule.kind} | {rule.why} |" in page
