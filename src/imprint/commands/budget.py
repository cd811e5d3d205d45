"""`imprint skills budget`: what each skill costs in tokens, and how much of a library fits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imprint.commands.console import ALL, Folder, Json, Lenient, console, emit, grid, say
from imprint.errors import CheckpointError, PolicyError

if TYPE_CHECKING:
    from imprint.skills.skill import Skill


def budget(
    folder: Folder = "household",
    model: Annotated[
        str, typer.Option(help="Whose tokens: `imprint-tiny`, a folder with a tokenizer, or a hub name.")
    ] = "imprint-tiny",
    context: Annotated[
        int | None, typer.Option(min=1, help="Tokens in all.  [default: the tokenizer's limit]", show_default=False)
    ] = None,
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="How much of the context skills may take.")] = 0.5,
    helpfulness: Annotated[
        Path | None,
        typer.Option(
            help="Most helpful first, by this file from `imprint skills helpfulness --out`; skills that it does not "
            "measure come last.  [default: the library's order]",
            show_default=False,
        ),
    ] = None,
    lenient: Lenient = False,
    as_json: Json = False,
) -> None:
    """Show what skills cost in the context: each whole page against its description alone, and how many fit.

    Example: `imprint skills budget my-skills --model Qwen/Qwen3-8B --context 32768 --share 0.25`
    """
    from imprint.measurement.token_cost import costs, fitting
    from imprint.models.counting import token_counter
    from imprint.skills.library import load_library

    library, counter = load_library(folder, lenient=lenient), token_counter(model)
    size = context or counter.context
    if size is None:
        raise PolicyError("has no known context length", where=model, key="--context", hint="give --context")
    limit = int(size * share)
    found = costs(ordered(library.skills, helpfulness), counter.count, counter.style)
    fit_pages = fitting([cost.pages_so_far for cost in found], limit)
    fit_lines = fitting([cost.descriptions_so_far for cost in found], limit)
    if as_json:
        content: dict[str, Any] = {"model": model, "style": counter.style, "context": size, "limit": limit}
        content |= {"pages_that_fit": fit_pages, "descriptions_that_fit": fit_lines}
        emit(json.dumps({**content, "skills": [cost.to_record() for cost in found]}, indent=1) + "\n")
        return
    rows: list[list[object]] = [
        [cost.skill, *_figures(cost.description, cost.page, cost.pages_so_far), "yes" if place < fit_pages else "no"]
        for place, cost in enumerate(found)
    ]
    total = found[-1]
    rows.append([ALL, *_figures(total.descriptions_so_far, total.pages_so_far, total.pages_so_far), ""])
    header = ["skill", "description", "page", "pages so far", "fits"]
    console().print(grid(f"Tokens of {model} in the {counter.style} context", header, rows))
    say(
        f"{limit:,} tokens ({share:.0%} of {size:,}) hold {fit_pages} of {len(found)} pages or {fit_lines} descriptions"
    )


def ordered(skills: Sequence[Skill], helpfulness: Path | None) -> list[Skill]:
    """The skills as they are, or the most helpful first (ties by name).

    Raises:
        CheckpointError: the file holds no figures of `imprint skills helpfulness`.
    """
    from imprint.support.files import read_text

    if helpfulness is None:
        return list(skills)
    try:
        rows = json.loads(read_text(helpfulness))["skills"]
        points = {row["skill"]: float(row["evidence"]["helpfulness"]) for row in rows if row["family"] == ALL}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise CheckpointError(
            "holds no figures of skills",
            where=helpfulness,
            hint="make it with `imprint skills helpfulness ... --out FILE`",
        ) from error
    lowest = float("-inf")
    return sorted(skills, key=lambda skill: (-points.get(skill.name, lowest), skill.name))


def _figures(*tokens: int) -> list[object]:
    return [f"{count:,}" for count in tokens]
