"""The methods: one file per published one, found by entry points in the group `imprint.methods`.

Another package adds a method by one class with `Method`'s shape and one entry point:

    [project.entry-points."imprint.methods"]
    my-method = "my_package:MyMethod"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from imprint.support import plugins

if TYPE_CHECKING:  # the engine brings PyTorch along; the names of the methods do not need it
    from imprint.engine.base import Engine
    from imprint.runs.run import Run
    from imprint.support.progress import Progress

__all__ = ["GROUP", "Method", "MethodClass", "make_method", "method_names"]

GROUP = "imprint.methods"


class Method(Protocol):
    """One training run."""

    def train(self) -> None:
        """Train to the last step, from the newest checkpoint if there is one."""
        ...


class MethodClass(Protocol):
    """What an entry point names: a class that is given what a run works with.

    One that only measures says `trains = False`; all others need an engine with weights.
    """

    def __call__(self, engine: Engine, run: Run, progress: Progress) -> Method: ...


def method_names() -> list[str]:
    """The methods that are installed."""
    return plugins.names(GROUP)


def make_method(name: str) -> MethodClass:
    """The class registered as `name`: call it with an engine, a run and a progress, then `train()`.

    Raises:
        RecipeError: no such method, or its package cannot be imported.
    """
    method: MethodClass = plugins.load(GROUP, "method", name, "method")
    return method
