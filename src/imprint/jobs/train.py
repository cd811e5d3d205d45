"""The training job: a run's folder from its recipe, begun or gone on with."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from imprint.engine import make_engine
from imprint.errors import CheckpointError, ImprintError, RecipeError
from imprint.methods.base import make_method
from imprint.recipe import Recipe
from imprint.runs.run import RECORDS, Run
from imprint.runs.trust import FILE_NAME as TRUST
from imprint.runs.trust import overridden, record_trust
from imprint.security.vetting import Override
from imprint.support.files import read_text
from imprint.support.progress import Progress

__all__ = ["check_endpoint", "check_recipe", "remove_run", "run_name", "train_run"]

# What a run's folder may hold: `remove_run` removes these and nothing else.
RUN_FILES = frozenset(
    {
        *("recipe.yaml", "status.json", "report.html", "episodes", "checkpoints", "tensorboard", "wandb", ".lock"),
        TRUST,
        *(f"{record}.jsonl" for record in RECORDS),
    }
)


def run_name(name: str, seed: int) -> str:
    """The folder's name for a recipe's name and a seed, without anything that a path could stumble over."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('.-') or 'run'}-s{seed}"


def train_run(recipe: Recipe, folder: Path, *, quiet: bool = False, trust: Sequence[str] = ()) -> bool:
    """Train `recipe` in `folder`, going on where it stopped; False if it was finished before.

    Skills named in `trust` are used whatever was found in them; so are those that the run was begun with on somebody's
    word, as long as their files stay what they were.

    Raises:
        ImprintError: the recipe does not hold together (a new folder is then removed), or the folder holds
            another run.
    """
    check_endpoint(recipe)
    method, text = make_method(recipe.method), recipe.to_yaml()
    if (folder / "recipe.yaml").exists():  # what forbids a resumption is told before anything is loaded
        with Run.create(folder, text, resume=True) as run:
            if run.status().get("state") == "finished":
                return False
    engine = make_engine(recipe, trust=Override(trust, overridden(folder)))
    is_new = not (folder / "recipe.yaml").exists()
    with Run.create(folder, text, resume=True) as run, Progress(recipe.name, quiet=quiet) as progress:
        for name in record_trust(run.path, recipe.trust.refuse, engine.verdicts):
            progress.note(f"note: the skill {name} has changed since this run began")
        try:
            job = method(engine, run, progress)
        except ImprintError:
            if is_new:
                run.close()
                remove_run(folder)
            raise
        try:
            run.set_status("running", _last_checkpoint(run))
            job.train()
        except BaseException as error:
            if is_new and isinstance(error, ImprintError) and not run.rows("metrics"):  # it never got under way
                run.close()
                remove_run(folder)
            else:
                with suppress(ImprintError):  # on a full disk the first error is the one to tell
                    state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                    run.set_status(state, _last_checkpoint(run))
            raise
    return True


def check_recipe(recipe: Recipe, trust: Sequence[str] = ()) -> None:
    """See that all parts of a run can be had, without beginning one.

    Raises:
        ImprintError: one of them cannot.
    """
    check_endpoint(recipe)
    make_method(recipe.method)
    make_engine(recipe, trust=Override(trust))


def check_endpoint(recipe: Recipe) -> None:
    """Only a method that does not train can do without weights.

    Raises:
        RecipeError: the recipe asks to train a model behind an endpoint, or names a method that does not exist.
    """
    if recipe.endpoint is not None and getattr(make_method(recipe.method), "trains", True):
        raise RecipeError(
            f"the method {recipe.method!r} trains, and a model behind an endpoint cannot be trained",
            key="method",
            hint="choose one that only measures (zero_shot, few_shot, skic, adaptmi), or a local model and no endpoint",
        )


def _last_checkpoint(run: Run) -> int:
    return max(run.checkpoint_steps(), default=0)


def remove_run(folder: Path) -> None:
    """Remove a run's folder, but only if it is one and holds nothing else; no folder is nothing to do.

    Raises:
        CheckpointError: it is no run, something else lies in it, or another process writes it.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / "recipe.yaml").is_file():
        raise CheckpointError("no run here, so nothing is removed", where=folder, hint="choose another folder")
    foreign = sorted(entry.name for entry in folder.iterdir() if not _is_ours(entry.name))
    if foreign:
        raise CheckpointError(
            f"{foreign[0]!r} is not a run's, so nothing is removed",
            where=folder,
            hint="move it, or choose another folder",
        )
    with Run.create(folder, read_text(folder / "recipe.yaml"), resume=True):  # the lock: nobody writes what is removed
        shutil.rmtree(folder)


def _is_ours(name: str) -> bool:
    return name in RUN_FILES or name.startswith(tuple(f".{ours}." for ours in RUN_FILES))
