"""Errors a user can act on: each names what is wrong, where (file and key or line), and how to fix it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ImprintError(Exception):
    """Base of every error Imprint raises on bad input; the command line prints it without a traceback.

    Args:
        problem: what is wrong, one sentence.
        where: the file (or other source) at fault, if there is one.
        key: the key inside it (a recipe key, a front-matter field) at fault.
        line: the 1-based line of `where` at fault.
        hint: what the user can do about it, one sentence.
        mend: the old name of `hint`, for packages written before it.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: str | Path | None = None,
        key: str | None = None,
        line: int | None = None,
        hint: str | None = None,
        mend: str | None = None,
    ) -> None:
        self.problem = problem
        self.where = None if where is None else str(where)
        self.key = key
        self.line = line
        self.hint = mend if hint is None else hint
        super().__init__(self.describe())

    def describe(self) -> str:
        """The whole message: `file:line: key: problem\n  hint: ...`."""
        place = "" if self.where is None else _shown(self.where)
        if self.line is not None:
            place += f":{self.line}"
        parts = [part for part in (place, self.key, self.problem) if part]
        message = ": ".join(_shown(part) for part in parts)
        return message if self.hint is None else f"{message}\n  hint: {self.hint}"


@contextmanager
def under(key: str) -> Iterator[None]:
    """Errors raised within are about this key, unless they name one themselves."""
    try:
        yield
    except ImprintError as error:
        if error.key is None:
            error.key = key
            error.args = (error.describe(),)
        raise


def _shown(text: str) -> str:
    """`text` without characters that a terminal obeys: paths and keys come from files we do not trust."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class SkillError(ImprintError):
    """A skill folder that cannot be read or does not follow the agentskills.io rules."""


class LibraryError(ImprintError):
    """A skill library that does not fit the tasks: a task without a skill, a skill without a task, a duplicate."""


class BankError(ImprintError):
    """A skill bank (SkillRL's JSON) that cannot be read, written, or turned into skills."""


class GameError(ImprintError):
    """A game file that cannot be read or does not describe a playable game."""


class RecipeError(ImprintError):
    """A recipe with an unknown key, a wrong value, or parts that do not fit together."""


class CheckpointError(ImprintError):
    """A checkpoint or run folder that is incomplete, damaged, or belongs to another recipe."""


class PolicyError(ImprintError):
    """A policy that cannot be loaded or cannot do what is asked of it."""


class RetrievalError(ImprintError):
    """A corpus or an index that cannot be read, or a search engine that does not answer."""


class QuestionError(ImprintError):
    """A question set that cannot be read, or a row of it that is no question with an answer."""


class TrustError(ImprintError):
    """A skill that is not trusted enough for what is asked of it, or a trust record that is damaged."""
