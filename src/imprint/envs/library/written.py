"""Tasks that a policy writes itself, from the documentation alone: what is asked for, and a program that does it.

    add 3 to each item => return velk.nora(x, 3)

Nothing says whether the words and the program belong together: a program is run, the words are only shown to whoever
is to solve the task. That is the noise of self-play (Absolute Zero, arXiv 2505.03335; SE-Bench, arXiv 2602.04811).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from imprint.envs.library.chains import FRAMES
from imprint.envs.library.checking import probes, values, varied
from imprint.envs.library.interpreter import Program, ProgramError, read_program
from imprint.envs.library.operations import Value
from imprint.envs.library.package import Package
from imprint.errors import RecipeError, under
from imprint.support.files import read_jsonl

ASK = "Package {package}. Write a task and a program that does it."
BETWEEN = " => "


@dataclass(frozen=True)
class Written:
    """A task that a policy wrote.

    Attributes:
        asked: its words.
        program: what is taken to be right.
    """

    asked: str
    program: str
    package: Package

    def text(self) -> str:
        """The task's text."""
        return FRAMES[0].format(package=self.package.name, asked=self.asked)

    @cached_property
    def _read(self) -> Program:
        return read_program(self.program, self.package.name)

    def __call__(self, items: Sequence[int]) -> Value:
        """What its program returns for `items`.

        Raises:
            ValueError: it cannot be run on them, or its value did not come out of the package.
        """
        try:
            value, called = self._read(self.package.functions, items)
        except ProgramError as error:
            raise ValueError(error.problem) from error
        if not called:
            raise ValueError("the package was not used")
        return value


def read_written(action: str, package: Package) -> Written | None:
    """What a policy wrote, if it is a task: words, and a program whose values differ from list to list."""
    asked, between, program = action.partition(BETWEEN.strip())
    written = Written(" ".join(asked.split()), program.strip(), package)
    usable = between and written.asked and varied(values(written, probes(f"written/{action}")))
    return written if usable else None


def load_written(path: str | Path, package: Package) -> list[Written]:
    """The tasks in a file of episodes, as a run keeps them (`episodes/`): the first action of each; each task once.

    Raises:
        CheckpointError: the file cannot be read.
        RecipeError: it holds no episodes, or none that wrote a task.
    """
    with under("env.written"):
        rows = read_jsonl(path)
    try:
        actions = [str(row["turns"][0]["action"]) for row in rows]
    except (LookupError, TypeError) as error:
        raise RecipeError(
            "is no file of episodes", where=path, key="env.written", hint="give one of a run's `episodes` folder"
        ) from error
    found = {action: read_written(action, package) for action in actions}
    tasks = [written for written in found.values() if written is not None]
    if not tasks:
        raise RecipeError(
            f"none of its {len(actions)} episodes wrote a task", where=path, key="env.written", hint="write more"
        )
    return tasks
