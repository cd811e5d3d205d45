"""The training job: a run's folder from its recipe, begun or resumed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from imprint.engine import make_engine
from imprint.errors import ImprintError
from imprint.methods.base import check_method, check_world, make_method
from imprint.recipe import Recipe, parse_recipe
from imprint.report.page import write_report
from imprint.runs.folder import is_run, refuse_mixed
from imprint.runs.machine import record_machine
from imprint.runs.run import Run, refuse_differences
from imprint.runs.trackers import Trackers, check_trackers
from imprint.runs.trust import overridden, record_trust
from imprint.security.vetting import Override
from imprint.support.progress import Progress

__all__ = ["run_name", "stored_text", "train_run"]


def run_name(name: str, seed: int) -> str:
    """The folder's name for a recipe's name and a seed, without anything that a path could stumble over."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('.-') or 'run'}-s{seed}"


def train_run(
    recipe: Recipe, folder: Path, *, quiet: bool = False, trust: Sequence[str] = (), fresh: bool = False
) -> bool:
    """Train `recipe` in `folder`, resuming where it stopped; False if it was finished before.

    Skills named in `trust` are used whatever was found in them; so are those that the run was begun with on the user's
    word, as long as their files stay what they were.

    Args:
        fresh: what the run in `folder` has written is removed, once all parts of the new one are there.

    Raises:
        ImprintError: the recipe does not hold together (a new folder is then removed), or the folder holds
            another run, or something that no run has written.
    """
    check_method(recipe)
    check_trackers(recipe.loggers)
    if fresh:
        refuse_mixed(folder)
    text = recipe.to_yaml() if fresh else stored_text(folder, recipe)
    if is_run(folder) and not fresh:  # what forbids a resume is reported before anything is loaded
        with Run.create(folder, text, resume=True) as run:
            if run.status().get("state") == "finished":
                return False
    engine = make_engine(recipe, trust=Override(trust, {} if fresh else overridden(folder)))
    check_world(recipe, engine.world)
    method = make_method(recipe)
    if fresh:
        _clear(folder)
    is_new, had_folder = not is_run(folder), folder.exists()
    with Run.create(folder, text, resume=True) as run, Progress(recipe.name, quiet=quiet) as progress:
        for name in record_trust(run.path, recipe.trust.refuse, engine.verdicts):
            progress.note(f"note: the skill {name} has changed since this run began")
        for note in recipe.notes:
            progress.note(f"note: {note}")
        record_machine(run.path, engine.device, _last_checkpoint(run))
        try:
            run.set_status("running", _last_checkpoint(run))
            with Trackers(run, recipe.loggers) as trackers:
                method.run(engine.agent, engine.bench(run, progress))
                trackers.page("report", lambda: write_report(folder))
        except BaseException as error:
            if is_new and isinstance(error, ImprintError) and not run.rows("metrics"):  # it never got under way
                with suppress(ImprintError, OSError):  # the first error is the one to report
                    run.clear()
                    if not had_folder:
                        folder.rmdir()
            else:
                with suppress(ImprintError):  # likewise on a full disk
                    state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                    run.set_status(state, _last_checkpoint(run))
            raise
    return True


def _clear(folder: Path) -> None:
    """Remove the run in a folder, if there is one."""
    if is_run(folder):
        with Run.create(folder, Run.open(folder).recipe_text, resume=True) as run:  # the lock: no process writes it
            run.clear()


def stored_text(folder: Path, recipe: Recipe) -> str:
    """The text of the recipe in a run's folder, if it says the same as `recipe`; without a run, the text of `recipe`.

    Both are read as recipes of today first: keys may have had other names, sections may be other methods', and what is
    younger has its default.

    Raises:
        CheckpointError: the run there has another recipe (the keys are named).
    """
    path = folder / "recipe.yaml"
    if not is_run(folder):
        return recipe.to_yaml()
    run = Run.open(folder)
    stored = parse_recipe(run.recipe, path)
    refuse_differences(path, stored.model_dump(mode="json"), recipe.model_dump(mode="json"))
    return run.recipe_text


def _last_checkpoint(run: Run) -> int:
    return max(run.checkpoint_steps(), default=0)
