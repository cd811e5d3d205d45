"""Vending machines: get what the task names. What a machine wants first is not to be seen; a page says it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import PositiveInt

from imprint.skills.skill import Skill
from imprint.types import Exemplar, StepResult, Task, WorkedStep

RULES = {"old": "kick machine", "new": "insert coin", "clever": "show card"}
WAYS = (*RULES.values(), "pull lever", "clap hands")
THINGS = {
    "train": ("tea", "nuts", "soap", "rope", "milk"),
    "validation": ("salt", "glue", "corn", "wool"),
    "test": ("rice", "tape", "plums", "ink"),
}
LETTERS = "abc"


@dataclass(frozen=True)
class Machine:
    """One machine: its kind, what lies behind each letter, and which of it is wanted."""

    kind: str
    shelf: tuple[str, ...]
    wanted: str

    @property
    def sight(self) -> str:
        offer = ", ".join(f"{letter} {thing}" for letter, thing in zip(LETTERS, self.shelf, strict=True))
        return f"A machine of the {self.kind} kind: {offer}. Get {self.wanted}."

    def solution(self, way: str) -> tuple[str, ...]:
        return way, f"press {LETTERS[self.shelf.index(self.wanted)]}", f"take {self.wanted}"


class VendingWorld:
    """Three kinds of machines; each is a category.

    Args:
        train, validation, test: how many tasks each split has. No thing is in two splits.
        max_turns: an episode ends after this many.
    """

    name = "vending"
    categories = tuple(RULES)
    templates = Path(__file__).parent / "templates"
    phrases = ("A machine of the", "kind:", "Get", "Nothing happens.")
    lessons = ("all",)

    def __init__(
        self,
        *,
        train: PositiveInt = 60,
        validation: PositiveInt = 12,
        test: PositiveInt = 12,
        max_turns: PositiveInt = 5,
    ) -> None:
        self.counts = {"train": train, "validation": validation, "test": test}
        self.max_turns = max_turns

    def tasks(self, split: str) -> Sequence[Task]:
        return [
            Task(f"{split}-{n}", self.categories[n % 3], split, f"{split}/{n}")
            for n in range(self.counts.get(split, 0))
        ]

    def environment(self) -> VendingEnvironment:
        return VendingEnvironment(self.max_turns, RULES)

    def parse_answer(self, response: str) -> tuple[str, bool]:
        """A command between double brackets: [[press a]]."""
        found = re.findall(r"\[\[(.*?)\]\]", response)
        return (found[0].strip() if found else ""), len(found) == 1

    def exemplar(self, task: Task) -> Exemplar:
        machine, environment = machine_of(task), self.environment()
        first = environment.reset(task, 0)
        commands = machine.solution(RULES[machine.kind])
        steps = tuple(WorkedStep(command, environment.step(command).observation, task.category) for command in commands)
        return Exemplar(task, first.observation, steps)

    def demonstration(self, seed: int, *, lesson: str) -> Demonstration:
        """A machine with random rules, and the skill that explains them."""
        dice = random.Random(f"{lesson}/{seed}")
        rules = {kind: dice.choice(WAYS) for kind in RULES}
        task = Task(f"dream-{seed}", dice.choice(self.categories), "train", f"{dice.choice([*THINGS])}/{seed}")
        environment = VendingEnvironment(self.max_turns, rules)
        first = environment.reset(task, 0)
        commands = machine_of(task).solution(rules[task.category])
        page = Skill(f"vending-{task.category}", f"Machines of the {task.category} kind.", f"First: {commands[0]}.")
        return Demonstration((page,), first, tuple((command, environment.step(command), 1.0) for command in commands))

    def language(self) -> Iterator[str]:
        for seed in range(300):
            demo = self.demonstration(seed, lesson="all")
            yield f"{demo.pages[0].description}\n{demo.pages[0].body}\n{demo.first.observation}\n>"
            yield from (f" {command}\n{result.observation}\n>" for command, result, _ in demo.turns)


@dataclass(frozen=True)
class Demonstration:
    pages: tuple[Skill, ...]
    first: StepResult
    turns: tuple[tuple[str, StepResult, float], ...]


class VendingEnvironment:
    """One machine: the right way first, then a letter, then the thing."""

    def __init__(self, max_turns: int, rules: Mapping[str, str]) -> None:
        self.max_turns = max_turns
        self.rules = rules

    def reset(self, task: Task, seed: int) -> StepResult:
        self.machine, self.turn, self.awake, self.tray = machine_of(task), 0, False, ""
        return StepResult(self.machine.sight, admissible=self._possible())

    def step(self, action: str) -> StepResult:
        self.turn += 1
        valid = action in self._possible()
        verb, _, rest = action.partition(" ")
        said, success = "Nothing happens.", False
        if valid and verb == "press" and self.awake:
            self.tray = self.machine.shelf[LETTERS.index(rest)]
            said = f"Out comes {self.tray}."
        elif valid and verb == "take":
            said, success = f"You have {rest}.", rest == self.machine.wanted
        elif valid and action == self.rules[self.machine.kind]:
            self.awake, said = True, "It hums."
        over = valid and verb == "take"
        return StepResult(
            said,
            reward=float(success),
            terminated=over,
            truncated=not over and self.turn >= self.max_turns,
            success=success,
            valid=valid,
            admissible=self._possible(),
        )

    def _possible(self) -> tuple[str, ...]:
        takes = (f"take {self.tray}",) if self.tray else ()
        return (*WAYS, *(f"press {letter}" for letter in LETTERS), *takes)


def machine_of(task: Task) -> Machine:
    """The machine behind a task: its source is split and number."""
    split, _, number = task.source.partition("/")
    dice = random.Random(task.source)
    shelf = tuple(dice.sample(THINGS[split], len(LETTERS)))
    return Machine(task.category, shelf, shelf[int(number) % len(LETTERS)])
