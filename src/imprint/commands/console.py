"""What the commands share: consoles, options, tables, and how a model or run is named."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from contextvars import ContextVar
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from imprint.measurement.naming import COLUMNS, ordered, spelled

Folder = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER", help="A folder of SKILL.md folders, or the name of an installed library: `household` is ours."
    ),
]
Lenient = Annotated[
    bool, typer.Option("--lenient", help="Read skills as real clients do: unknown keys, loose YAML, free names, ...")
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY.SUB=VALUE",
        help="Change a recipe key, e.g. `--set rollout.tasks=8`. May be repeated; `imprint train --keys` lists them.",
    ),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="An OpenAI-compatible server that has the model, e.g. http://localhost:8000/v1; further settings as "
        "`--set endpoint.api_key_env=NAME`. Needs `pip install 'imprint[openai]'`.",
        show_default=False,
    ),
]
Trusted = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="SKILL",
        help="Use this skill in spite of its severe findings; read it first. May be repeated.",
        show_default=False,
    ),
]
# Control characters, and those that reorder or hide text without being seen.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


def _only_json(context: typer.Context, wanted: bool) -> bool:
    """Keep standard output for the document: what worlds and libraries print there goes to standard error."""
    if wanted:
        token = _document.set(sys.stdout)
        context.call_on_close(lambda: _document.reset(token))
        context.with_resource(redirect_stdout(sys.stderr))
    return wanted


_document: ContextVar[TextIO | None] = ContextVar("document", default=None)  # the standard output that --json keeps
Json = Annotated[
    bool,
    typer.Option(
        "--json", callback=_only_json, help="Print one JSON document in place of the table (docs/manual/reports.md)."
    ),
]
ALL = "all"


def console(*, stderr: bool = False) -> Console:
    """A console made when it is needed, so that redirected output goes where it should."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = 120  # a file or pipe has no width of its own, and tables should not be squeezed for it
    return made


def plain(text: object) -> str:
    """Untrusted text without the control characters that could move a terminal's cursor or hide words."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text))


def say(text: object = "", *, stderr: bool = False) -> None:
    """Print text as it is: no markup, no wrapping, no control characters."""
    console(stderr=stderr).print(plain(text), markup=False, soft_wrap=True)


def document(kind: str, content: Mapping[str, Any]) -> str:
    """A command's result as a JSON document. Keys may be added in later versions; those that are there stay."""
    return json.dumps({"format": f"imprint.{kind}", "version": 1, **content}, indent=1, allow_nan=False) + "\n"


def emit(text: str) -> None:
    """Print a command's JSON where `--json` has kept everything else away."""
    typer.echo(text, file=_document.get(), nl=False)


def grid(
    title: str, header: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "", words: int = 1
) -> Table:
    """A table whose first `words` columns are words and the others figures; nothing in it is read as markup."""
    table = Table(
        title=Text(plain(title)),
        title_justify="left",
        caption=Text(caption) if caption else None,
        caption_justify="left",
    )
    for place, name in enumerate(header):
        longest = max((len(str(row[place])) for row in rows), default=0)
        least = min(longest, 16) if place == 0 else None  # in a narrow terminal the name is not what should go
        table.add_column(
            Text(plain(name)), justify="left" if place < words else "right", overflow="fold", min_width=least
        )
    for row in rows:
        style = "bold" if row and row[0] == ALL else None
        table.add_row(*(Text(plain(cell)) for cell in row), style=style)
    return table


def success_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """Success and context tokens by family and condition, from `Evaluation` records (the last of each counts)."""
    cells = {(row["family"], row["arm"]): row for row in rows}
    families = sorted({family for family, _ in cells}, key=lambda family: (family == ALL, family))
    arms = ordered((arm for _, arm in cells), first=COLUMNS)
    body = [
        [
            family.replace("_", " "),
            *(_success(cells.get((family, arm))) for arm in arms),
            *(_tokens(cells.get((family, arm))) for arm in arms),
        ]
        for family in families
    ]
    header = ["tasks", *(f"success {spelled(arm)}" for arm in arms), *(f"tokens/turn {arm}" for arm in arms)]
    counts = sorted({int(row["episodes"]) for row in rows if row["family"] == ALL})
    caption = f"[...]: 95% (Wilson); {' or '.join(map(str, counts))} episodes a condition" if counts else ""
    return grid(title, header, body, caption)


def _success(row: Mapping[str, Any] | None) -> str:
    from imprint.support.stats import wilson

    if row is None or not row["episodes"]:
        return "–"
    found = wilson(int(row["successes"]), int(row["episodes"]))
    return f"{found.estimate:.1%} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _tokens(row: Mapping[str, Any] | None) -> str:
    if row is None or row.get("context_tokens") is None:
        return "–"
    read, as_text = row["context_tokens"], row.get("text_tokens")
    return f"{read:,.0f}" + ("" if as_text in (None, read) else f" (as text {as_text:,.0f})")
