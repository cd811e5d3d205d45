"""Whether a run may be resumed with a recipe, and what that changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.errors import CheckpointError
from imprint.methods.base import named_spec
from imprint.recipe import Recipe, may_change, parse_recipe
from imprint.runs.folder import is_run
from imprint.runs.run import Run, flat_recipe, refuse_differences

__all__ = ["Resumption", "resumption"]

LENGTH = ("steps", "env_steps")


@dataclass(frozen=True)
class Resumption:
    """What a run's folder holds, and what it will.

    Attributes:
        stored: the text of the recipe there; None where no run is.
        text: the text of the recipe from now on.
        longer: the number of steps has changed, so that a finished run is trained further.
        notes: what the user is to know of the changes.
    """

    stored: str | None
    text: str
    longer: bool = False
    notes: tuple[str, ...] = ()


def resumption(folder: Path, recipe: Recipe, *, length: bool = True) -> Resumption:
    """How the run in `folder` resumes with `recipe`.

    Both recipes are read as recipes of today first: keys may have had other names, and what is younger has its default.
    They may differ in keys marked with `MAY_CHANGE`, in a path whose file has moved, and with `length` in the number
    of steps.

    Raises:
        CheckpointError: they differ in others (the keys are named), or the run has done more steps.
    """
    if not is_run(folder):
        return Resumption(None, recipe.to_yaml())
    run, path = Run.open(folder), folder / "recipe.yaml"
    old, new = (flat_recipe(one.model_dump(mode="json")) for one in (parse_recipe(run.recipe, path), recipe))
    different = {key for key in {*old, *new} if old.get(key) != new.get(key)}
    free = {key for key in different if may_change(key) or _moved(old.get(key), new.get(key))}
    longer = different & set(LENGTH) if length else set[str]()
    rest = different - free - longer
    refuse_differences(path, *({key: one[key] for key in rest if key in one} for one in (old, new)))
    if not different:
        return Resumption(run.recipe_text, run.recipe_text)
    changes = [f"`{key}` is {new.get(key)!r} from now on, and was {old.get(key)!r}" for key in sorted(free | longer)]
    notes = _of_length(run, recipe) if longer else []
    return Resumption(run.recipe_text, recipe.to_yaml(), bool(longer), (*changes, *notes))


def _of_length(run: Run, recipe: Recipe) -> list[str]:
    """What another number of steps changes.

    Raises:
        CheckpointError: more have been done, or the method cannot be continued after its last step.
    """
    done, used = run.status().get("step", 0), run.status().get("env_steps", 0)
    if recipe.steps < done or (recipe.env_steps or used) < used:
        raise CheckpointError(
            f"the run has done {done} steps ({used} in the environment), and cannot be made shorter",
            where=run.path,
            key="steps" if recipe.steps < done else "env_steps",
            hint="ask for more, or train in another folder",
        )
    paced = named_spec(recipe).paced
    if paced is None and run.status().get("state") == "finished":
        raise CheckpointError(
            f"the method {recipe.method!r} does other work after its last step, and cannot be continued behind it",
            where=run.path,
            key="steps",
            hint="train with more steps in another folder",
        )
    parts = [*(["the learning rate (learner.decay)"] if recipe.learner.decay == "linear" else []), *(paced or ())]
    if not parts:
        return []
    return [
        f"the schedule of {' and of '.join(parts)} follows the number of steps: the first {done} were trained by the "
        "old one, so that this is not the run that it would have been from the start"
    ]


def _moved(old: Any, new: Any) -> bool:
    """Whether a path that is not there any more has become another one to what has the same name."""
    if not (isinstance(old, str) and isinstance(new, str) and Path(old).is_absolute()):
        return False
    return Path(old).name == Path(new).name and not Path(old).exists() and Path(new).exists()
