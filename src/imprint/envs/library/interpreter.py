"""A small interpreter for the programs of a policy. Python never runs them.

    program    = { name "=" expression ";" } "return" expression [";"]
    expression = number | "[" [numbers] "]" | name | package "." function "(" [expression {"," expression}] ")"

The only names at the start are `x`, the input, and the package. There are no loops and no recursion, and the length of
a program, the depth of its calls, the length of its lists and the size of its numbers are limited: each program ends
soon. Every value carries whether it came out of a call of the package, so that an answer which only spells out a
constant is found (SE-Bench's check of the data flow, arXiv 2602.04811, here while the program runs).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from imprint.envs.library.operations import Value
from imprint.errors import ImprintError

INPUT = "x"
LONGEST, DEEPEST = 600, 16  # characters of a program, calls within calls
MOST_ITEMS, LARGEST = 1000, 10**1000

_TOKEN = re.compile(r"\s*(?:(-?[0-9]+)|([A-Za-z_][A-Za-z_0-9]*)|([=;.,()\[\]]))")


class ProgramError(ImprintError):
    """A program cannot be read or run. What it says is for people: a policy is only told that it failed."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a package: how many values it takes, and what it does with them."""

    arguments: int
    run: Callable[..., Value]


@dataclass(frozen=True, slots=True)
class Program:
    """A program that could be read: run it as often as you like.

    Attributes:
        statements: (name, expression) in order; the last name is `return`.
    """

    statements: tuple[tuple[str, _Expression], ...]

    def __call__(self, functions: Mapping[str, Function], items: Sequence[int]) -> tuple[Value, bool]:
        """What it returns for the input `items`, and whether that came out of a call of the package.

        Raises:
            ProgramError: an unknown name, a wrong number or kind of arguments, or a value beyond the limits.
        """
        values: dict[str, tuple[Value, bool]] = {INPUT: (tuple(items), False)}
        for name, expression in self.statements:
            values[name] = expression.value(values, functions)
        return values["return"]


@dataclass(frozen=True, slots=True)
class _Expression:
    """A constant, a name, or a call."""

    constant: Value | None = None
    name: str = ""
    arguments: tuple[_Expression, ...] = ()
    called: bool = False

    def value(self, values: Mapping[str, tuple[Value, bool]], functions: Mapping[str, Function]) -> tuple[Value, bool]:
        if self.constant is not None:
            return self.constant, False
        if not self.called:
            if self.name not in values:
                raise ProgramError(f"there is no value {self.name!r}", hint="x is the input")
            return values[self.name]
        function = functions.get(self.name)
        if function is None:
            raise ProgramError(f"the package has no function {self.name!r}", hint="see its documentation")
        arguments = [argument.value(values, functions)[0] for argument in self.arguments]
        if len(arguments) != function.arguments:
            raise ProgramError(
                f"{self.name} takes {function.arguments} values, not {len(arguments)}", hint="see its documentation"
            )
        if [isinstance(one, int) for one in arguments] != [False, True][: function.arguments]:
            raise ProgramError(f"{self.name} takes a list first, then a number", hint="see its documentation")
        if any(isinstance(one, int) and abs(one) > MOST_ITEMS for one in arguments):
            raise ProgramError(f"{self.name} is given a number beyond {MOST_ITEMS}", hint="give it a smaller one")
        try:
            return _within_limits(function.run(*arguments)), True
        except ValueError as error:
            raise ProgramError(f"{self.name}: {error}", hint="give it another list") from error


def _within_limits(value: Value) -> Value:
    items = (value,) if isinstance(value, int) else value
    if len(items) > MOST_ITEMS or any(abs(item) > LARGEST for item in items):
        raise ProgramError("a value is too large", hint=f"at most {MOST_ITEMS} items, of at most 1000 digits")
    return value


def read_program(text: str, package: str) -> Program:
    """Parse a program that may call the functions of `package`.

    Raises:
        ProgramError: it is none.
    """
    if len(text) > LONGEST:
        raise ProgramError(f"a program has at most {LONGEST} characters", hint="write a shorter one")
    return _Parser(_tokens(text), package).program()


def _tokens(text: str) -> list[str]:
    tokens, place, end = [], 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            raise ProgramError(
                f"{text[place : place + 10]!r} is not part of the language", hint="see `imprint.envs.library`"
            )
        tokens.append(match.group().strip())
        place = match.end()
    return tokens


@dataclass
class _Parser:
    tokens: list[str]
    package: str
    place: int = field(default=0)

    def program(self) -> Program:
        statements: list[tuple[str, _Expression]] = []
        while not statements or statements[-1][0] != "return":
            name = self._name()
            if name != "return":
                self._expect("=")
            statements.append((name, self._expression(0)))
            if name != "return" or self._next() == ";":
                self._expect(";")
        if self._next():
            raise ProgramError("nothing follows what is returned", hint="end the program there")
        return Program(tuple(statements))

    def _expression(self, depth: int) -> _Expression:
        if depth > DEEPEST:
            raise ProgramError(f"calls stand within calls at most {DEEPEST} deep", hint="name a value in between")
        token = self._next()
        if token == "[":
            return _Expression(constant=self._items())
        if _is_number(token):
            return _Expression(constant=int(self._take()))
        name = self._name()
        if name != self.package:
            return _Expression(name=name)
        self._expect(".")
        function, arguments = self._name(), []
        self._expect("(")
        while self._next() != ")":
            arguments.append(self._expression(depth + 1))
            if self._next() != ")":
                self._expect(",")
        self._expect(")")
        return _Expression(name=function, arguments=tuple(arguments), called=True)

    def _items(self) -> tuple[int, ...]:
        self._expect("[")
        items = []
        while self._next() != "]":
            if not _is_number(self._next()):
                raise ProgramError("a list that is spelled out holds numbers alone", hint="write [1, 2, 3]")
            items.append(int(self._take()))
            if self._next() != "]":
                self._expect(",")
        self._expect("]")
        return tuple(items)

    def _next(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def _take(self) -> str:
        token = self._next()
        self.place += 1
        return token

    def _name(self) -> str:
        token = self._take()
        if not token[:1].isalpha() and token[:1] != "_":
            raise ProgramError(f"a name is missing before {token!r}", hint="write name = ... or return ...")
        return token

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise ProgramError(f"{token!r} is missing", hint="write name = package.function(x);")


def _is_number(token: str) -> bool:
    return token.lstrip("-").isdigit()
