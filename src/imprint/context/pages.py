"""Skills and exemplars as the text that a policy reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from imprint.skills.skill import Skill
from imprint.types import Exemplar, StepResult

TEMPLATES = Path(__file__).parent / "templates"


def load_templates(style: str, own: Path | None = None) -> Environment:
    """The templates of a style: those of a world's `own` folder, and ours where it has none."""
    folders = [folder / style for folder in (own, TEMPLATES) if folder is not None]
    return Environment(
        loader=FileSystemLoader(folders), undefined=StrictUndefined, autoescape=False, keep_trailing_newline=False
    )


def sources(templates: Environment, names: Iterable[str]) -> list[str]:
    """The texts of templates."""
    assert templates.loader is not None
    return [templates.loader.get_source(templates, name)[0] for name in names]


def render_pages(templates: Environment, skills: Sequence[Skill]) -> str:
    """The pages of `skills`, one after the other."""
    template = templates.get_template("skill.j2")
    return "".join(
        template.render(name=skill.name, description=skill.description, body=skill.body.strip()) + "\n\n"
        for skill in skills
    )


def render_exemplars(templates: Environment, exemplars: Sequence[Exemplar]) -> str:
    """The exemplars, one after the other; without any, nothing at all is asked of the templates."""
    return "".join(
        templates.get_template("exemplar.j2").render(first_observation=one.first_observation, steps=one.steps) + "\n\n"
        for one in exemplars
    )


def render_result(templates: Environment, name: str, result: StepResult, *, show_admissible: bool) -> str:
    """What the world answered, by the template `name`."""
    admissible = result.admissible if show_admissible else ()
    return templates.get_template(name).render(observation=result.observation, admissible=admissible)
