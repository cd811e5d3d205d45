"""What is the same whoever plays: the request for an episode, the player's shape, and an episode in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from imprint.context.shown import Shown
from imprint.envs.base import Environment
from imprint.models.sampling import Sampling
from imprint.skills.skill import Skill
from imprint.support.seeds import derive_seed as derive_seed
from imprint.types import Episode, Exemplar, StepResult, StopReason, Task, Turn


@dataclass(frozen=True, slots=True)
class Request:
    """One episode to play: a task, a seed, and the skills and solved tasks to show."""

    task: Task
    seed: int
    skills: tuple[Skill, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()

    @property
    def shown(self) -> Shown:
        """What stands in the context beside the task."""
        return Shown(self.skills, self.exemplars)

    @property
    def shorter(self) -> str:
        """What to do when that is too much."""
        return "fewer or shorter skills" + (" or fewer exemplars" if self.exemplars else "")


class Rollout(Protocol):
    """What plays requests: a `TokenRollout` or `PictureRollout` with a policy, a `ChatRollout` with a served model."""

    def play(
        self, requests: Sequence[Request], sampling: Sampling, progress: Callable[[int], None] | None = None
    ) -> list[Episode]:
        """Play all `requests`, in their order. `progress` is called with each finished episode's turns."""
        ...


@dataclass(slots=True)
class RunningEpisode:
    """An episode in flight: what has happened in the world so far."""

    request: Request
    environment: Environment
    first: StepResult
    turns: list[Turn] = field(default_factory=list)
    stop: StopReason = StopReason.RUNNING
    score: float | None = None
    cached_tokens: int = 0
    keeps_admissible: bool = False  # where the context lists the possible commands
    admissible: list[tuple[str, ...]] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)
    now: StepResult = field(init=False)  # what is seen now

    def __post_init__(self) -> None:
        self.now = self.first

    def take(
        self,
        result: StepResult,
        response: str,
        action: str,
        *,
        well_formed: bool,
        read: int,
        start: int,
        stop: int,
        factor: float = 1.0,
        as_text: int = 0,
    ) -> None:
        """Take the turn in which `action` led to `result`: `read` tokens came before it, it is the tokens `start:stop`.

        Args:
            factor: by which it asks for the next picture to be compressed; an episode's last turn has no next.
            as_text: what it read, with pictures counted as text; 0 without pictures.
        """
        if self.keeps_admissible:
            self.admissible.append(self.now.admissible)
        self.anchors.append(self.now.anchor)
        self.now, self.score = result, result.score
        self.turns.append(
            Turn(
                response=response.strip("\n"),
                action=action,
                observation=result.observation,
                reward=result.reward,
                valid=well_formed and result.valid,
                context_tokens=read,
                start=start,
                stop=stop,
                well_formed=well_formed,
                compression=1.0 if result.done else factor,
                text_tokens=as_text,
            )
        )
        self.stop = _stop_reason(result)

    def close(self, **tokens: Any) -> Episode:
        """The finished episode, with its tokens where they are known."""
        return Episode(
            task=self.request.task,
            seed=self.request.seed,
            skills=tuple(skill.name for skill in self.request.skills),
            first_observation=self.first.observation,
            turns=tuple(self.turns),
            success=self.stop is StopReason.SUCCESS,
            stop=self.stop,
            score=self.score,
            cached_tokens=self.cached_tokens,
            admissible=tuple(self.admissible),
            anchors=tuple(self.anchors),
            **tokens,
        )


def _stop_reason(result: StepResult) -> StopReason:
    if result.success:
        return StopReason.SUCCESS
    if result.terminated:
        return StopReason.FAILURE
    return StopReason.TURN_LIMIT if result.truncated else StopReason.RUNNING
