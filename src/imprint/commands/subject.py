"""Who is measured: a run, a checkpoint, a model's folder or a served model, and the recipe to act under."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from imprint.commands.console import console, document, emit, say

if TYPE_CHECKING:
    from imprint.models.served.usage import Meter
    from imprint.recipe import Recipe
    from imprint.runs.run import Run


class Subject:
    """Who is to act: the recipe to act under, the model to load, and the run it comes from (with its step).

    Args:
        name: a run's folder (its newest checkpoint acts), a checkpoint's or model's folder, `imprint-tiny`, or
            a hub name.
        recipe_path: in place of the run's own recipe.
        overrides: as `--set` takes them.
        endpoint: the address of a server that has the model; the recipe may name one too. `name` is then any name.
        trust: skills that are used whatever was found in them, beside those that the run was trained on so.
        best: the checkpoint that the run has kept for its validation success acts, not the newest.

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
        *,
        best: bool = False,
    ) -> None:
        from imprint.models.names import TINY, may_be_hub_name
        from imprint.recipe import load_recipe, parse_recipe
        from imprint.runs.folder import is_run, refuse_missing
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
        elif is_run(path):
            self.run = Run.open(path)
            self.model, self.step = _newest(self.run)
        elif checkpoint.parent.name == "checkpoints" and is_run(checkpoint.parent.parent):
            self.run = Run.open(checkpoint.parent.parent)
            known = {self.run.checkpoint_path(step).name for step in self.run.checkpoint_steps()}
            if checkpoint.name not in known:
                _refuse_missing_path(str(checkpoint))
            self.step = int(checkpoint.name.removeprefix("step-"))
        elif (path / "recipe.yaml").exists() and not list(path.glob("*config.json")):
            refuse_missing(path)
        elif name != TINY and not path.exists():
            _refuse_other_names(name)
            if not may_be_hub_name(name):
                _refuse_missing_path(name)
        if best:
            self.model, self.step = _best(self.run, path)
        self.trust = Override(trust or (), {} if self.run is None else overridden(self.run.path))
        self.recipe: Recipe
        if loaded is not None:
            self.recipe = loaded
        else:
            values: dict[str, Any] = {"name": path.name or name, "model": name}
            where: Path | None = None
            if self.run is not None:
                values, where = self.run.recipe, self.run.path / "recipe.yaml"
            self.recipe = parse_recipe(values, where, overrides)

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


@dataclass(frozen=True, slots=True)
class Output:
    """Where the figures of an evaluation go: a table or JSON to standard output, and a file if one is named."""

    as_json: bool = False
    file: Path | None = None

    def publish(
        self,
        subject: Subject,
        split: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        table: Table,
        lines: Sequence[str] = (),
        difference: Mapping[str, Any] | None = None,
        meter: Meter | None = None,
        seeds: Sequence[int] | None = None,
    ) -> None:
        """Print the table and the lines under it, or everything as JSON.

        Args:
            rows: `Evaluation` records, with a `seed` each where there are several `seeds`.
            difference: of two conditions; its `text` is the first line under the table.
        """
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
        if self.as_json:
            emit(document("eval", content))
        else:
            console().print(table)
            for line in (*([difference["text"]] if difference else []), *lines):
                say(line)
        if self.file is not None:
            from imprint.support.files import atomic_write

            atomic_write(self.file, document("eval", content))
            say(f"figures: {self.file}", stderr=True)


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


def _best(run: Run | None, path: Path) -> tuple[str, int]:
    from imprint.errors import CheckpointError

    condition = None if run is None else run.recipe.get("keep_best")
    if run is None or condition is None:
        raise CheckpointError(
            "no best checkpoint is kept here", where=path, key="--best", hint="train with keep_best: without"
        )
    step = run.best_step(condition)
    if step is None or step not in run.checkpoint_steps():
        problem = "no validation yet" if step is None else f"step {step} was the best, and its checkpoint is gone"
        raise CheckpointError(problem, where=path, key="--best", hint="name another checkpoint, or none for the newest")
    return str(run.checkpoint_path(step)), step


def _refuse_other_names(name: str) -> None:
    """Refuse what is a name here and no model's, before it is looked for on the hub.

    Raises:
        CheckpointError: it is the name of a run, or of a packaged recipe.
    """
    from imprint.errors import CheckpointError
    from imprint.runs.folder import is_run
    from imprint.support.packaged import recipe_names

    run = Path("runs") / name
    if is_run(run):
        raise CheckpointError("is the name of a run", where=name, hint=f"give its folder: {run}")
    if name in recipe_names():
        raise CheckpointError(
            "is a packaged recipe, no model", where=name, hint=f"name the model, e.g. imprint-tiny --recipe {name}"
        )


def _refuse_missing_path(name: str) -> None:
    from imprint.errors import CheckpointError

    raise CheckpointError(
        "no run and no model is here",
        where=name,
        hint="give a run's folder (runs/...), a model's folder, `imprint-tiny`, or a hub name",
    )
