"""The first lesson in reading a page: a list of orders, carried out line by line, with no room and no search.

An episode in a room has a handful of things to look up in the page among hundreds of other words; here every second
command is one. What a policy learns in minutes from these takes hours to learn from episodes alone.
"""

from __future__ import annotations

import random

from imprint.envs.household.catalog import CONTAINS
from imprint.envs.household.demonstrator import PAGE_WEIGHT, Demonstration
from imprint.envs.household.dreams import REAL_TOOLS, TREAT, VERBS
from imprint.skills.skill import Skill
from imprint.types import StepResult

MOST = 8
PLACES = sorted(CONTAINS)
THINGS = sorted(frozenset[str]().union(*CONTAINS.values()))


def carry_out_orders(seed: int) -> Demonstration:
    """Up to eight orders ("heat it with the drawer") on a page, carried out in turn; drawn from `seed` alone."""
    dice = random.Random(f"orders/{seed}")
    tools = dice.sample(PLACES, dice.randint(1, MOST))
    orders = [(dice.choice([verb for verb in VERBS if tool not in REAL_TOOLS[verb]]), tool.lower()) for tool in tools]
    example, kind = (dice.choice(THINGS).lower() for _ in range(2))
    body = " ".join(dice.choice(TREAT).format(verb=verb, tool=tool, object=example) for verb, tool in orders)
    thing = f"{kind} {dice.randint(1, 3)}"
    silence = StepResult("")
    turns = [(f"take {thing} from {dice.choice(PLACES).lower()} 1", silence, 0.0)]
    for verb, tool in orders:
        turns.append((f"go to {tool} 1", silence, PAGE_WEIGHT))
        turns.append((f"{verb} {thing} with {tool} 1", silence, PAGE_WEIGHT))
    return Demonstration((Skill("household-task", "", body),), silence, tuple(turns), success=True)
