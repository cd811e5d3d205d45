"""The documentation of a package as skills: a page on how to write a program, and one for each area of functions."""

from __future__ import annotations

import random
from collections.abc import Mapping
from types import MappingProxyType

from imprint.envs.library.operations import AREAS, BY_AREA
from imprint.envs.library.package import Package
from imprint.skills.skill import Skill

FIRST: Mapping[str, int] = MappingProxyType({})
TITLES = {
    "arranging": "Functions of {package} that arrange a list.",
    "choosing": "Functions of {package} that choose items of a list.",
    "changing": "Functions of {package} that change the items of a list.",
    "summing_up": "Functions of {package} that sum a list up in one number.",
}
HOW = (
    "A program is one line. The list is x.",
    "Each step gives x a new value: x = {package}.name(x);",
    "The last step is returned: return {package}.name(x)",
    "Some functions take a number n after the list: {package}.name(x, n)",
    "There is nothing but the functions of {package}: no other function and no sign of arithmetic.",
)


def documentation(
    package: Package, said: Mapping[str, int] = FIRST, rng: random.Random | None = None
) -> tuple[Skill, ...]:
    """The pages of a package, the general one first.

    Args:
        said: which of an operation's descriptions stands there, by its key; the first one of those that are not named.
        rng: draws the order of the lines, and how much the general page says; None: as they are, and all.
    """
    return (general_page(package, rng), *(area_page(package, area, said, rng) for area in AREAS))


def general_page(package: Package, rng: random.Random | None = None) -> Skill:
    """How programs are written."""
    lines = [line.format(package=package.name) for line in HOW]
    if rng is not None:
        lines = rng.sample(lines, rng.randint(3, len(lines)))
    description = f"How a program with the package {package.name} is written."
    return Skill(f"{package.name}-programs", description, "\n".join(f"- {line}" for line in lines))


def area_page(package: Package, area: str, said: Mapping[str, int] = FIRST, rng: random.Random | None = None) -> Skill:
    """What the functions of one area do, a line each: first what, then the name, which follows the words that lead to
    it."""
    operations = list(BY_AREA[area])
    if rng is not None:
        rng.shuffle(operations)
    lines = []
    for one in operations:
        arguments = "x, n" if one.takes_number else "x"
        says = one.says[said.get(one.key, 0)]
        lines.append(f"- {says}: {package.name}.{package.names[one.key]}({arguments})")
    title = TITLES[area].format(package=package.name)
    return Skill(f"{package.name}-{area.replace('_', '-')}", title, "\n".join(lines))
