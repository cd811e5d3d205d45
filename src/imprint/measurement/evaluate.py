"""Success under named conditions, on the same tasks with the same seeds in each.

Two conditions that show a task the same skills share its episode: it is played once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from imprint.context.shown import Shown
from imprint.measurement.conditions import Condition
from imprint.measurement.helpfulness import Kind, compared
from imprint.measurement.trials import trial_of
from imprint.models.sampling import Sampling
from imprint.rollout.base import Request, Rollout, derive_seed
from imprint.skills.library import SkillLibrary
from imprint.types import Episode, Task, Trial

__all__ = ["EVIDENCE", "Evaluator", "Pair", "Progress"]

Progress = Callable[[int], None]
Pair = tuple[Trial, Trial]  # under two conditions, on the same task with the same seed
EVIDENCE = "evidence"  # the split of trials that decide about a skill, and are no evaluation
Key = tuple[str, object]  # a task's id, and what was shown


class Evaluator:
    """Plays conditions on a fixed list of tasks.

    Args:
        seed: with the task's id, gives each episode's seed; the same in every condition and at every step, so that what
            differs between two evaluations is the policy and what is shown.
    """

    def __init__(self, rollout: Rollout, library: SkillLibrary, sampling: Sampling, seed: int) -> None:
        self.rollout = rollout
        self.library = library
        self.sampling = sampling
        self.seed = seed
        self._played: dict[Key, Episode] = {}

    def forget(self) -> None:
        """The policy has changed: what it played before no longer counts."""
        self._played.clear()

    def request(self, task: Task, shown: Shown) -> Request:
        """The episode of `task` under what is shown."""
        return Request(task, derive_seed(self.seed, "evaluate", task.id), shown.skills, shown.exemplars)

    def play(self, wanted: Iterable[tuple[Task, Shown]], progress: Progress | None = None) -> list[Episode]:
        """The episodes of `wanted`, in its order; every distinct one not played since `forget` is played now."""
        asked = [((task.id, shown.key), task, shown) for task, shown in wanted]
        missing = {key: (task, shown) for key, task, shown in asked if key not in self._played}
        requests = [self.request(task, shown) for task, shown in missing.values()]
        episodes = self.rollout.play(requests, self.sampling, progress)
        self._played.update(zip(missing, episodes, strict=True))
        return [self._played[key] for key, _, _ in asked]

    def conditions(
        self, tasks: Sequence[Task], conditions: Sequence[Condition], progress: Progress | None = None
    ) -> dict[str, list[Episode]]:
        """The episodes of each condition by its name, in the order of `tasks`; all are played in one batch."""
        wanted = [(task, condition.show(task, self.library)) for condition in conditions for task in tasks]
        episodes = self.play(wanted, progress)
        size = len(tasks)
        return {one.name: episodes[n * size : (n + 1) * size] for n, one in enumerate(conditions)}

    def pairs(
        self,
        tasks: Sequence[Task],
        active: Sequence[str],
        names: Sequence[str],
        kind: Kind,
        progress: Progress | None = None,
    ) -> dict[str, list[Pair]]:
        """The trials (with, without) of each skill of `names`, one pair for each of the tasks it serves."""
        wanted = self.wanted_pairs(tasks, active, names, kind)
        flat = [(task, shown) for group in wanted.values() for task, *both in group for shown in both]
        played = iter(self.play(flat, progress))
        found: dict[str, list[Pair]] = {}
        for name, group in wanted.items():
            first, second = (condition.name for condition in compared(kind, active, name))
            found[name] = [
                (
                    trial_of(next(played), condition=first, split=EVIDENCE),
                    trial_of(next(played), condition=second, split=EVIDENCE),
                )
                for _ in group
            ]
        return found

    def wanted_pairs(
        self, tasks: Sequence[Task], active: Sequence[str], names: Sequence[str], kind: Kind
    ) -> dict[str, list[tuple[Task, Shown, Shown]]]:
        """What `pairs` plays: for each skill the tasks it serves, with what each of the two conditions shows."""
        found: dict[str, list[tuple[Task, Shown, Shown]]] = {}
        for name in names:
            with_skill, without = compared(kind, active, name)
            found[name] = [
                (task, with_skill.show(task, self.library), without.show(task, self.library))
                for task in tasks
                if any(skill.name == name for skill in self.library.serving(task.category))
            ]
        return found
