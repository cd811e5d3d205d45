"""Drinks: serve what a table wants. How a drink is made is not to be seen; its skill says it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import product

from imprint.envs.base import Demonstration
from imprint.skills.skill import Skill
from imprint.types import StepResult, Task

CUPS = ("glass", "mug", "bowl", "jar")
EXTRAS = ("lemon", "cream", "ginger", "honey", "mint")
NUMBERS = random.Random(0).sample(range(10, 100), k=90)
TABLES = {"train": NUMBERS[:50], "validation": NUMBERS[50:70], "test": NUMBERS[70:]}  # of a split: in no other one
RECIPES = {"tea": ("glass", "lemon"), "cocoa": ("mug", "cream"), "punch": ("bowl", "ginger")}  # what the skills say


class DrinksWorld:
    """Three drinks, each a category with a skill of its own. A task is a table that wants one of them."""

    name = "drinks"
    categories = tuple(RECIPES)

    def __init__(self, *, max_turns: int = 4) -> None:  # the options of the recipe's `env` section
        self.max_turns = max_turns

    def tasks(self, split: str) -> list[Task]:
        """The tasks of `train`, `validation` or `test`."""
        return [
            Task(f"{drink}-{table}", drink, split, str(table))
            for table in TABLES.get(split, ())
            for drink in self.categories
        ]

    def environment(self) -> DrinksEnvironment:
        return DrinksEnvironment(RECIPES, self.max_turns)

    # What `imprint pretrain` needs.

    lessons = ("any",)  # kinds of demonstrations, from easy to real; here there is one
    phrases = ("wants", "You have the", "It is in.", "Nothing happens.")  # parts of sentences that become a token each

    def demonstration(self, seed: int, *, lesson: str) -> Demonstration:
        """A drink with a recipe drawn at random, never the real one, and the skill that says it: one has to read it."""
        rng = random.Random(seed)
        drink = rng.choice(self.categories)
        cup, extra = rng.choice([pair for pair in product(CUPS, EXTRAS) if pair != RECIPES[drink]])
        task = Task(f"demonstration-{seed}", drink, "train", str(rng.randrange(10, 100)))
        environment = DrinksEnvironment({drink: (cup, extra)}, self.max_turns)
        first = environment.reset(task, seed)
        commands = (f"take {cup}", f"add {extra}", f"serve {task.source}")
        turns = tuple((command, environment.step(command), 1.0) for command in commands)
        skill = Skill(drink, f"How to make {drink}.", f"Take the {cup}. Add the {extra}. Serve the table.")
        return Demonstration((skill,), first, turns, success=turns[-1][1].success)

    def language(self) -> Iterator[str]:
        """Texts that the tokenizer is trained on."""
        for seed in range(300):
            shown = self.demonstration(seed, lesson="any")
            yield f"{shown.pages[0].description}\n{shown.pages[0].body}\n{shown.first.observation}\n"
            yield from (f" {command}\n{result.observation}\n" for command, result, _ in shown.turns)


class DrinksEnvironment:
    """One table. `take CUP`, `add EXTRA`, then `serve TABLE`, which ends the episode."""

    def __init__(self, recipes: Mapping[str, tuple[str, str]], max_turns: int) -> None:
        self.recipes, self.max_turns = recipes, max_turns

    def reset(self, task: Task, seed: int) -> StepResult:
        self.wanted, self.table = self.recipes[task.category], task.source
        self.cup, self.extra, self.turn = "", "", 0
        return StepResult(f"Table {self.table} wants {task.category}.", admissible=self._possible())

    def step(self, action: str) -> StepResult:
        self.turn += 1
        valid = action in self._possible()
        verb, _, rest = action.partition(" ")
        said, served = "Nothing happens.", valid and verb == "serve"
        if valid and verb == "take":
            self.cup, said = rest, f"You have the {rest}."
        elif valid and verb == "add":
            self.extra, said = rest, "It is in."
        elif served:
            said = "Served."
        success = served and (self.cup, self.extra) == self.wanted
        return StepResult(
            said,
            reward=float(success),
            terminated=served,
            truncated=not served and self.turn >= self.max_turns,
            success=success,
            valid=valid,
            admissible=self._possible(),
        )

    def _possible(self) -> tuple[str, ...]:
        adds = tuple(f"add {extra}" for extra in EXTRAS) if self.cup else ()
        return (*(f"take {cup}" for cup in CUPS), *adds, f"serve {self.table}")
