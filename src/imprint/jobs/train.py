"""The training job: a run's folder from its recipe, begun or resumed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from imprint.engine import make_engine
from imprint.errors import ImprintError
from imprint.jobs.resume import Resumption, resumption
from imprint.methods.base import check_method, check_world, make_method
from imprint.recipe import Recipe
from imprint.report.page import write_report
from imprint.runs.folder import is_run, refuse_mixed
from imprint.runs.machine import record_machine
from imprint.runs.run import Run
from imprint.runs.trackers import Trackers, check_trackers
from imprint.runs.trust import overridden, record_trust
from imprint.security.vetting import Override
from imprint.support.progress import Progress

LONGEST = 55  # letters of a folder's name: a file system takes 255 bytes of UTF-8

__all__ = ["run_name", "train_run"]


def run_name(name: str, seed: int) -> str:
    """The folder's name for a recipe's name and a seed."""
    return f"{folder_name(name)}-s{seed}"


def folder_name(name: str) -> str:
    """A recipe's name without anything that a path could stumble over.

    Letters of any script stay. Where anything is lost, a digest of the name follows after a `+`, which is in no other
    folder's name: two names never have one folder.
    """
    plain = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", name)).strip(".-")[:LONGEST]
    digest = "" if plain == name else f"+{blake2b(name.encode('utf-8', 'backslashreplace'), digest_size=4).hexdigest()}"
    return f"{plain or 'run'}{digest}"


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
    plan = Resumption(None, recipe.to_yaml()) if fresh else resumption(folder, recipe)
    if plan.stored is not None:  # what forbids a resume is reported before anything is loaded
        with Run.create(folder, plan.stored, resume=True) as run:
            if run.status().get("state") == "finished" and not plan.longer:
                return False
    engine = make_engine(recipe, trust=Override(trust, {} if fresh else overridden(folder)))
    check_world(recipe, engine.world)
    method = make_method(recipe)
    if fresh:
        _clear(folder)
    is_new, had_folder = not is_run(folder), folder.exists()
    begun = plan.text if plan.stored is None else plan.stored
    with Run.create(folder, begun, resume=True) as run, Progress(recipe.name, quiet=quiet) as progress:
        run.replace_recipe(plan.text)
        progress.note(_first_line(recipe, run))
        for name in record_trust(run.path, recipe.trust.refuse, engine.verdicts):
            progress.note(f"note: the skill {name} has changed since this run began")
        for note in (*recipe.notes, *plan.notes):
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


def _first_line(recipe: Recipe, run: Run) -> str:
    """What is done, and where."""
    step = _last_checkpoint(run)
    length = f"{recipe.steps} steps" + (f" or {recipe.env_steps:,} in the environment" if recipe.env_steps else "")
    return (
        f"{recipe.name}: {recipe.method} in {recipe.env.name} with {recipe.model}, seed {recipe.seed}, {length}"
        f"{f', resumed after step {step}' if step else ''}; everything is written to {run.path}"
    )


def _clear(folder: Path) -> None:
    """Remove the run in a folder, if there is one."""
    if is_run(folder):
        with Run.create(folder, Run.open(folder).recipe_text, resume=True) as run:  # the lock: no process writes it
            run.clear()


def _last_checkpoint(run: Run) -> int:
    return max(run.checkpoint_steps(), default=0)
