"""Imprint turns agent skills into model weights.

    import imprint

    agent = imprint.load_agent("imprint-tiny", skills="household")
    trained = imprint.run_method("demo", out="runs/demo")
    before, after = (imprint.measure(one, [imprint.WITHOUT], tasks=60) for one in (agent, trained))
    print(imprint.paired(after, before))

Names are loaded when they are asked for: importing the package loads no PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imprint.agent import Agent, ModelRef
    from imprint.errors import ImprintError
    from imprint.jobs.api import load_agent, measure, read_trials, run_method
    from imprint.measurement.conditions import WITH, WITHOUT, Condition
    from imprint.measurement.trials import Evaluation, evaluations, paired
    from imprint.recipe import Recipe, load_recipe
    from imprint.skills.library import SkillLibrary, load_library
    from imprint.skills.skill import Skill
    from imprint.types import Episode, Task, Trial, Turn

__version__ = "0.1.0"

_PLACES = {
    "agent": ("Agent", "ModelRef"),
    "jobs.api": ("load_agent", "measure", "read_trials", "run_method"),
    "errors": ("ImprintError",),
    "measurement.conditions": ("WITH", "WITHOUT", "Condition"),
    "measurement.trials": ("Evaluation", "evaluations", "paired"),
    "recipe": ("Recipe", "load_recipe"),
    "skills.library": ("SkillLibrary", "load_library"),
    "skills.skill": ("Skill",),
    "types": ("Episode", "Task", "Trial", "Turn"),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "WITH",
    "WITHOUT",
    "Agent",
    "Condition",
    "Episode",
    "Evaluation",
    "ImprintError",
    "ModelRef",
    "Recipe",
    "Skill",
    "SkillLibrary",
    "Task",
    "Trial",
    "Turn",
    "evaluations",
    "load_agent",
    "load_library",
    "load_recipe",
    "measure",
    "paired",
    "read_trials",
    "run_method",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'imprint' has no attribute {name!r}")
    return getattr(import_module(f"imprint.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
