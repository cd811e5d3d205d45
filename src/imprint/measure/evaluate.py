"""Success with and without skills, on the same tasks with the same seeds in every arm.

An *arm* is a set of active skills; a task shows those of them that serve it. Two arms that show a task the same
skills share its episode: it is played once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from imprint.measure.helpfulness import Kind, SkillEvidence, arms, helpfulness_from_pairs
from imprint.methods.weights.curriculum import CurriculumConfig
from imprint.models.sampling import Sampling
from imprint.rollout.base import Player, Request, derive_seed
from imprint.skills.library import SkillLibrary
from imprint.types import Episode, Task

Names = tuple[str, ...]
Progress = Callable[[int], None]
Pair = tuple[Episode, Episode]  # with and without, on the same task with the same seed
ALL = "all"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One arm's results on one family of tasks ("all" for the whole split)."""

    step: int
    split: str
    arm: str
    family: str
    episodes: int
    successes: int
    context_tokens: float  # mean over turns: every turn of every episode counts once
    turns: float  # mean per episode
    env_steps: int  # environment steps trained on before this evaluation
    text_tokens: float | None = None  # as context_tokens, with every picture counted as the text that it shows

    @property
    def success(self) -> float:
        return self.successes / max(1, self.episodes)

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


class Evaluator:
    """Plays arms on a fixed list of tasks.

    Args:
        seed: with the task's id, gives each episode's seed; the same in every arm and at every step, so that what
            differs between two evaluations is the policy and the page.
    """

    def __init__(self, rollout: Player, library: SkillLibrary, sampling: Sampling, seed: int) -> None:
        self.rollout = rollout
        self.library = library
        self.sampling = sampling
        self.seed = seed
        self._played: dict[tuple[str, Names], Episode] = {}

    def forget(self) -> None:
        """The policy has changed: what it played before no longer counts."""
        self._played.clear()

    def shown(self, task: Task, active: Iterable[str]) -> Names:
        """The names of the active skills that serve `task`, in the library's order."""
        chosen = set(active)
        return tuple(skill.name for skill in self.library.serving(task.category) if skill.name in chosen)

    def request(self, task: Task, shown: Names) -> Request:
        """The episode of `task` that shows these skills."""
        seed = derive_seed(self.seed, "evaluate", task.id)
        return Request(task, seed, tuple(self.library[name] for name in shown))

    def play(
        self, wanted: Iterable[tuple[Task, Names]], progress: Progress | None = None
    ) -> dict[tuple[str, Names], Episode]:
        """Play every distinct (task, shown skills) not played since `forget`; keyed by (task id, shown skills)."""
        asked = {(task.id, shown): task for task, shown in wanted}
        distinct = {key: task for key, task in asked.items() if key not in self._played}
        requests = [self.request(task, shown) for (_, shown), task in distinct.items()]
        episodes = self.rollout.play(requests, self.sampling, progress)
        self._played.update(zip(distinct, episodes, strict=True))
        return {key: self._played[key] for key in asked}

    def paired(
        self, tasks: Sequence[Task], active: Names, progress: Progress | None = None
    ) -> tuple[list[Episode], list[Episode]]:
        """Both arms on `tasks`: with the active skills, and with none."""
        pairs = [(task, self.shown(task, active)) for task in tasks]
        played = self.play([*pairs, *((task, ()) for task in tasks)], progress)
        return [played[task.id, shown] for task, shown in pairs], [played[task.id, ()] for task in tasks]

    def evidence(
        self,
        tasks: Sequence[Task],
        active: Names,
        names: Sequence[str],
        config: CurriculumConfig,
        progress: Progress | None = None,
    ) -> dict[str, SkillEvidence]:
        """The helpfulness of each skill of `names` on the tasks it serves."""
        kind = config.helpfulness
        return {
            name: helpfulness_from_pairs(name, [a.success for a, _ in both], [b.success for _, b in both], kind)
            for name, both in self.pairs(tasks, active, names, kind, progress).items()
        }

    def pairs(
        self,
        tasks: Sequence[Task],
        active: Names,
        names: Sequence[str],
        kind: Kind,
        progress: Progress | None = None,
    ) -> dict[str, list[Pair]]:
        """The episodes (with, without) of each skill of `names`, one pair for each of the tasks it serves."""
        wanted = self.paired_arms(tasks, active, names, kind)
        played = self.play(
            ((task, shown) for group in wanted.values() for task, *both in group for shown in both), progress
        )
        return {
            name: [(played[task.id, with_], played[task.id, without_]) for task, with_, without_ in group]
            for name, group in wanted.items()
        }

    def paired_arms(
        self, tasks: Sequence[Task], active: Names, names: Sequence[str], kind: Kind
    ) -> dict[str, list[tuple[Task, Names, Names]]]:
        """What `pairs` plays: for each skill the tasks it serves, with what each of the two arms shows."""
        found: dict[str, list[tuple[Task, Names, Names]]] = {}
        for name in names:
            with_skill, without = arms(kind, active, name)
            found[name] = [
                (task, self.shown(task, with_skill), self.shown(task, without))
                for task in tasks
                if any(skill.name == name for skill in self.library.serving(task.category))
            ]
        return found


def outcomes(episodes: Sequence[Episode], *, step: int, split: str, arm: str, env_steps: int) -> list[Outcome]:
    """One row for all the episodes and one for each family."""
    families: Mapping[str, list[Episode]] = {
        family: [episode for episode in episodes if family in (ALL, episode.task.category)]
        for family in (ALL, *sorted({episode.task.category for episode in episodes}))
    }
    return [_outcome(group, step, split, arm, family, env_steps) for family, group in families.items()]


def _outcome(episodes: Sequence[Episode], step: int, split: str, arm: str, family: str, env_steps: int) -> Outcome:
    turns = [turn for episode in episodes for turn in episode.turns]
    return Outcome(
        step=step,
        split=split,
        arm=arm,
        family=family,
        episodes=len(episodes),
        successes=sum(episode.success for episode in episodes),
        context_tokens=sum(turn.context_tokens for turn in turns) / max(1, len(turns)),
        text_tokens=sum(turn.tokens_as_text for turn in turns) / max(1, len(turns)),
        turns=len(turns) / max(1, len(episodes)),
        env_steps=env_steps,
    )
