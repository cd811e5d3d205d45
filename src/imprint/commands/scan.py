"""`imprint skills scan`: what skills do that their reader should know, before anything of them runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imprint.commands.console import console, grid, say
from imprint.commands.judge import JudgeEndpoint, JudgeKey, JudgeModel, chosen_judge
from imprint.errors import LibraryError

if TYPE_CHECKING:
    from imprint.security.scan.report import SkillReport

CHUNK = 8  # skills that a worker takes at once


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


class FailOn(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NEVER = "never"


def scan(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Skill folders, trees of them, or installed libraries.")
    ],
    format: Annotated[Format, typer.Option(help="How to print the findings.")] = Format.TEXT,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write there instead of printing.", show_default=False)
    ] = None,
    fail_on: Annotated[FailOn, typer.Option(help="Status 1 from this severity on.")] = FailOn.HIGH,
    jobs: Annotated[int, typer.Option(min=1, help="Processes to scan with.")] = 1,
    judge_endpoint: JudgeEndpoint = None,
    judge_model: JudgeModel = None,
    judge_key_env: JudgeKey = None,
) -> None:
    """Scan skills for the fourteen published security patterns; status 1 from severity high on (`--fail-on`).

    All files are read, archives and Office files too; nothing of a skill is ever run.

    Example: `imprint skills scan ~/.claude/skills --format sarif --output scan.sarif`
    """
    from imprint.security.scan.report import Severity

    judge = chosen_judge(judge_endpoint, judge_model, judge_key_env)
    reports = sorted(_scan(_units(paths), jobs), key=lambda report: str(report.path))
    if judge is not None:
        from imprint.security.judge import judge_all

        reports = judge_all(reports, judge)
    text = {Format.TEXT: _text, Format.JSON: _json, Format.SARIF: _sarif}[format](reports)
    if output is not None:
        from imprint.support.files import atomic_write

        atomic_write(output, text + "\n")
        say(_summary(reports), stderr=True)
    elif format is Format.TEXT:
        _print_table(reports)
        say(text)
    else:
        print(text)
    if fail_on is not FailOn.NEVER and any(report.severity >= Severity.of(fail_on) for report in reports):
        raise typer.Exit(1)


def _units(paths: Iterable[str]) -> list[Path]:
    from imprint.security.scan.scanner import scan_units
    from imprint.skills.installed import path_or_library

    found: dict[Path, None] = {}
    for path in map(path_or_library, paths):
        units = scan_units(path)
        if not units:
            raise LibraryError(
                "holds no skill", where=path, hint="a skill is a folder with a SKILL.md or .mcp.json in it"
            )
        found |= dict.fromkeys(units)
    return list(found)


def _scan(folders: list[Path], jobs: int) -> Iterator[SkillReport]:
    from imprint.security.scan.scanner import scan_skill
    from imprint.support.progress import Progress

    with Progress("scan", quiet=len(folders) < 50) as progress:
        progress.begin(len(folders))
        if jobs == 1:
            for folder in folders:
                yield scan_skill(folder)
                progress.advance()
            return
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(jobs) as workers:
            for report in workers.map(scan_skill, folders, chunksize=CHUNK):
                yield report
                progress.advance()


def _print_table(reports: list[SkillReport]) -> None:
    rows = [[report.name, report.severity.word, len(report.findings), len(report.errors)] for report in reports]
    console().print(grid(_summary(reports), ["skill", "severity", "findings", "not parsed"], rows, words=2))


def _summary(reports: list[SkillReport]) -> str:
    from imprint.security.scan.report import Severity

    counts = [(level, sum(report.severity is level for report in reports)) for level in reversed(Severity)]
    counted = ", ".join(f"{count} {level.word}" for level, count in counts if count)
    return f"{len(reports)} skill{'' if len(reports) == 1 else 's'}: {counted}"


def _text(reports: list[SkillReport]) -> str:
    lines = []
    for report in reports:
        if report.findings or report.errors:
            lines.append(f"\n{report.path}")
        for finding in report.findings:
            place = f"{finding.file}:{finding.line}" if finding.line else finding.file
            lines += [f"  {finding.severity.word:8} {finding.rule}  {place}", f"           {finding.why}"]
            lines += [f"           > {finding.evidence}"] if finding.evidence else []
        lines += [f"  not parsed: {error}" for error in report.errors]
    return "\n".join(lines)


def _json(reports: list[SkillReport]) -> str:
    return json.dumps({"skills": [report.to_json() for report in reports]}, indent=1)


def _sarif(reports: list[SkillReport]) -> str:
    from imprint import __version__
    from imprint.security.scan.report import Severity
    from imprint.security.scan.rules import all_rules
    from imprint.support.sarif import Result, Rule, sarif, uri

    levels: dict[Severity, Any] = {Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning"}
    scores = {Severity.CRITICAL: "9.5", Severity.HIGH: "8.0", Severity.MEDIUM: "5.0", Severity.LOW: "2.0"}
    rules = [
        Rule(
            rule.id,
            rule.name,
            rule.why,
            f"It {rule.why}. Pattern {rule.id.partition('-')[0]}.",
            levels.get(rule.severity, "note"),
            {"security-severity": scores[rule.severity], "tags": ["security"]},
        )
        for rule in all_rules()
    ]
    results = [
        Result(
            finding.rule,
            levels.get(finding.severity, "note"),
            f"{finding.why}: {finding.evidence}",
            uri(report.path / finding.file.partition("!")[0]),
            max(1, finding.line),
        )
        for report in reports
        for finding in report.findings
    ]
    return json.dumps(sarif("imprint-skills-scan", __version__, rules, results), indent=1)
