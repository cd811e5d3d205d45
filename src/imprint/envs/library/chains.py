"""Chains: operations to be done one after the other, the text that asks for them, and a program that does them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from imprint.envs.library.checking import probes, values, varied
from imprint.envs.library.operations import LARGEST, OPERATIONS, SMALLEST, Operation, Value
from imprint.envs.library.package import Package

FRAMES = (
    "Package {package}. Task: {asked}.",
    "Use {package}. The list is x: {asked}.",
    "Package {package}. With the list x, {asked}.",
    "Use {package}. Write a program: {asked}.",
    "Package {package}. What is asked for: {asked}.",
    "Write a program with {package} that does this to x: {asked}.",
)
THEN = "; then "


@dataclass(frozen=True, slots=True)
class Step:
    """An operation with its number (0 where it takes none), and which of its wordings asks for it."""

    operation: Operation
    number: int
    wording: int

    @property
    def asked(self) -> str:
        return self.operation.asks[self.wording].format(n=self.number)


@dataclass(frozen=True, slots=True)
class Chain:
    """Operations to be done one after the other."""

    steps: tuple[Step, ...]

    def text(self, package: str, frame: int = 0) -> str:
        """The task's text."""
        return FRAMES[frame].format(package=package, asked=self.asked)

    @property
    def asked(self) -> str:
        """What is to be done, in words."""
        return THEN.join(step.asked for step in self.steps)

    def program(self, package: Package) -> str:
        """A program that does it."""
        calls = [package.call(step.operation, step.number) for step in self.steps]
        return "".join(f"x = {call}; " for call in calls[:-1]) + f"return {calls[-1]}"

    def __call__(self, items: Sequence[int]) -> Value:
        """What a right program returns for `items`.

        Raises:
            ValueError: an operation is not defined there.
        """
        value: Value = tuple(items)
        for step in self.steps:
            assert isinstance(value, tuple)
            value = step.operation(value, step.number)
        return value

    def needs_all(self, seed: str) -> bool:
        """Whether it is worth asking for: varied, and another one without any of its steps."""
        lists = probes(seed)
        own = values(self, lists)
        rest = [self.steps[:place] + self.steps[place + 1 :] for place in range(len(self.steps))]
        return varied(own) and all(values(Chain(steps), lists) != own for steps in rest)


def draw_step(rng: random.Random, operations: Sequence[Operation], wordings: slice = slice(None)) -> Step:
    """One operation, with a number and a wording among `wordings` of those that it has."""
    operation = rng.choice(operations)
    number = rng.randint(SMALLEST, LARGEST) if operation.takes_number else 0
    return Step(operation, number, rng.choice(range(len(operation.asks))[wordings]))


def draw_chain(rng: random.Random, length: int, wordings: slice = slice(None)) -> Chain:
    """Different operations, of which only the last may give a number."""
    while True:
        steps = tuple(draw_step(rng, list(OPERATIONS.values()), wordings) for _ in range(length))
        kinds = {step.operation.key for step in steps}
        if len(kinds) == length and not any(step.operation.gives_number for step in steps[:-1]):
            chain = Chain(steps)
            if chain.needs_all(f"probe/{rng.random()}"):
                return chain
