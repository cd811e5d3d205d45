"""The JSON of a skill bank: what it must look like, and reading and writing it with errors that say what to fix."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imprint.errors import BankError
from imprint.support.files import atomic_write

GENERAL, MISTAKEN, CATEGORIES = "general_skills", "common_mistakes", ("task_specific_skills", "query_type_skills")
MAX_BYTES = 50_000_000
Model = TypeVar("Model", bound=BaseModel)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class BankSkill(_Entry):
    """One rule."""

    skill_id: str | None = None
    title: str
    principle: str
    when_to_apply: str | None = None


class BankMistake(_Entry):
    """One mistake and how to avoid it."""

    mistake_id: str | None = None
    description: str
    why_it_happens: str | None = None
    how_to_avoid: str | None = None


class Bank(_Entry):
    """What a bank must look like; further keys are kept as they are."""

    general_skills: list[BankSkill] = Field(default=[])
    task_specific_skills: dict[str, list[BankSkill]] = Field(default={})
    query_type_skills: dict[str, list[BankSkill]] = Field(default={})
    common_mistakes: list[BankMistake] = Field(default=[])


class Record(BaseModel):
    """`bank.json` beside imported skills: the bank, and which page (its first name) is which of its lists."""

    model_config = ConfigDict(extra="forbid", strict=True)
    pages: dict[str, list[str]]
    bank: dict[str, Any]


def read_bank(path: str | Path) -> dict[str, Any]:
    """The JSON of a bank, checked.

    Raises:
        BankError: it cannot be read, is not JSON, or is no bank; names the key and the hint.
    """
    path = Path(path)
    bank = read_json(path)
    if not isinstance(bank, dict) or not {GENERAL, MISTAKEN, *CATEGORIES} & set(bank):
        raise BankError(
            "is no skill bank", where=path, hint=f"it needs one of the keys {', '.join((GENERAL, *CATEGORIES))}"
        )
    check(Bank, bank, path)
    return bank


def write_bank(bank: Mapping[str, Any], path: str | Path, *, force: bool = False) -> None:
    """Write a bank as JSON, whole or not at all.

    Raises:
        BankError: the file exists and `force` is not given, or what would be written is no bank.
        CheckpointError: it cannot be written.
    """
    path = Path(path)
    if path.exists() and not force:
        raise BankError("is there already", where=path, hint="name a new file, or replace it with --force")
    check(Bank, bank, path)
    atomic_write(path, to_json(bank))


def read_json(path: Path) -> Any:
    """The JSON of a file: finite numbers, every key once.

    Raises:
        BankError: it cannot be read, or is none.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    def finite(number: str) -> float:
        return float(number) if math.isfinite(float(number)) else refuse(number)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
            raise BankError("is given twice", where=path, key=twice, hint="keep one of them")
        return found

    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BankError(
                f"is over {MAX_BYTES:,} bytes", where=path, hint="a bank is a file of rules: check the path"
            )
        return json.loads(data.decode("utf-8-sig"), parse_constant=refuse, parse_float=finite, object_pairs_hook=once)
    except OSError as error:
        raise BankError(f"cannot be read: {error.strerror}", where=path, hint="check the path") from error
    except json.JSONDecodeError as error:
        raise BankError(f"is not JSON: {error.msg}", where=path, line=error.lineno, hint="fix the file") from error
    except (ValueError, RecursionError) as error:
        raise BankError(f"is not JSON: {type(error).__name__}: {error}", where=path, hint="fix the file") from error


def to_json(value: Any) -> bytes:
    """`value` as the bytes of a JSON file."""
    try:
        return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half a character, which only an escape can write
        return (json.dumps(value, indent=2) + "\n").encode()


def check(kind: type[Model], value: Any, path: Path) -> Model:
    """`value` as a `kind`.

    Raises:
        BankError: it is none; names the first key that is wrong.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        missing = first["type"] == "missing"
        problem = "is missing" if missing else first["msg"][:1].lower() + first["msg"][1:]
        hint = "add it" if missing else "correct the value (an entry is a map of texts, a list is in [ ])"
        raise BankError(problem, where=path, key=key, hint=hint) from error
