"""The household world: ALFWorld's text games, made to order or read from files, behind `World` and `Environment`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

from pydantic import PositiveInt

from imprint.envs.base import Demonstration, Environment
from imprint.envs.household.banks import BANK_TASKS
from imprint.envs.household.engine import GameEngine
from imprint.envs.household.exemplar import work_out
from imprint.envs.household.game import FAMILIES, Game, fingerprint
from imprint.envs.household.gamefile import game_file
from imprint.envs.household.maker import MakerConfig, make_game
from imprint.envs.household.orders import carry_out_orders
from imprint.envs.household.random_rules import INTROS, LESSONS, make_random_rules
from imprint.envs.household.stored import ALFWORLD, HELD_OUT, Games, StoredGames, hold_out, split_roles
from imprint.envs.household.teacher import TakenOver, demonstrate
from imprint.errors import GameError, RecipeError
from imprint.types import Exemplar, StepResult, Task

ORDERS = "orders"  # the lesson of `orders.py`; the others are those of `random_rules.py`
# What the world's sentences are made of, between the names.
PHRASES = (
    "You are in the middle of a room. Looking quickly around you, you see a",
    "\n\nYour task is to:",
    "You arrive at",
    ". On the",
    ". The",
    " is closed.",
    " is open. In it, you see nothing.",
    " is open. In it, you see a",
    ", you see nothing.",
    ", you see a",
    ", and a",
    ", a",
    "You open the",
    "You pick up the",
    " from the",
    "You move the",
    " to the",
    "You clean the",
    "You heat the",
    "You cool the",
    " using the",
    "You turn on the",
    "Nothing happens.",
    " go to",
    ".\n>",
    "\n>",
)


class HouseholdWorld:
    """Tasks in a household, in six families.

    Args:
        games: `made` (drawn by the game maker as they are needed), `alfworld` (the published games, under
            `$ALFWORLD_DATA`), a folder in ALFWorld's layout (`<split>/<task>/<trial>/game.tw-pddl`), or a table of
            problems (`<split>.jsonl.gz`); a folder may hold both.
        splits: which split of stored games is the recipe's `train`, `validation` and `test`; `held-out` is a part of
            those to train on. By default a split of that name, else `train`, `held-out` and `valid_seen`.
            `as-stored`: no roles, a split is what is stored under its name.
        size: of the made rooms: `small`, `medium` or `alfred` (like the real ones).
        seed: of the made games, and of what is held out.
        train, validation, test: how many made games each split has; `validation` is also how many are held out.
        max_turns: an episode ends after this many; by default 50 with `alfworld`, as published, else 30.
        families: which of the six to play.
        engine: `native`, or `textworld`: ALFWorld's own, thousands of times slower, of the extra `imprint[alfworld]`.
    """

    name = "household"
    folds_answers = True
    bank_tasks = BANK_TASKS

    def __init__(
        self,
        *,
        games: Games = "made",
        size: Literal["small", "medium", "alfred"] = "small",
        seed: int = 0,
        train: PositiveInt = 1200,
        validation: PositiveInt = 120,
        test: PositiveInt = 600,
        max_turns: PositiveInt | None = None,
        families: Sequence[str] = FAMILIES,
        splits: Mapping[str, str] | str | None = None,
        engine: Literal["native", "textworld"] = "native",
    ) -> None:
        unknown = sorted(set(families) - set(FAMILIES))
        if unknown:
            raise RecipeError(
                f"unknown family {unknown[0]!r}",
                key="env.families",
                hint=f"choose from: {', '.join(FAMILIES)}",
            )
        self.engine = engine
        self.categories = tuple(family for family in FAMILIES if family in families)
        self.max_turns = max_turns or (50 if games == ALFWORLD else 30)
        self.config = MakerConfig(seed=seed, size=size, families=self.categories)
        self.counts = {"train": train, "validation": validation, "test": test}
        self.stored = None if games == "made" else StoredGames(games)
        self.roles = {} if self.stored is None else split_roles(splits, tuple(self.stored.splits()))
        self._tasks: dict[str, Sequence[Task]] = {}
        self._game = lru_cache(maxsize=4096 if self.stored is None else 512)(self._load)  # a real game takes 40 kB

    def tasks(self, split: str) -> Sequence[Task]:
        """All tasks of a split: one of the recipe's, or of stored games any that is there.

        Raises:
            RecipeError: there is no such split.
        """
        if split not in self._tasks:
            self._tasks[split] = self._made(split) if self.stored is None else self._found(split)
        return self._tasks[split]

    def game(self, task: Task) -> Game:
        """The game behind a task (kept for reuse)."""
        return self._game(task.source)

    def fingerprint(self, task: Task) -> str:
        """What a stored episode of `task` depends on, beside its id: the game's content, wherever it came from."""
        return fingerprint(self.game(task))

    def document(self, task: Task) -> Mapping[str, Any]:
        """The whole game file behind a task, as TextWorld reads it."""
        return game_file(self.game(task)) if self.stored is None else self.stored.document(task.source)

    def goal(self, first: str) -> str:
        """What is asked for, out of the first observation."""
        return first.rpartition("Your task is to:")[2].strip() or first

    def environment(self) -> Environment:
        if self.engine == "native":
            return HouseholdEnvironment(self)
        from imprint.envs.household.reference import ReferenceEnvironment

        return ReferenceEnvironment(self.document, self.max_turns)

    def demonstration(self, seed: int, *, lesson: str = "full") -> Demonstration | None:
        """A game with random rules, played by the scripted teacher; None if it ran out of turns.

        `lesson` is one of `lessons`.
        """
        if lesson == ORDERS:
            return carry_out_orders(seed)
        rules = make_random_rules(seed, size=self.config.size, lesson=LESSONS[lesson])
        played = demonstrate(rules, seed, self.max_turns)
        return played if played.success else None

    def practice(self, seed: int, *, lesson: str) -> TakenOver | None:
        """The game of `demonstration`, for a policy to begin; None for orders, which have no game."""
        if lesson == ORDERS:
            return None
        return TakenOver(make_random_rules(seed, size=self.config.size, lesson=LESSONS[lesson]), self.max_turns)

    def exemplar(self, task: Task) -> Exemplar | None:
        """`task` solved by the scripted teacher; None if it ran out of turns."""
        return work_out(task, self.game(task), self.max_turns)

    phrases = PHRASES
    lessons = (ORDERS, *LESSONS)

    def language(self) -> Iterator[str]:
        """Demonstrations and real task sentences, for the tokenizer."""
        for demo in filter(None, (self.demonstration(seed) for seed in range(1500))):
            yield demo.first.observation
            yield from (f"# {page.name}\n{page.description}\n{page.body}" for page in demo.pages)
            yield from (f" {command}\n{result.observation}\n>" for command, result, _ in demo.turns)
        for index in range(600):
            game = make_game("train", index, self.config)
            yield GameEngine(game).reset().observation + "\n>"
        yield from INTROS

    def _made(self, split: str) -> Sequence[Task]:
        if split not in self.counts:
            raise RecipeError(
                f"made games have no split {split!r}",
                key="split",
                hint=f"choose from: {', '.join(self.counts)}",
            )
        families = self.categories
        return [
            Task(f"made/{split}/{index}", families[index % len(families)], split, f"{split}:{index}")
            for index in range(self.counts[split])
        ]

    def _found(self, split: str) -> Sequence[Task]:
        assert self.stored is not None
        source = self.roles.get(split, split)
        held_out = self.roles.get("validation") == HELD_OUT and split in ("train", "validation")
        entries = self.stored.entries(self.roles["train"] if held_out else source)
        entries = tuple(entry for entry in entries if entry.family in self.categories)
        if held_out:
            parts = hold_out(entries, self.counts["validation"], self.config.seed)
            entries = tuple(parts[split == "train"])
        return [Task(entry.id, entry.family, split, entry.source) for entry in entries]

    def _load(self, source: str) -> Game:
        if self.stored is not None:
            return self.stored.game(source)
        split, index = source.split(":")
        return make_game(split, int(index), self.config)


class HouseholdEnvironment:
    """One episode of a household game."""

    def __init__(self, world: HouseholdWorld) -> None:
        self.world = world
        self.engine: GameEngine | None = None

    def reset(self, task: Task, seed: int) -> StepResult:
        """Start `task`. The game is deterministic: `seed` changes nothing."""
        self.engine = GameEngine(self.world.game(task), max_turns=self.world.max_turns, with_admissible=True)
        return replace(self.engine.reset(), state=self.engine.state())

    def step(self, action: str) -> StepResult:
        if self.engine is None:
            raise GameError("step before reset", hint="call reset(task, seed) first")
        return replace(self.engine.step(action), state=self.engine.state())
