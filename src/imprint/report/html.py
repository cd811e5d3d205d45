"""What all pages share: how they are made of templates, what they may load, and how figures are written.

Everything in a run's records is untrusted text. It reaches a page in three ways: through Jinja's autoescape, through
the SVG writers' escaping, and as JSON without any `<`, which the script shows by `textContent` alone.
A Content-Security-Policy lets only the page's own script run, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files as resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from imprint import __version__
from imprint.measurement.naming import spelled
from imprint.measurement.trials import Evaluation
from imprint.report import charts
from imprint.report.summary import pretty

__all__ = ["between", "duration", "percent", "points", "render", "thousands"]

POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data:"


def render(template: str, **values: Any) -> str:
    """A page from its template, with the style and the script that all pages have."""
    script, style = _text("report.js"), _text("report.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=PackageLoader("imprint.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (between, duration, percent, points, pretty, spelled, thousands)
    environment.filters |= {function.__name__: function for function in filters}
    return environment.get_template(template).render(
        version=__version__,
        script=Markup(script),
        style=Markup(_palette_css() + style),
        policy=f"{POLICY}; script-src 'sha256-{digest}'",
        **values,
    )


def points(value: float) -> str:
    """A difference of rates in whole points, with its sign: "+12", "−3", "0"."""
    rounded = round(value * 100)
    return f"{rounded:+d}".replace("-", "−") if rounded else "0"


def between(e: Evaluation) -> str:
    """The ends of the 95% interval."""
    return f"{percent(e.interval.low)} to {percent(e.interval.high)}"


def percent(value: float) -> str:
    return f"{value:.0%}"


def thousands(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds where they are few."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min" if minutes >= 10 else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _palette_css() -> str:
    def block(palette: Mapping[str, str]) -> str:
        return "".join(f"--{name}:{colour};" for name, colour in palette.items())

    dark = f"@media(prefers-color-scheme:dark){{:root{{{block(charts.DARK)}}}}}"
    return f":root{{{block(charts.LIGHT)}}}\n{dark}\n"


def _text(name: str) -> str:
    return (resources("imprint.report") / "templates" / name).read_text(encoding="utf-8")
