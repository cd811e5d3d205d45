"""The first lesson: skill text as a list of orders, carried out line by line, with no room and no search.

An episode in a room has a handful of things to look up in the skill text among hundreds of other words; here every
second command is one. What a policy learns in minutes from these takes hours to learn from episodes alone.
"""

from __future__ import annotations

import random

from imprint.envs.base import Demonstration
from imprint.envs.household.catalog import CONTAINS, FIXED
from imprint.envs.household.random_rules import REAL_TOOLS, TREAT, USE, VERBS
from imprint.envs.household.teacher import PAGE_WEIGHT
from imprint.skills.skill import Skill
from imprint.types import StepResult

MOST = 8
PLACES = sorted(CONTAINS)
# With the lamps: no goal of the plain lessons asks for one, but the word has to be read like any other.
THINGS = sorted(frozenset[str]().union(FIXED, *CONTAINS.values()))


def carry_out_orders(seed: int) -> Demonstration:
    """Up to eight orders ("heat it with the drawer", "use the pen") as skill text, carried out; from `seed` alone."""
    rng = random.Random(f"orders/{seed}")
    tools = rng.sample(PLACES, rng.randint(1, MOST))
    example, kind = (rng.choice(THINGS).lower() for _ in range(2))
    thing = f"{kind} {rng.randint(1, 3)}"
    silence = StepResult("")
    lines = []
    turns = [(f"take {thing} from {rng.choice(PLACES).lower()} 1", silence, 0.0)]
    for tool in tools:
        if rng.random() < 0.2:
            used = rng.choice(THINGS).lower()
            lines.append(rng.choice(USE).format(object=example, lamp=used))
            commands = [f"use {used} 1"]
        else:
            verb, place = rng.choice([verb for verb in VERBS if tool not in REAL_TOOLS[verb]]), tool.lower()
            lines.append(rng.choice(TREAT).format(verb=verb, tool=place, object=example))
            commands = [f"go to {place} 1", f"{verb} {thing} with {place} 1"]
        turns += [(command, silence, PAGE_WEIGHT) for command in commands]
    body = " ".join(lines)
    return Demonstration((Skill("household-task", "", body),), silence, tuple(turns), success=True)
