"""What environments answer, in plain Python types: the fields of a `StepResult`, checked.

NumPy's and PyTorch's scalars become Python's, and 0 and 1 count as False and True. Anything else of a wrong type is an
error: an array, the text "false" and NaN are all true in Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from typing import Any

from imprint.errors import GameError
from imprint.types import StepResult

__all__ = ["as_number", "as_truth", "checked_result", "quoted", "written"]

LONGEST = 80  # characters of a value in an error


def as_truth(value: object, name: str) -> bool:
    """`value` as a bool: True, False, 0, 1, or a scalar of NumPy or PyTorch that is one of them.

    Raises:
        GameError: it is something else.
    """
    if value is True or value is False:
        return bool(value)
    found = _scalar(value)
    if isinstance(found, Real) and found in (0, 1):
        return bool(found)
    hint = "give True or False; a graded outcome is `score`" if name == "success" else "give True or False"
    raise GameError(f"is {quoted(value)}, and neither true nor false", key=name, hint=hint)


def as_number(value: object, name: str) -> float:
    """`value` as a finite float: a number, or a scalar of NumPy or PyTorch.

    Raises:
        GameError: it is something else.
    """
    found = _scalar(value)
    try:
        number = float(found) if isinstance(found, Real) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise GameError(f"is {quoted(value)}, and no finite number", key=name, hint="give one number")
    return number


def checked_result(result: StepResult) -> StepResult:
    """The same result with its fields in plain types.

    Raises:
        GameError: a field is of another type; its key names the field.
    """
    values = {name: getattr(result, name) for name in _CHECKS}
    plain = {name: check(values[name], name) for name, check in _CHECKS.items()}
    changed: dict[str, Any] = {name: value for name, value in plain.items() if value is not values[name]}
    return replace(result, **changed) if changed else result


def quoted(value: object) -> str:
    """A value of anybody's and its type, as an error may show it."""
    text = " ".join(written(value, repr).split())
    return f"{text if len(text) <= LONGEST else text[:LONGEST] + '...'} ({type(value).__name__})"


def written(value: object, how: Callable[[object], str]) -> str:
    """`str` or `repr` of a value of anybody's, whose own method may fail."""
    try:
        return how(value)
    except Exception:
        return object.__repr__(value)


def _text(value: object, name: str) -> str:
    """A text, without the halves of characters that no tokenizer and no file takes."""
    if not isinstance(value, str):
        raise GameError(f"is {quoted(value)}, and no text", key=name, hint="give a str")
    value = str.__str__(value)  # no subclass of str
    if value.isascii():
        return value
    whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value if whole == value else whole


def _texts(values: object, name: str) -> tuple[str, ...]:
    if not isinstance(values, list | tuple):
        raise GameError(f"is {quoted(values)}, and no tuple of texts", key=name, hint="give a tuple of str")
    if isinstance(values, tuple) and all(isinstance(value, str) and value.isascii() for value in values):
        return values
    return tuple(_text(value, f"{name}[{place}]") for place, value in enumerate(values))


_CHECKS: dict[str, Callable[[Any, str], object]] = {
    "observation": _text,
    "reward": as_number,
    **dict.fromkeys(("terminated", "truncated", "success", "valid"), as_truth),
    "admissible": _texts,
    "score": lambda value, name: None if value is None else as_number(value, name),
    "state": _text,
}


def _scalar(value: object) -> object:
    """What a scalar of NumPy or PyTorch holds; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
