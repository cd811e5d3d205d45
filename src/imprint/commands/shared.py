"""What the commands share: consoles, options, tables, and how a model or run is named."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from imprint.models.served.usage import Meter
    from imprint.recipe import Recipe
    from imprint.runs.run import Run

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
    """Success and context tokens by family and arm, from `Outcome` records (the last of each counts)."""
    cells = {(row["family"], row["arm"]): row for row in rows}
    families = sorted({family for family, _ in cells}, key=lambda family: (family == ALL, family))
    arms = [arm for arm in ("without", "with") if any(arm == of for _, of in cells)]
    body = [
        [
            family.replace("_", " "),
            *(_success(cells.get((family, arm))) for arm in arms),
            *(_tokens(cells.get((family, arm))) for arm in arms),
        ]
        for family in families
    ]
    header = ["tasks", *(f"success {arm} skills" for arm in arms), *(f"tokens/turn {arm}" for arm in arms)]
    counts = sorted({int(row["episodes"]) for row in rows if row["family"] == ALL})
    caption = f"[...]: 95% (Wilson); {' or '.join(map(str, counts))} episodes an arm" if counts else ""
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


class Subject:
    """Who is to act: the recipe to act under, the model to load, and the run it comes from (with its step).

    Args:
        name: a run's folder (its newest checkpoint acts), a checkpoint's or model's folder, `imprint-tiny`, or
            a hub name.
        recipe_path: in place of the run's own recipe.
        overrides: as `--set` takes them.
        endpoint: the address of a server that has the model; so may the recipe say. `name` is then any name.
        trust: skills that are used whatever was found in them, beside those that the run was trained on so.

    Raises:
        CheckpointError: nothing is there, or the run has no checkpoint.
        RecipeError: the recipe does not hold.
    """

    def __init__(
        self,
        name: str,
        recipe_path: Path | None,
        overrides: Sequence[str],
        endpoint: str | None = None,
        trust: Sequence[str] | None = None,
    ) -> None:
        from imprint.recipe import load_recipe, override, parse_recipe
        from imprint.runs.run import Run
        from imprint.runs.trust import overridden
        from imprint.security.vetting import Override

        if endpoint is not None:
            overrides = [*overrides, f"endpoint.base_url={json.dumps(endpoint)}"]
        loaded = None if recipe_path is None else load_recipe(recipe_path, overrides)
        served = any(change.startswith("endpoint.") for change in overrides) if loaded is None else loaded.endpoint
        path = Path(name)
        checkpoint = path.resolve()
        self.run: Run | None = None
        self.step = 0
        self.model: str = name
        if served:
            pass  # the server's own name for it, whatever lies here under that name
        elif (path / "recipe.yaml").is_file():
            self.run = Run.open(path)
            self.model, self.step = _newest(self.run)
        elif checkpoint.parent.name == "checkpoints" and (checkpoint.parent.parent / "recipe.yaml").is_file():
            self.run = Run.open(checkpoint.parent.parent)
            known = {self.run.checkpoint_path(step).name for step in self.run.checkpoint_steps()}
            if checkpoint.name not in known:
                _refuse_missing_path(str(checkpoint))
            self.step = int(checkpoint.name.removeprefix("step-"))
        elif not path.exists():
            _refuse_missing_path(name)
        self.trust = Override(trust or (), {} if self.run is None else overridden(self.run.path))
        self.recipe: Recipe
        if loaded is not None:
            self.recipe = loaded
        else:
            values: dict[str, Any] = {"name": path.name or name, "method": "zero_shot", "model": name}
            where: Path | None = None
            if self.run is not None:
                values, where = deepcopy(self.run.recipe), self.run.path / "recipe.yaml"
            for change in overrides:
                override(values, change)
            self.recipe = parse_recipe(values, where)

    @property
    def env_steps(self) -> int:
        """Environment steps that the checkpoint was trained on; 0 for a model that is no checkpoint."""
        from imprint.errors import CheckpointError

        state = Path(self.model) / "state.json"
        try:
            return int(json.loads(state.read_text(encoding="utf-8"))["env_steps"]) if state.is_file() else 0
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"is damaged: {error!r}", where=state, hint="name an older checkpoint of the run in its place"
            ) from error

    @property
    def title(self) -> str:
        """What tables call it."""
        return f"{self.model}" if self.run is None else f"{self.recipe.name} at step {self.step}"


def write_figures(
    path: Path,
    subject: Subject,
    split: str,
    rows: Sequence[Mapping[str, Any]],
    difference: Mapping[str, Any] | None,
    meter: Meter | None,
    *,
    seeds: Sequence[int] | None = None,
) -> None:
    """What an evaluation found, as JSON; with `seeds`, of several."""
    from imprint.support.files import atomic_write

    content = {
        "model": subject.model,
        "step": subject.step,
        "split": split,
        **({} if seeds is None else {"seeds": sorted(seeds)}),
        "recipe": subject.recipe.model_dump(mode="json"),
        "outcomes": rows,
        "difference": difference,
        "usage": None if meter is None else meter.to_record(),
    }
    atomic_write(path, json.dumps(content, indent=1) + "\n")
    say(f"figures: {path}")


def _newest(run: Run) -> tuple[str, int]:
    from imprint.errors import CheckpointError

    steps = run.checkpoint_steps()
    if steps:
        return str(run.checkpoint_path(steps[-1])), steps[-1]
    if run.status().get("state") == "finished":  # a method without training: the model it started from
        return str(run.recipe.get("model", "imprint-tiny")), 0
    raise CheckpointError(
        "the run has no checkpoint yet",
        where=run.path,
        hint="let it train on (`imprint train` with the same recipe and --out), then try again",
    )


def _refuse_missing_path(name: str) -> None:
    """A hub name is one word, or two with a slash between; whatever else does not exist is a mistaken path."""
    from imprint.errors import CheckpointError

    parts = Path(name).parts
    hub = 1 <= len(parts) <= 2 and name[0] not in "./~" and not (len(parts) == 2 and Path(parts[0]).is_dir())
    if not hub:
        raise CheckpointError(
            "no run and no model is here",
            where=name,
            hint="give a run's folder (runs/...), a model's folder, `imprint-tiny`, or a hub name",
        )
