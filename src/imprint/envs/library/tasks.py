"""The tasks about the real package: which a policy trains on, and which it is tested with.

Only tasks for one function are trained on, as in SE-Bench (arXiv 2602.04811). Tests ask for one function in words that
training uses for it (with another number or in another sentence), for one in words that it never uses, and, in known
words, for two or three functions in turn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from imprint.envs.library.chains import FRAMES, Chain, Step, draw_chain
from imprint.envs.library.checking import solves
from imprint.envs.library.operations import LARGEST, OPERATIONS, SMALLEST
from imprint.envs.library.package import REAL
from imprint.envs.library.written import ASK, Written, load_written, read_written
from imprint.errors import RecipeError

CATEGORIES = SINGLE, OTHER_WORDS, SEVERAL = ("one_function", "other_words", "several_functions")
TRAIN_FRAMES = len(FRAMES) - 2  # the other sentences are only used in tests


@dataclass(frozen=True, slots=True)
class LibraryTask:
    """A program to be written, or a task.

    Attributes:
        reference: what a right program returns; None where a task is to be written.
        text: what asks for it.
    """

    id: str
    category: str
    reference: Chain | Written | None
    text: str

    def solved_by(self, action: str) -> bool:
        """Whether a program does it, and with the package; or whether a task was written.

        Raises:
            ProgramError: it is no program, or cannot be run.
        """
        if self.reference is None:
            return read_written(action, REAL) is not None
        return solves(action, self.reference, REAL, f"check/{self.text}")


def tasks_of(split: str, count: int, seed: int) -> tuple[LibraryTask, ...]:
    """`count` tasks of a split, in an order drawn from `seed`; no text is in two splits.

    Raises:
        RecipeError: there are not so many.
    """
    rng = random.Random(f"library/{split}/{seed}")
    if split == "train":
        pool = product(range(TRAIN_FRAMES), _steps(last=False))
        return tuple(_taken([_single(frame, step, SINGLE) for frame, step in pool], count, split, rng))
    kinds = [_category(category, split, seed, -(-count // len(CATEGORIES))) for category in CATEGORIES]
    in_turn = [one for row in zip(*kinds, strict=True) for one in row]
    return tuple(in_turn[:count])


def tasks_to_write(split: str, count: int) -> tuple[LibraryTask, ...]:
    """`count` times the task to write one."""
    one = LibraryTask("", SINGLE, None, ASK.format(package=REAL.name))
    return tuple(_numbered([one] * count, f"{split}-writing"))


def written_tasks(path: str | Path) -> tuple[LibraryTask, ...]:
    """The tasks that a policy wrote (`written.py`), to train on.

    Raises:
        ImprintError: the file cannot be read, or holds none.
    """
    tasks = [LibraryTask("", SINGLE, written, written.text()) for written in load_written(path, REAL)]
    return tuple(_numbered(tasks, "written"))


def _category(category: str, split: str, seed: int, count: int) -> list[LibraryTask]:
    """Test and validation take turns in one shuffled list."""
    rng = random.Random(f"library/{category}/{seed}")
    if category == SEVERAL:
        found: dict[str, LibraryTask] = {}
        while len(found) < 2 * count:
            chain, frame = draw_chain(rng, rng.choice((2, 3)), slice(-1)), rng.randrange(len(FRAMES))
            text = chain.text(REAL.name, frame)
            found.setdefault(text, LibraryTask("", SEVERAL, chain, text))
        return _numbered(list(found.values())[split == "test" :: 2], split)
    frames = range(TRAIN_FRAMES, len(FRAMES)) if category == SINGLE else range(len(FRAMES))
    pool = list(product(frames, _steps(last=category == OTHER_WORDS)))
    rng.shuffle(pool)
    tasks = [_single(frame, step, category) for frame, step in pool[split == "test" :: 2]]
    return _taken(tasks, count, split, rng)


def _steps(*, last: bool) -> list[Step]:
    """Every operation with every number: in its last wording, which training never uses, or in each of the others."""
    wordings = slice(-1, None) if last else slice(-1)
    return [
        Step(operation, number, wording)
        for operation in OPERATIONS.values()
        for number in (range(SMALLEST, LARGEST + 1) if operation.takes_number else (0,))
        for wording in range(len(operation.asks))[wordings]
    ]


def _single(frame: int, step: Step, category: str) -> LibraryTask:
    chain = Chain((step,))
    return LibraryTask("", category, chain, chain.text(REAL.name, frame))


def _taken(tasks: list[LibraryTask], count: int, split: str, rng: random.Random) -> list[LibraryTask]:
    if len(tasks) < count:
        raise RecipeError(f"there are only {len(tasks)} tasks of this kind", key=f"env.{split}", hint="ask for fewer")
    return _numbered(rng.sample(tasks, count), split)


def _numbered(tasks: list[LibraryTask], split: str) -> list[LibraryTask]:
    return [replace(one, id=f"{split}-{one.category}-{number}") for number, one in enumerate(tasks)]
