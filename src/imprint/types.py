"""The nouns that every part of Imprint shares, as frozen records that survive a JSON round trip.

Dimension suffixes used throughout the package: `_G` episodes of one group (same task), `_E` episodes,
`_T` tokens or turns (each file says which), `_K` skills.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Draw",
    "Episode",
    "Exemplar",
    "Picture",
    "Pixels",
    "StepResult",
    "StopReason",
    "Task",
    "Trial",
    "Turn",
    "View",
    "WorkedStep",
    "undrawn",
]

Pixels = npt.NDArray[np.uint8]  # height x width x RGB
Draw = Callable[[str, float], Pixels]  # a text and how far it is compressed, as pixels


class StopReason(StrEnum):
    """Why an episode ended; each value is also a metric (`stop/<value>`)."""

    SUCCESS = "success"
    FAILURE = "failure"  # the environment ended the episode without success
    TURN_LIMIT = "turn_limit"
    CONTEXT_LIMIT = "context_limit"  # the policy's context window was full
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do in a world.

    Attributes:
        id: unique within the world, stable across runs.
        category: the family of the task; says which skills serve it.
        split: "train", "validation" or "test".
        source: opaque to everything but its world (a path, a seed, ...).
    """

    id: str
    category: str
    split: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What the environment answers to `reset` or `step`.

    Attributes:
        observation: the text the policy sees next.
        reward: the reward of this step (0 on reset).
        terminated: the environment ended the episode (success or failure).
        truncated: the turn limit ended it.
        success: the task is solved.
        valid: the action was understood and possible (True on reset).
        admissible: the commands possible now, in the engine's order.
        score: a graded outcome so far, where the world has one; the episode's is that of its last step.
        state: what identifies the state of the world within the task: equal texts, equal states; "" where the world
            does not say. It does not count in `==`.
    """

    observation: str
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    success: bool = False
    valid: bool = True
    admissible: tuple[str, ...] = ()
    score: float | None = None
    state: str = field(default="", compare=False)

    @property
    def anchor(self) -> str:
        """What an equal moment of another episode of the task would have too: the state where the world gives it, else
        a digest of what is observed and possible."""
        seen = "\n".join((self.observation, *self.admissible))
        return self.state or blake2b(seen.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()

    @property
    def done(self) -> bool:
        return self.terminated or self.truncated


@dataclass(frozen=True, slots=True)
class WorkedStep:
    """One step of an exemplar: a command and what it led to.

    Attributes:
        serves: what the step is a step of, in the words of a skill's `metadata.tasks`: the task's own category, or "*"
            for what any task asks for.
        skill: the name of the skill that it follows, where a library is known; "" if none does.
    """

    command: str
    observation: str
    serves: str
    skill: str = ""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A task solved step by step, to be shown to a policy that has another task to do."""

    task: Task
    first_observation: str
    steps: tuple[WorkedStep, ...]

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Exemplar:
        """The inverse of `dataclasses.asdict`."""
        steps = tuple(WorkedStep(**step) for step in record["steps"])
        return cls(Task(**record["task"]), record["first_observation"], steps)


