"""SKILL0: in-context agentic RL with a Dynamic Curriculum (arXiv 2604.02268, Algorithm 1).

The skills stand in the prompt while the policy practises; every few steps it is tested with and without each of
them; those that no longer help are withdrawn, at most M(s) = ceil(N (S - s) / (S - 1)) stay in stage s, and in the
last stage none do. What the policy can do then, it can do by heart.

Read `Skill0.train` first: it is the algorithm, in the paper's order. The other methods of this folder are the same
loop with one step replaced.

Where this departs from the paper, and why:
- Helpfulness is per skill (`leave_one_out` by default); the paper's Algorithm 1 compares all skills with none and
  credits each. `curriculum.helpfulness: all_vs_none` gives the paper's.
- Both arms of a validation play the same tasks with the same seeds, on a split of their own; the reference code's
  arms play different games, and from the test set.
- Skills and history are text in one growing context by default; `context.skills` and `context.history` draw them, in a
  new prompt at every step, as the paper does (docs/manual/images.md).
- Advantages weigh episodes, not turns, equally (`advantage.unit: turn` gives the reference's).
- A bonus for compressing (`reward.compression_bonus`) is held small by a floor on the group's deviation.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from imprint.engine.local import LocalEngine
from imprint.envs.base import goal_text
from imprint.learning.grpo import turn_advantages
from imprint.learning.rewards import turn_scores
from imprint.learning.scoring import Sample, episode_samples
from imprint.measure.evaluate import Names, Outcome, outcomes
from imprint.methods.weights.curriculum import CurriculumState, candidates, decide, enforce, evidence_due, initial_state
from imprint.rollout.tokens import Request, derive_seed
from imprint.runs.checkpoint import load_checkpoint, save_checkpoint
from imprint.runs.metrics import MetricsWriter
from imprint.runs.run import Run
from imprint.support.progress import Progress
from imprint.types import Episode, StopReason, Task


class Skill0:
    """One training run: an engine to work with, a run folder to write to, and the curriculum's state."""

    trains = True  # False: it only measures, and needs no weights

    def __init__(self, engine: LocalEngine, run: Run, progress: Progress) -> None:
        self.engine = engine
        self.recipe = engine.recipe
        self.run = run
        self.progress = progress
        if self.trains:
            self.learner = engine.learner()
        self.train_tasks = engine.tasks("train")
        self.validation_tasks = engine.tasks("validation", self.recipe.evaluation.tasks)
        count = self.recipe.evaluation.test_tasks
        self.test_tasks = engine.tasks("test", count) if count else ()
        self.updates = 0  # training steps done
        self.env_steps = 0  # turns played in training
        self.curriculum = self.first_curriculum()

    # --- the algorithm ---------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train to the last step, from the newest checkpoint if there is one."""
        self.resume()
        with MetricsWriter(self.run, self.recipe.loggers) as metrics:
            if self.updates == 0:
                self.review(None, metrics)
            while self.tick < self.recipe.steps:
                began, before = time.perf_counter(), self.tick
                groups = self.gather()
                numbers = self.learner.update(self.samples(groups), done=before / self.recipe.steps)
                self.updates += 1
                self.env_steps += sum(len(episode.turns) for group in groups for episode in group)
                metrics.log(self.updates, {**self.rollout_numbers(groups), **numbers})
                self.review(before, metrics)
                self.run.append("timings", [{"step": self.updates, "seconds": time.perf_counter() - began}])
                self.checkpoint(before)  # last: what a resumed run finds is complete up to its checkpoint
                self.progress.advance(self.numbers_to_show(groups), by=self.tick - before)
            self.test()
        self.run.set_status("finished", self.updates, env_steps=self.env_steps)

    def first_curriculum(self) -> CurriculumState:
        """All the skills that stage 1 allows."""
        return initial_state(
            self.engine.library.names,
            total_steps=self.recipe.steps or self.recipe.curriculum.stage_count,  # without steps there is only a test
            config=self.recipe.curriculum,
            seed=self.recipe.seed,
        )

    @property
    def tick(self) -> int:
        """How far training is, from 0 to the recipe's `steps`: updates, or the share of `env_steps` that is used up."""
        if self.recipe.env_steps is None:
            return self.updates
        return min(self.recipe.steps, self.recipe.steps * self.env_steps // self.recipe.env_steps)

    def passed(self, before: int | None, interval: int) -> bool:
        """Whether a multiple of `interval`, or the end, was reached since tick `before` (None: at the start)."""
        tick = self.tick
        return before is None or tick // interval > before // interval or tick == self.recipe.steps > before

    def review(self, before: int | None, metrics: MetricsWriter) -> None:
        """Between two updates: validate both arms when it is due, and let the curriculum decide."""
        self.engine.evaluator.forget()
        if self.passed(before, self.recipe.evaluation.interval):
            self.validate(metrics)
        if self.tick < self.recipe.steps:
            self.withdraw(before)

    def withdraw(self, before: int | None) -> None:
        """Filter, rank and select the skills on fresh evidence when it is due; hold them to the budget always."""
        config, total, seed = self.recipe.curriculum, self.recipe.steps, self.recipe.seed
        state = old = self.curriculum
        due = self.tick - self.tick % config.interval  # the multiple of the interval that was passed
        if self.passed(before, config.interval) and evidence_due(
            due, skills=old.skills, total_steps=total, config=config
        ):
            evidence = self.engine.evaluator.evidence(
                self.validation_tasks, old.active, candidates(old, config), config
            )
            state = decide(state, evidence, step=due, total_steps=total, config=config, seed=seed)
        self.curriculum = enforce(state, step=self.tick, total_steps=total, config=config, seed=seed)
        self.run.append("curriculum", self.decisions_since(old))

    def gather(self) -> list[list[Episode]]:
        """Play a group of episodes of each of the next tasks, under the skills in force."""
        step = self.updates
        requests = [
            Request(
                task,
                derive_seed(self.recipe.seed, "train", step, place, task.id, index),
                self.skills_for(task, index),
            )
            for place, task in enumerate(self.tasks_of(step))  # a small split can come twice in a step
            for index in range(self.recipe.rollout.group)
        ]
        episodes = self.engine.rollout.play(requests, self.engine.sampling)
        size = self.recipe.rollout.group
        return [episodes[place : place + size] for place in range(0, len(episodes), size)]

    def skills_for(self, task: Task, index: int) -> tuple[Any, ...]:
        """What episode `index` of a group shows: the active skills that serve the task."""
        return self.named(self.engine.evaluator.shown(task, self.curriculum.active))

    def samples(self, groups: Sequence[Sequence[Episode]]) -> list[Sample]:
        """Each episode (each turn, where turns have prompts of their own) with its group-relative advantages."""
        episodes = [episode for group in groups for episode in group]
        owners = [place for place, group in enumerate(groups) for _ in group]
        advantages = self.advantages(episodes, owners)
        pairs = zip(episodes, advantages, strict=True)
        return [sample for episode, values in pairs for sample in episode_samples(episode, values)]

    def advantages(self, episodes: Sequence[Episode], owners: Sequence[int]) -> list[list[float]]:
        """One advantage per turn, relative to the episodes with the same owner."""
        config = self.recipe.advantage
        scores = [turn_scores(episode, self.recipe.reward, step=self.updates + 1) for episode in episodes]
        floor = self.recipe.std_floor
        return turn_advantages(scores, owners, unit=config.unit, scale=config.scale, std_floor=floor)

    # --- around it -------------------------------------------------------------------------------------------------

    def tasks_of(self, step: int) -> list[Task]:
        """The training tasks of a step: a seeded shuffle of the split, walked through, shuffled anew when used up.

        With `rollout.balance` each category is walked through by itself, and the categories take turns.
        """
        count, decks = self.recipe.rollout.tasks, self.decks
        places = range(step * count, (step + 1) * count)
        return [self._card(decks[place % len(decks)], place // len(decks)) for place in places]

    @cached_property
    def decks(self) -> list[list[Task]]:
        """What is shuffled and walked through by itself: the training tasks, or those of each category."""
        if not self.recipe.rollout.balance:
            return [list(self.train_tasks)]
        by_category: dict[str, list[Task]] = {}
        for task in self.train_tasks:
            by_category.setdefault(task.category, []).append(task)
        return [by_category[category] for category in sorted(by_category)]

    def _card(self, deck: Sequence[Task], place: int) -> Task:
        round_, index = divmod(place, len(deck))
        order = list(range(len(deck)))
        random.Random(derive_seed(self.recipe.seed, "tasks", round_)).shuffle(order)
        return deck[order[index]]

    def named(self, names: Names) -> tuple[Any, ...]:
        return tuple(self.engine.library[name] for name in names)

    def validate(self, metrics: MetricsWriter) -> None:
        """Both arms on the validation tasks: with the whole library, and with nothing."""
        step = self.updates
        arms = self.engine.evaluator.paired(self.validation_tasks, self.engine.library.names)
        for arm, episodes in zip(("with", "without"), arms, strict=True):
            rows = outcomes(episodes, step=step, split="validation", arm=arm, env_steps=self.env_steps)
            self.record(rows)
            self.run.write_episodes(step, arm, self.with_goals(episodes[: self.recipe.evaluation.keep_episodes]))
            metrics.log(step, {f"validation/{arm}/{row.family}": row.success for row in rows})
            self.progress.note(f"step {step}: validation success {arm} skills {rows[0].success:.2f}")

    def with_goals(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Episodes to be shown, each with what its world says is asked for."""
        world = self.engine.world
        return [replace(episode, goal=goal_text(world, episode.first_observation)) for episode in episodes]

    def test(self, progress: Callable[[int], None] | None = None) -> None:
        """The final figures, on tasks that nothing before has seen."""
        if self.recipe.evaluation.test_tasks:
            self.run.drop("evaluations", lambda row: row["split"] == "test")  # of a run stopped in the middle of it
            self.engine.evaluator.forget()
            for arm, episodes in zip(("with", "without"), self.test_arms(progress), strict=True):
                self.record(outcomes(episodes, step=self.updates, split="test", arm=arm, env_steps=self.env_steps))

    def test_arms(self, progress: Callable[[int], None] | None) -> tuple[list[Episode], list[Episode]]:
        """The episodes of the test with all skills, and with none."""
        return self.engine.evaluator.paired(self.test_tasks, self.engine.library.names, progress)

    def record(self, rows: Sequence[Outcome]) -> None:
        self.run.append("evaluations", [row.to_record() for row in rows])

    def decisions_since(self, before: CurriculumState) -> list[dict[str, Any]]:
        """The curriculum's new decisions as rows for the report."""
        rows = []
        for decision in self.curriculum.history[len(before.history) :]:
            low, high = decision.interval or (None, None)
            rows.append(
                {
                    "step": self.updates,
                    "stage": decision.stage,
                    "budget": decision.budget,
                    "skill": decision.skill,
                    "action": decision.action,
                    "helpfulness": decision.helpfulness,
                    "low": low,
                    "high": high,
                    "reason": decision.reason,
                    "active": decision.skill in self.curriculum.active,
                }
            )
        return rows

    def rollout_numbers(self, groups: Sequence[Sequence[Episode]]) -> dict[str, float]:
        """What the training episodes of a step were like."""
        episodes = [episode for group in groups for episode in group]
        turns = [turn for episode in episodes for turn in episode.turns]
        numbers = {
            "train/success": _mean([episode.success for episode in episodes]),
            "train/turns": len(turns) / len(episodes),
            "train/invalid": _mean([not turn.valid for turn in turns]),
            "train/context_tokens": _mean([turn.context_tokens for turn in turns]),
            "train/flat_groups": _mean([len({episode.success for episode in group}) == 1 for group in groups]),
            "curriculum/active": float(len(self.curriculum.active)),
            "env_steps": float(self.env_steps),
        }
        for family in sorted({episode.task.category for episode in episodes}):
            numbers[f"train/success/{family}"] = _mean(
                [episode.success for episode in episodes if episode.task.category == family]
            )
        stops = Counter(episode.stop for episode in episodes)
        return numbers | {f"stop/{reason}": stops[reason] / len(episodes) for reason in StopReason}

    def numbers_to_show(self, groups: Sequence[Sequence[Episode]]) -> str:
        success = _mean([episode.success for group in groups for episode in group])
        return f"success {success:.2f}, {len(self.curriculum.active)} skills in context"

    def checkpoint(self, before: int) -> None:
        if not self.passed(before, self.recipe.checkpoint_interval):
            return
        state = {"env_steps": self.env_steps, "curriculum": self.curriculum.to_record()}
        keep = self.recipe.keep_checkpoints
        save_checkpoint(self.run, self.updates, self.engine.policy, self.learner, state, keep, memory=self.memory())
        self.run.set_status("running", self.updates, env_steps=self.env_steps)

    def memory(self) -> dict[str, Any]:
        """What a method keeps of earlier steps beside all this, for the checkpoint: numbers, text and tensors."""
        return {}

    def remember(self, memory: dict[str, Any]) -> None:
        """The inverse of `memory`."""

    def resume(self) -> None:
        """Go on from the newest checkpoint, dropping what was recorded after it."""
        steps = self.run.checkpoint_steps()
        if steps:
            state = load_checkpoint(self.run.checkpoint_path(steps[-1]), self.engine.policy, self.learner)
            self.updates = int(state["step"])
            self.env_steps = int(state["env_steps"])
            self.curriculum = CurriculumState.from_record(state["curriculum"])
            self.remember(state["memory"])
        self.run.truncate_to(self.updates if steps else -1)
        self.progress.begin(self.recipe.steps, self.tick)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
