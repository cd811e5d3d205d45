"""The world `library`: short programs in a package with opaque names, which only its documentation explains.

After SE-Bench (arXiv 2602.04811): does training put what a model *read* into its weights, where neither what it knew
before nor the difficulty of the task can help? The operations are ordinary, their names are made up, and an episode is
one program, which a small interpreter of our own runs on hidden inputs (`interpreter.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from imprint.envs.base import Demonstration, Environment
from imprint.envs.library.chains import FRAMES
from imprint.envs.library.documentation import HOW
from imprint.envs.library.interpreter import ProgramError
from imprint.envs.library.lessons import LESSONS, demonstrate
from imprint.envs.library.tasks import CATEGORIES, LibraryTask, tasks_of, tasks_to_write, written_tasks
from imprint.errors import GameError, RecipeError
from imprint.types import StepResult, Task


class LibraryWorld:
    """Tasks in three categories: one function, one function asked for in other words, several functions.

    Args:
        asks: `programs`, or `tasks`: a policy is to write tasks, each with its program, that it may train on.
        written: a file of episodes in which a policy wrote tasks; they are those to train on.
        known: of demonstrations (`imprint pretrain`): the share of the package's functions that some of them are about,
            without documentation, so that the base policy knows them before it is trained.
        seed: of the tasks that are drawn.
        train: tasks to train on, all for one function (480).
        validation: held-out tasks, a third of each category (120).
        test: other ones (300).
    """

    name = "library"
    categories = CATEGORIES
    max_turns = 1

    def __init__(
        self,
        *,
        asks: Literal["programs", "tasks"] = "programs",
        written: Path | None = None,
        known: Annotated[float, Field(ge=0, le=1)] = 0.0,
        seed: int = 0,
        train: PositiveInt = 480,
        validation: PositiveInt = 120,
        test: PositiveInt = 300,
    ) -> None:
        self.asks, self.written, self.known, self.seed = asks, written, known, seed
        self.counts = {"train": train, "validation": validation, "test": test}
        self._found: dict[str, Mapping[str, LibraryTask]] = {}

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split.

        Raises:
            RecipeError: there is no such split, or not so many tasks.
        """
        return [Task(one.id, one.category, split) for one in self._split(split).values()]

    def task(self, task: Task) -> LibraryTask:
        """What stands behind a task.

        Raises:
            RecipeError: there is no such split.
            GameError: there is no task with this id in it.
        """
        found = self._split(task.split).get(task.id)
        if found is None:
            raise GameError(
                f"there is no task {task.id!r} in {task.split!r}", key="task", hint="take tasks from `tasks(split)`"
            )
        return found

    def fingerprint(self, task: Task) -> str:
        """What a stored episode of `task` depends on, beside its id."""
        return self.task(task).text

    def environment(self) -> Environment:
        return LibraryEnvironment(self)

    def _split(self, split: str) -> Mapping[str, LibraryTask]:
        if split not in self.counts:
            raise RecipeError(
                f"there is no split {split!r}", key="split", hint=f"choose from: {', '.join(self.counts)}"
            )
        if split not in self._found:
            self._found[split] = {one.id: one for one in self._drawn(split)}
        return self._found[split]

    def _drawn(self, split: str) -> Sequence[LibraryTask]:
        if self.asks == "tasks":
            return tasks_to_write(split, self.counts[split])
        if split == "train" and self.written is not None:
            return written_tasks(self.written)
        return tasks_of(split, self.counts[split], self.seed)

    # --- what a base policy is made from --------------------------------------------------------------------------

    phrases = (" return", "(x)", "(x, ", *(sentence.partition("{")[0].rstrip() for sentence in (*FRAMES, *HOW)))
    lessons = tuple(LESSONS)

    def demonstration(self, seed: int, *, lesson: str = "full") -> Demonstration:
        """Tasks about a made package, with right programs."""
        return demonstrate(seed, LESSONS[lesson], self.known)

    def language(self) -> Iterator[str]:
        """Demonstrations and real tasks, for the tokenizer."""
        yield from (self.task(task).text for task in self.tasks("train"))
        for seed in range(600):
            demo = self.demonstration(seed, lesson="chains")
            yield demo.first.observation
            yield from (f"# {page.name}\n{page.description}\n{page.body}" for page in demo.pages)
            yield from (f" {action}\n{result.observation}\n>" for action, result, _ in demo.turns)


class LibraryEnvironment:
    """One task: its text, then one program that solves it or does not."""

    def __init__(self, world: LibraryWorld) -> None:
        self.world = world
        self.task: LibraryTask | None = None

    def reset(self, task: Task, seed: int) -> StepResult:
        """Start `task`; its hidden inputs are its own, so `seed` changes nothing."""
        self.task = self.world.task(task)
        return StepResult(self.task.text)

    def step(self, action: str) -> StepResult:
        """Run a program. A wrong one is not told what is wrong: there is no second turn."""
        if self.task is None:
            raise GameError("step before reset", hint="call reset(task, seed) first")
        try:
            right = self.task.solved_by(action)
        except ProgramError:
            return StepResult("", terminated=True, valid=False)
        return StepResult("", float(right), terminated=True, success=right)
