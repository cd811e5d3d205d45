"""`imprint skills validate`: what is wrong with skills, for people, for programs and for code scanning."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imprint.commands.console import say
from imprint.errors import ImprintError, LibraryError, RecipeError, SkillError

if TYPE_CHECKING:
    from imprint.skills.skill import Skill
    from imprint.skills.validate.issue import Issue, ValidationReport

OURS = "household"
TOOL = "imprint skills validate"


class Format(StrEnum):
    TEXT, JSON, SARIF = "text", "json", "sarif"


def validate(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Skill folders, SKILL.md files, folders with skills at any depth, or installed libraries.  "
            "[default: household, ours]",
            show_default=False,
        ),
    ] = None,
    format: Annotated[Format, typer.Option(help="For people, for programs, or for code scanning.")] = Format.TEXT,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file.", show_default=False)] = None,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="What real clients accept is a warning: unknown keys, loose YAML, ...")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    env: Annotated[
        str | None,
        typer.Option(
            help="Check too that each task of this world has a skill and each skill a task, e.g. household.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Check the skills of this recipe, with its world, and what it maps and leaves out.", show_default=False
        ),
    ] = None,
) -> None:
    """Check skills against the agentskills.io specification: its reference library's verdict, and more as warnings.

    Status 0: valid; 1: there are errors; 2: a path cannot be read or an option is mistaken.

    Example: `imprint skills validate my-skills .claude/skills --format sarif --output skills.sarif`
    """
    from imprint.skills.validate.spec import same_names
    from imprint.skills.validate.spec import validate as report_on
    from imprint.support.files import atomic_write

    if recipe is None:
        roots = [_root(path) for path in paths or [OURS]]
        folders = _folders(roots)
        unfit = [] if env is None else _unfit(folders, roots[0], env, lenient=lenient)
    elif paths or env:
        raise RecipeError("gives skills and world too", key="--recipe", hint="leave out PATH and --env, or --recipe")
    else:
        folders, unfit, lenient = _of_recipe(recipe, lenient=lenient)
    reports = same_names([report_on(folder, lenient=lenient) for folder in folders])
    issues = [*(issue for report in reports for issue in report.issues), *unfit]
    text = {
        Format.TEXT: lambda: _text(reports, issues),
        Format.JSON: lambda: json.dumps(_json(reports, issues, lenient=lenient), indent=1) + "\n",
        Format.SARIF: lambda: json.dumps(_sarif(issues), indent=1) + "\n",
    }[format]()
    if output is None:
        say(text.rstrip("\n"))
    else:
        atomic_write(output, text)
    errors = sum(issue.level == "error" for issue in issues)
    warnings = len(issues) - errors
    if format is not Format.TEXT or output is not None or issues:
        skills = _count(len(reports), "skill")
        say(f"{_count(errors, 'error')} and {_count(warnings, 'warning')} in {skills}", stderr=True)
    if errors or (strict and warnings):
        raise typer.Exit(1)


def _root(path: str) -> Path:
    """The folder that a path names; a page names its own."""
    from imprint.skills.installed import path_or_library
    from imprint.skills.skill import FILE_NAMES

    found = path_or_library(path)
    if found.name.lower() == FILE_NAMES[1] and not found.is_dir():
        return found.parent
    return found


def _folders(roots: Sequence[Path]) -> list[Path]:
    """The skills at and under the paths, each once: what a library at a path would be read from, links included."""
    from imprint.skills.reading import skill_folders
    from imprint.skills.tree import find_skills

    folders: dict[str, Path] = {}
    for root in roots:
        found = find_skills(root)
        for folder in found if root in found else skill_folders(root):
            folders.setdefault(str(folder.absolute()), folder)
    return list(folders.values())


def _unfit(folders: Sequence[Path], root: Path, env: str, *, lenient: bool) -> list[Issue]:
    """What does not fit between the skills that can be read, as one library, and the tasks of a world."""
    from imprint.envs.base import make_world
    from imprint.skills.group_file import with_groups
    from imprint.skills.reading import examine, unfit

    found = [skill for folder in folders if (skill := examine(folder, lenient=lenient)[0]) is not None]
    problems: list[ImprintError] = []
    try:
        found = with_groups(found, root, [folder.name for folder in folders])
    except LibraryError as error:
        problems.append(error)
    problems += unfit(found, make_world(env).categories, unread=len(folders) - len(found))
    return [*_issues(problems, root), *_silent(found, root)]


def _of_recipe(path: Path, *, lenient: bool) -> tuple[list[Path], list[Issue], bool]:
    """The skill folders that a recipe does not leave out, what does not fit in all, and whether it reads leniently."""
    from imprint.envs.base import make_world
    from imprint.recipe import load_recipe
    from imprint.skills.reading import read_skills

    recipe = load_recipe(path)
    lenient = lenient or recipe.lenient
    categories = make_world(recipe.env.name, **recipe.env.options).categories
    found = read_skills(recipe.skills, lenient=lenient, categories=categories)
    root = Path(found.where or path)
    problems = [problem for problem in found.problems if not isinstance(problem, SkillError)]  # these are validated
    return found.read, [*_issues(problems, root), *_silent(found.skills, root)], lenient


def _issues(problems: Sequence[ImprintError], root: Path) -> list[Issue]:
    from imprint.skills.validate.issue import issue

    return [
        issue("env-tasks", error.problem, Path(error.where or root), error.line, error.key, error.hint)
        for error in problems
    ]


def _silent(skills: Sequence[Skill], root: Path) -> list[Issue]:
    """A note about the skills that do not say which tasks they serve."""
    from imprint.skills.validate.issue import issue

    silent = [skill.name for skill in skills if not skill.named_tasks]
    if not silent:
        return []
    problem = f"{_count(len(silent), 'skill')} of {len(skills)} serve every task, for no tasks are named: "
    hint = "name them in metadata.tasks, or in the recipe: `skills: {path: ..., tasks: {NAME: [FAMILY, ...]}}`"
    return [issue("tasks-unnamed", problem + ", ".join(silent[:5]) + ", ..." * (len(silent) > 5), root, hint=hint)]


def _text(reports: Sequence[ValidationReport], issues: Sequence[Issue]) -> str:
    from imprint.skills.front import printable

    own = {id(issue) for report in reports for issue in report.issues}
    lines = []
    for report in reports:
        lines += [issue.describe() for issue in report.issues]
        if report.valid:
            lines.append(f"{printable(Path(os.path.abspath(report.folder)).name)}: valid")  # noqa: PTH100 - as it is called
    lines += [issue.describe() for issue in issues if id(issue) not in own]
    return "\n".join(lines)


def _json(reports: Sequence[ValidationReport], issues: Sequence[Issue], *, lenient: bool) -> dict[str, Any]:
    from imprint import __version__

    own = {id(issue) for report in reports for issue in report.issues}
    errors = sum(issue.level == "error" for issue in issues)
    return {
        "version": 1,
        "tool": {"name": TOOL, "version": __version__},
        "lenient": lenient,
        "summary": {
            "skills": len(reports),
            "valid": sum(report.valid for report in reports),
            "errors": errors,
            "warnings": len(issues) - errors,
        },
        "skills": [
            {
                "path": _sound(str(report.folder)),
                "name": _sound(report.name),
                "valid": report.valid,
                "findings": [_record(issue) for issue in report.issues],
            }
            for report in reports
        ],
        "others": [_record(issue) for issue in issues if id(issue) not in own],
    }


def _record(issue: Issue) -> dict[str, Any]:
    return {
        "rule": issue.rule,
        "level": issue.level,
        "message": _sound(issue.problem),
        "hint": _sound(issue.hint),
        "mend": _sound(issue.hint),  # the key's old name, for one release
        "file": _sound(str(issue.file)),
        "line": issue.line,
        "key": _sound(issue.key),
    }


def _sound(text: str | None) -> str | None:
    from imprint.support.sarif import unicode_text

    return None if text is None else unicode_text(text)


def _sarif(issues: Sequence[Issue]) -> dict[str, Any]:
    from imprint import __version__
    from imprint.skills.validate.rules import RULES
    from imprint.support.sarif import Result, sarif, uri

    results = [
        Result(
            issue.rule,
            issue.level,
            "".join(
                [
                    f"{issue.key}: " if issue.key else "",
                    issue.problem,
                    f"; {issue.hint}" if issue.hint else "",
                ]
            ),
            uri(issue.file),
            issue.line or 1,
        )
        for issue in issues
    ]
    return sarif(TOOL, __version__, list(RULES.values()), results)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
