"""A made package: the operations under names that say nothing about them."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from imprint.envs.library.interpreter import Function
from imprint.envs.library.operations import OPERATIONS, Operation

_SYLLABLES = tuple("".join(pair) for pair in product("bdfgklmnprstvz", "aeiou"))
_WORDS = {
    word for one in OPERATIONS.values() for text in (*one.asks, *one.says) for word in re.findall(r"[a-z]+", text)
}
NAMES = {  # by how they begin
    first: tuple(name for name in (first + second for second in _SYLLABLES) if name not in _WORDS)
    for first in _SYLLABLES
}
PACKAGES = ("velk", "orim", "tusk", "yarn", "plim", "quor", "drab", "fenn", "gost", "hule", "jent", "wirr")


@dataclass(frozen=True)
class Package:
    """A package with a function for every operation.

    Attributes:
        name: of the package.
        names: of its functions, by the operation's key.
    """

    name: str
    names: Mapping[str, str]

    @cached_property
    def functions(self) -> dict[str, Function]:
        """What the interpreter needs of them."""
        return {name: Function(1 + OPERATIONS[key].takes_number, OPERATIONS[key]) for key, name in self.names.items()}

    def call(self, operation: Operation, number: int) -> str:
        """The call that applies `operation` to x."""
        arguments = f"x, {number}" if operation.takes_number else "x"
        return f"{self.name}.{self.names[operation.key]}({arguments})"


def draw_package(rng: random.Random, name: str, without: Collection[str] = ()) -> Package:
    """A package whose functions have names drawn at random, none of them one of `without`.

    No two begin alike: a policy that has read half of a name knows which one it is.
    """
    firsts = rng.sample(_SYLLABLES, len(OPERATIONS))
    names = [rng.choice([name for name in NAMES[first] if name not in without]) for first in firsts]
    return Package(name, dict(zip(OPERATIONS, names, strict=True)))


REAL = draw_package(random.Random("library/real/3"), PACKAGES[0])
# Packages whose names never change, shown with and without documentation: what a base policy knows already.
_WELL_KNOWN = ("norb", "sild")
WELL_KNOWN = tuple(draw_package(random.Random(f"library/{name}"), name, REAL.names.values()) for name in _WELL_KNOWN)
