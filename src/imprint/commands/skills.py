"""`imprint skills`: look at skill libraries and check them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands import banks, budget, find, groups, trust
from imprint.commands.console import Folder, Json, Lenient, console, document, emit, grid, say
from imprint.commands.helpfulness import helpfulness
from imprint.commands.scan import scan
from imprint.commands.validate import OURS, validate

if TYPE_CHECKING:
    from imprint.skills.skill import Skill

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List, check and read skills, and turn banks into skills and back.\n\nExample: `imprint skills list`",
)
app.command("helpfulness")(helpfulness)
app.command("validate")(validate)
app.command("find")(find.find)
app.command("groups")(groups.groups)
app.command("budget")(budget.budget)
app.command("trust")(trust.trust)
app.command("lock")(trust.lock)
app.command("scan")(scan)


@app.command("list")
def list_skills(folder: Folder = OURS, lenient: Lenient = False, as_json: Json = False) -> None:
    """What a library holds: each skill, the tasks it serves, and how long it is.

    Example: `imprint skills list my-skills`
    """
    from imprint.context.pages import load_templates, render_pages
    from imprint.models.counting import TINY, token_counter
    from imprint.skills.library import load_library

    library = load_library(folder, lenient=lenient)
    count, templates = token_counter(TINY).count, load_templates("plain")
    found = [
        {
            "name": skill.name,
            "description": skill.description,
            "tasks": ["*"] if skill.general else list(skill.tasks),
            "words": skill.words,
            "tokens": count(render_pages(templates, [skill])),
        }
        for skill in library.skills
    ]
    if as_json:
        emit(document("skills", {"library": folder, "tokenizer": TINY, "skills": found}))
        return
    rows = [
        [skill.name, served(skill), one["words"], f"{one['tokens']:,}"]
        for skill, one in zip(library.skills, found, strict=True)
    ]
    header = ["skill", "tasks", "words", f"tokens ({TINY})"]
    console().print(grid(f"{len(rows)} skills in {folder}", header, rows, words=2))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The skill's name.")],
    folder: Folder = OURS,
    lenient: Lenient = False,
) -> None:
    """Print a skill as it stands in the context.

    Example: `imprint skills show household-heat`
    """
    from imprint.skills.library import load_library

    library = load_library(folder, lenient=lenient)
    say(page(library[name]))


app.command("import")(banks.import_bank)
app.command("export")(banks.export_bank)


def page(skill: Skill) -> str:
    """A skill as text to read."""
    return f"# {skill.name}\n{skill.description}\n\n{skill.body.strip()}\n"


def served(skill: Skill) -> str:
    """The tasks that a skill serves, as its front matter names them."""
    return "all" if skill.general else ", ".join(skill.tasks) or "none"