@dataclass(frozen=True, slots=True)
class Picture:
    """A text as a picture. Equal texts with equal factors are one picture.

    The pixels are drawn when they are asked for: drawing is exact and cheap, and the pixels of all turns of a batch
    would take gigabytes.

    Attributes:
        text: what it shows.
        factor: how far it is compressed; 1 is not at all.
        draw: gives the pixels, the same ones at every call.
    """

    text: str
    factor: float
    draw: Draw = field(compare=False, repr=False)

    @property
    def pixels(self) -> Pixels:
        return self.draw(self.text, self.factor)

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary: what it shows, without the pixels."""
        return {"text": self.text, "factor": self.factor}

    @classmethod
    def from_record(cls, record: dict[str, Any], draw: Draw) -> Picture:
        """The inverse of `to_record`; `draw` gives the pixels."""
        return cls(record["text"], record["factor"], draw)


@dataclass(frozen=True, slots=True)
class View:
    """What a policy read for one turn and what it answered, in a context that is built anew at every turn.

    Attributes:
        prompt_ids: all that it read; a picture's placeholders stand among them.
        token_ids: its response.
        logprobs: of each token of the response under the policy that sampled it.
        pictures: what it saw, in the order of the placeholders.
    """

    prompt_ids: tuple[int, ...] = field(repr=False)
    token_ids: tuple[int, ...] = field(repr=False)
    logprobs: tuple[float, ...] = field(repr=False)
    pictures: tuple[Picture, ...] = ()

    def to_record(self, *, tokens: bool) -> dict[str, Any]:
        """A JSON-ready dictionary; without `tokens`, what the pictures show alone."""
        pictures = [picture.to_record() for picture in self.pictures]
        if not tokens:
            return {"pictures": pictures}
        return {
            "prompt_ids": self.prompt_ids,
            "token_ids": self.token_ids,
            "logprobs": self.logprobs,
            "pictures": pictures,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any], draw: Draw) -> View:
        """The inverse of `to_record`; `draw` gives the pictures their pixels."""
        prompt, tokens, logprobs = (tuple(record.get(name, ())) for name in ("prompt_ids", "token_ids", "logprobs"))
        pictures = tuple(Picture.from_record(one, draw) for one in record["pictures"])
        return cls(prompt, tokens, logprobs, pictures)


@dataclass(frozen=True, slots=True)
class Turn:
    """One action of the policy and what came of it.

    `start:stop` are the positions of the policy's tokens in `Episode.token_ids`;
    `context_tokens` is how many tokens the policy read to choose the action (prompt and history). Of a model behind an
    endpoint the tokens themselves are not known, and `start:stop` counts those it answered with.
    `valid`: the answer kept the format and the action was possible; `well_formed`: it kept the format.
    `compression`: the factor (1 to 5) that it asked for, for the picture of the next turn.
    `text_tokens`: what it read, counted with every picture as the text that it shows; 0 where there is no picture.
    """

    response: str
    action: str
    observation: str
    reward: float
    valid: bool
    context_tokens: int
    start: int
    stop: int
    well_formed: bool = True
    compression: float = 1.0
    text_tokens: int = 0

    @property
    def tokens_as_text(self) -> int:
        """What the policy read, counted as text alone."""
        return self.text_tokens or self.context_tokens


@dataclass(frozen=True, slots=True)
class Episode:
    """One play of one task: the text of its turns and the tokens the sampler saw and chose.

    Attributes:
        prompt_ids: the tokens before the first action (skills, task, first observation).
        token_ids: everything after the prompt: the policy's tokens and the observations between them.
        logprobs: of each token in `token_ids` under the policy that sampled it; 0.0 where the environment spoke.
        skills: the names of the skills shown, in order; empty is the arm `without`.
        pictures: those whose placeholders stand in the prompt, in their order.
        views: of each turn, where every turn had a prompt of its own; the tokens and pictures above are then empty.
        goal: what the task asks for, on one line, as the report calls it; "" where it was not written down.
        score: the world's graded outcome, where it gives one; None: success decides.
        cached_tokens: of all tokens read, those that the sampler did not have to compute again.
        admissible: the possible commands before each turn, kept where the context lists them.
        anchors: what identifies the state of the world before each turn (`StepResult.anchor`).

    The last four are of the process that played the episode: they are not in its record, and do not count in `==`.
    """

    task: Task
    seed: int
    skills: tuple[str, ...]
    first_observation: str
    turns: tuple[Turn, ...]
    success: bool
    stop: StopReason
    prompt_ids: tuple[int, ...] = field(default=(), repr=False)
    token_ids: tuple[int, ...] = field(default=(), repr=False)
    logprobs: tuple[float, ...] = field(default=(), repr=False)
    pictures: tuple[Picture, ...] = ()
    views: tuple[View, ...] = field(default=(), repr=False)
    goal: str = ""
    score: float | None = field(default=None, compare=False)
    cached_tokens: int = field(default=0, compare=False)
    admissible: tuple[tuple[str, ...], ...] = field(default=(), compare=False, repr=False)
    anchors: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def outcome(self) -> float:
        """The graded score, or 1 for success and 0 otherwise."""
        return float(self.success) if self.score is None else self.score

    @property
    def episode_return(self) -> float:
        """The undiscounted sum of the rewards of the turns."""
        return sum(turn.reward for turn in self.turns)

    @property
    def answered_tokens(self) -> int:
        """Number of tokens that the policy generated, in all turns."""
        return sum(turn.stop - turn.start for turn in self.turns)

    @property
    def context_tokens(self) -> float:
        """Mean number of tokens read per turn."""
        return sum(turn.context_tokens for turn in self.turns) / max(1, len(self.turns))

    def to_record(self, *, tokens: bool = False) -> dict[str, Any]:
        """A JSON-ready dictionary; without `tokens`, the text only (what a trace keeps)."""
        lean = replace(self, pictures=(), views=(), admissible=(), anchors=())
        if not tokens:
            lean = replace(lean, prompt_ids=(), token_ids=(), logprobs=())
        record = {name: value for name, value in asdict(lean).items() if name not in _OF_THE_PROCESS}
        return record | {
            "pictures": [picture.to_record() for picture in self.pictures],
            "views": [view.to_record(tokens=tokens) for view in self.views],
        }

    @classmethod
    def from_record(cls, record: dict[str, Any], draw: Draw | None = None) -> Episode:
        """The inverse of `to_record`; `draw` gives pictures their pixels (`context.image.Renderer.pixels`)."""
        values = dict(record)
        values["task"] = Task(**values["task"])
        values["turns"] = tuple(Turn(**turn) for turn in values["turns"])
        values["stop"] = StopReason(values["stop"])
        for name in ("skills", "prompt_ids", "token_ids", "logprobs"):
            values[name] = tuple(values[name])
        values["pictures"] = tuple(Picture.from_record(one, draw or undrawn) for one in values.get("pictures", ()))
        values["views"] = tuple(View.from_record(view, draw or undrawn) for view in values.get("views", ()))
        return cls(**values)


_OF_THE_PROCESS = ("score", "cached_tokens", "admissible", "anchors")


@dataclass(frozen=True, slots=True)
class Trial:
    """One measured episode: a row of `trials.jsonl`, from which every evaluation, comparison and report is made.

    Attributes:
        step: training steps before it; `env_steps`: turns played in training before it.
        condition: the name of what was shown; `skills`: the names of the skills that were.
        seed: the episode's own; the same in every condition, so that trials pair by (task, seed).
        score: the graded outcome; `success` as 1 or 0 where the world gives none.
        context_tokens: the sum over its turns of what was read; `first_tokens` those of the first turn.
        text_tokens: the same with every picture counted as the text that it shows.
        cached_tokens: of context_tokens, those that were not computed again.
        answered_tokens: the sum over its turns of what was generated.
    """

    step: int
    split: str
    condition: str
    task: str
    family: str
    seed: int
    skills: tuple[str, ...]
    success: bool
    score: float
    stop: StopReason
    turns: int
    valid_turns: int
    context_tokens: int
    text_tokens: int
    cached_tokens: int
    answered_tokens: int
    first_tokens: int
    env_steps: int = 0

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Trial:
        """The inverse of `to_record`; keys of a later version are ignored."""
        known = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
        return cls(**known | {"skills": tuple(record["skills"]), "stop": StopReason(record["stop"])})


def undrawn(text: str, factor: float) -> Pixels:
    """The `Draw` of pictures that are not to be looked at."""
    raise ValueError("this picture was read from a record, and how it is drawn is not known")
