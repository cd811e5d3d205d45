"""`imprint skills`: look at skill libraries and check them."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imprint.commands import banks
from imprint.commands.helpfulness import helpfulness
from imprint.commands.scan import scan
from imprint.commands.shared import console, grid, say
from imprint.commands.validate import OURS, validate

if TYPE_CHECKING:
    from imprint.skills.skill import Skill

Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="A folder of SKILL.md folders, or `household` (ours).")]
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List, check and read skills, and turn banks into skills and back.\n\nExample: `imprint skills list`",
)
app.command("helpfulness")(helpfulness)
app.command("validate")(validate)
app.command("scan")(scan)


@app.command("list")
def list_skills(folder: Folder = OURS) -> None:
    """What a library holds: each skill, the tasks it serves, and how long it is.

    Example: `imprint skills list my-skills`
    """
    from imprint.context.pages import load_templates, render_pages
    from imprint.skills.library import load_library

    library = load_library(folder)
    count, templates = _token_counter(), load_templates("plain")
    rows = [
        [
            skill.name,
            served(skill),
            skill.words,
            *([] if count is None else [f"{count(render_pages(templates, [skill])):,}"]),
        ]
        for skill in library.skills
    ]
    header = ["skill", "tasks", "words", *([] if count is None else ["tokens (imprint-tiny)"])]
    console().print(grid(f"{len(rows)} skills in {folder}", header, rows, words=2))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The skill's name.")],
    folder: Folder = OURS,
) -> None:
    """Print a skill as it stands in the context.

    Example: `imprint skills show household-heat`
    """
    from imprint.skills.library import load_library

    library = load_library(folder)
    say(page(library[name]))


app.command("import")(banks.import_bank)
app.command("export")(banks.export_bank)


def page(skill: Skill) -> str:
    """A skill as text to read."""
    return f"# {skill.name}\n{skill.description}\n\n{skill.body.strip()}\n"


def served(skill: Skill) -> str:
    """The tasks that a skill serves, as its front matter names them."""
    return "all" if skill.general else ", ".join(skill.tasks) or "none"


def _token_counter() -> Any:
    """Counts tokens as `imprint-tiny` reads them; None where its tokenizer is not in the package."""
    place = resources.files("imprint.policy") / "tiny" / "tokenizer.json"
    if not place.is_file():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(place.read_text(encoding="utf-8"))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
