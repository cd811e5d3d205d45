"""What `against_trl.py` asks of both sides: prompts, lengths, groups and rewards."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.envs.base import Environment, World
from imprint.envs.household.world import HouseholdWorld
from imprint.models.local.policy import Policy
from imprint.models.local.sampler import Sampling
from imprint.rollout.tokens import Request, derive_seed
from imprint.skills.library import load_library
from imprint.skills.skill import Skill
from imprint.types import StepResult, Task

LR = 1e-6


@dataclass
class Parts:
    """Where the seconds of one step went; `tokens` are the sampled ones of one sample, in the mean."""

    sampling: float
    whole: float
    tokens: float

    @property
    def update(self) -> float:
        return self.whole - self.sampling


@dataclass(frozen=True)
class Setting:
    """Requests to play, and how."""

    name: str
    world: World
    requests: list[Request]
    sampling: Sampling
    group: int

    @property
    def owners(self) -> list[int]:
        """Of each request, the number of its group."""
        return [place // self.group for place in range(len(self.requests))]

    @property
    def rewards(self) -> list[float]:
        """0 and 1 in turn, so that every sample has an advantage."""
        return [float(place % 2) for place in range(len(self.requests))]


class Quiz:
    """A world of one turn: the observation is given, any answer ends the episode."""

    name, categories, max_turns = "quiz", ("quiz",), 1

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(str(place), "quiz", split) for place in range(len(self.texts))]

    def environment(self) -> Environment:
        return QuizEnvironment(self.texts)


class QuizEnvironment:
    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    def reset(self, task: Task, seed: int) -> StepResult:
        return StepResult(self.texts[int(task.id)])

    def step(self, action: str) -> StepResult:
        return StepResult("", truncated=True)


def make_settings(names: Sequence[str], policy: Policy, *, tasks: int, group: int, turns: int) -> list[Setting]:
    """The settings of these names: `tasks` groups of `group` requests each."""
    made = []
    for name in names:
        if name == "episodes":
            world: World = HouseholdWorld(train=tasks, max_turns=turns)
            made.append(_setting(name, world, Sampling(1.0, 8), group))
        else:
            world, page = _quiz(Context(policy, ContextConfig()), tasks, *((128, 0) if name == "short" else (384, 288)))
            made.append(_setting(name, world, Sampling(1.0, 32), group, page))
    return made


def _setting(name: str, world: World, sampling: Sampling, group: int, page: tuple[Skill, ...] | None = None) -> Setting:
    requests = []
    for task in world.tasks("train"):
        skills = load_library("household").serving(task.category) if page is None else page
        requests += [Request(task, derive_seed("trl", task.id, index), skills) for index in range(group)]
    return Setting(name, world, requests, sampling, group)


def _quiz(context: Context, tasks: int, length: int, shared: int) -> tuple[Quiz, tuple[Skill, ...]]:
    """Prompts of exactly `length` tokens, the first `shared` of which are one made-up page."""
    dice = random.Random(0)
    tokens = context.policy.tokenizer.get_vocab()
    words = sorted(token[1:] for token in tokens if token.startswith("Ġ") and token[1:].isalpha())
    words = [word for word in words if context.policy.encode(f" {word}") == [tokens[f"Ġ{word}"]]]

    def filled(start: str, build: Callable[[str], int], size: int) -> str:
        """`start` and as many words, a token each, as make what `build` measures `size` tokens long."""
        return start + "".join(f" {dice.choice(words)}" for _ in range(size - build(start)))

    def page_of(body: str) -> tuple[Skill, ...]:
        return (Skill(name="page", description="A page.", body=body),) if shared else ()

    page = page_of(filled("Page", lambda text: context.start(page_of(text), StepResult("")).shared, shared))

    def prompt_length(text: str) -> int:
        return len(context.start(page, StepResult(text)).ids)

    texts = [filled("Now", prompt_length, length) for _ in range(tasks)]
    assert {prompt_length(text) for text in texts} == {length}
    return Quiz(texts), page
