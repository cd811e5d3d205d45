"""When a program does what a reference does: equal values for hidden lists, and through the package every time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from imprint.envs.library.interpreter import read_program
from imprint.envs.library.operations import Value
from imprint.envs.library.package import Package

CHECKS = 6  # hidden lists that a program is run on
PROBES = 24  # lists that tell whether a reference is worth asking for

Reference = Callable[[Sequence[int]], Value]  # what a right program returns; ValueError where it is not defined


def values(reference: Reference, lists: Iterable[Sequence[int]]) -> list[Value | None]:
    """What it gives for each list; None where it is not defined."""
    found: list[Value | None] = []
    for items in lists:
        try:
            found.append(reference(items))
        except ValueError:
            found.append(None)
    return found


def varied(given: Sequence[Value | None]) -> bool:
    """Whether a reference with these values for `PROBES` lists is mostly defined, and not nearly constant."""
    return given.count(None) <= PROBES // 2 and len({one for one in given if one not in (None, ())}) >= PROBES // 4


def hidden_inputs(reference: Reference, seed: str) -> list[tuple[int, ...]]:
    """The lists, drawn from `seed`, that programs are checked with: the reference is defined for all of them."""
    return list(islice((items for items in lists(seed) if values(reference, [items]) != [None]), CHECKS))


def solves(program: str, reference: Reference, package: Package, seed: str) -> bool:
    """Whether `program` returns what the reference does for every hidden list, and through the package each time.

    Raises:
        ProgramError: it cannot be read, or not be run on a list that it comes to.
    """
    read = read_program(program, package.name)
    return all(read(package.functions, items) == (reference(items), True) for items in hidden_inputs(reference, seed))


def probes(seed: str) -> list[tuple[int, ...]]:
    """`PROBES` lists."""
    return list(islice(lists(seed), PROBES))


def lists(seed: str) -> Iterator[tuple[int, ...]]:
    """Lists of ten to twelve numbers, one of which occurs twice."""
    rng = random.Random(seed)
    while True:
        items = tuple(rng.randint(-9, 12) for _ in range(rng.randint(9, 11)))
        yield (*items, rng.choice(items))
