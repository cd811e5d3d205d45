"""The loop that training methods share, composed and not inherited: tasks, groups, validation, checkpoints, resume.

    loop = Loop(bench, method)
    with loop:                                 # resumes from the newest checkpoint; the run's status at the end
        if loop.updates == 0:
            loop.validate(WITH, WITHOUT)       # before any training
        for _ in loop.each():                  # after each: timings, checkpoint, progress
            groups = loop.play(lambda task, index: WITHOUT.show(task, library))
            loop.learn(groups, group_samples(groups, loop.scores(groups), loop.advantage), loss)
            loop.validate(WITH, WITHOUT)       # if it is due
        loop.test(WITH, WITHOUT)

Nothing here knows what a method shows or learns from. A method may use parts of it, or none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from imprint.context.shown import Shown
from imprint.envs.base import goal_text
from imprint.errors import RecipeError
from imprint.learning.rewards import discounted_returns, turn_scores
from imprint.learning.sample import AdvantageOptions, Sample, shared_state_turns
from imprint.measurement.conditions import WITH, Condition
from imprint.measurement.helpfulness import Kind, SkillEvidence, helpfulness_from_pairs
from imprint.measurement.naming import ordered
from imprint.measurement.probe import ClosedBookProbe
from imprint.measurement.training_metrics import (
    gradient_tokens,
    rollout_metrics,
    taught_nothing,
    zero_advantage_groups,
)
from imprint.measurement.trials import Evaluation, evaluations, trials_of
from imprint.methods.base import Workbench
from imprint.methods.task_order import TaskOrder
from imprint.rollout.base import Request, derive_seed
from imprint.runs.metrics import MetricsWriter
from imprint.types import Episode, Task, Trial

if TYPE_CHECKING:
    from imprint.learning.losses import Loss

__all__ = ["Clock", "Loop", "Recorder", "Stateful"]

PATIENCE = 3  # steps in a row that teach nothing before that is said; then at each doubling
HINT = "train a base that sometimes succeeds (docs/manual/pretrain.md), or ask for easier tasks or larger groups"

Show = Callable[[Task, int], Shown]  # a task, and the place of an episode in its group
Group = list[Episode]


class Stateful(Protocol):
    """A method that keeps something between steps.

    `state` gives up to two dictionaries, `{"json": ..., "tensors": ...}`: the first is put into the checkpoint's
    `state.json`, the second (plain types and tensors) into its `trainer.pt`. `restore` gets the same.
    """

    def state(self) -> dict[str, dict[str, Any]]: ...

    def restore(self, state: dict[str, dict[str, Any]]) -> None: ...


class Clock:
    """How far training is, from 0 to the recipe's `steps`: in updates, or in shares of `env_steps`."""

    def __init__(self, steps: int, env_steps: int | None) -> None:
        self.steps = steps
        self.budget = env_steps
        self.updates = 0  # training steps done
        self.extra_done = 0  # of them, those without episodes
        self.env_steps = 0  # turns played in training

    @property
    def now(self) -> int:
        """The updates with episodes, or the share of `env_steps` that is used up, in parts of `steps`."""
        if self.budget is None:
            return self.updates - self.extra_done
        return min(self.steps, self.steps * self.env_steps // self.budget)

    @property
    def done(self) -> bool:
        return self.now >= self.steps

    def passed(self, before: int | None, interval: int) -> bool:
        """Whether a multiple of `interval`, or the end, was reached since `before` (None: at the start)."""
        now = self.now
        return before is None or now // interval > before // interval or now == self.steps > before


class Recorder:
    """Plays conditions and writes what they gave: trials, the evaluations derived from them, episodes."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.recipe = bench.recipe
        count = self.recipe.evaluation.test_tasks
        self.test_tasks = bench.tasks("test", count) if count else ()

    def test(
        self,
        played: Callable[[Sequence[Task]], dict[str, list[Episode]]],
        step: int = 0,
        env_steps: int = 0,
    ) -> None:
        """The final figures, on tasks that nothing before has seen; `played` gives the episodes of each condition."""
        if self.test_tasks:
            for record in ("evaluations", "trials"):  # of a run that was stopped in the middle of it
                self.bench.run.drop(record, lambda row: row["split"] == "test")
            self.bench.evaluator.forget()
            self.record(played(self.test_tasks), "test", step, env_steps)

    def record(
        self, played: dict[str, list[Episode]], split: str, step: int, env_steps: int
    ) -> dict[str, list[Evaluation]]:
        """Write the trials and evaluations of each condition; the evaluations by condition."""
        trials = trials_of(played, split=split, step=step, env_steps=env_steps)
        self.write(trials)
        rows = evaluations(trials)
        self.bench.run.append("evaluations", [row.to_record() for row in rows])
        return {name: [row for row in rows if row.arm == name] for name in played}

    def write(self, trials: Sequence[Trial]) -> None:
        self.bench.run.append("trials", [trial.to_record() for trial in trials])

    def with_goals(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Episodes to be shown, each with what its world says is asked for."""
        world = self.bench.world
        return [replace(episode, goal=goal_text(world, episode.first_observation)) for episode in episodes]


class Loop(Clock):
    """One training run of a method, from its newest checkpoint to its last step.

    Args:
        extra: how many steps without episodes there are (`extra`), for the progress bar.
        rewarded: what is learned follows from success, so that steps without any teach nothing.

    Raises:
        ImprintError: the learner or the tasks cannot be had; nothing has been written then.
    """

    def __init__(
        self, bench: Workbench, method: Stateful | None = None, *, extra: int = 0, rewarded: bool = True
    ) -> None:
        self.recipe = recipe = bench.recipe
        super().__init__(recipe.steps, recipe.env_steps)
        self.bench = bench
        self.start = bench.start
        self.method = method
        self.extra_steps = extra
        self.rewarded = rewarded
        self.learner = bench.learner  # made before any checkpoint is read: a KL term's reference is the starting policy
        self.train_tasks = bench.tasks("train")
        self.validation_tasks = bench.tasks("validation", recipe.evaluation.tasks)
        self.recorder = Recorder(bench)
        rollout = recipe.rollout
        self.order = TaskOrder(
            self.train_tasks, rollout.tasks, balance=rollout.balance, focus=rollout.focus, seed=recipe.seed
        )
        probed, context = recipe.evaluation.probe, bench.context
        self.probe = (
            ClosedBookProbe(bench.run.path / "probe.pt", probed, context, bench.draw) if probed and context else None
        )
        self.before: int | None = None  # where the clock was when the current step began; None before the first
        self._headline = ""
        self._idle = 0  # steps in a row that taught nothing
        self._validated: int | None = None  # the step after which validation tasks were last played
        self._seconds: dict[str, float] = {}  # of the step, by what they went into
        self._work = self.learner.optimizer_steps, self.learner.tokens  # when the last step ended

    @property
    def step(self) -> int:
        """Of the run: what its records, seeds and checkpoints are numbered by."""
        return self.start.step + self.updates

    @property
    def played(self) -> int:
        """Environment steps of the run's training."""
        return self.start.env_steps + self.env_steps

    @property
    def advantage(self) -> AdvantageOptions:
        """How the recipe makes advantages of scores."""
        config, reward = self.recipe.advantage, self.recipe.reward
        returns = partial(discounted_returns, config=reward, discount=config.step_discount, step=self.updates + 1)
        return AdvantageOptions(config.unit, config.scale, self.recipe.std_floor, config.weight_of_steps, returns)

    # --- the run -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Resume from the newest checkpoint, dropping what was recorded after it."""
        run = self.bench.run
        steps = [step for step in run.checkpoint_steps() if step >= self.start.step]
        if steps:
            self._load(steps[-1])
        run.truncate_to(self.step if steps else self.start.step - 1)
        self.bench.progress.begin(self.steps + self.extra_steps, min(self.now, self.steps) + self.extra_done)
        self.metrics = MetricsWriter(run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.start.last:
            self.bench.run.set_status("finished", self.step, env_steps=self.played)

    @property
    def share(self) -> float:
        """The share of the training that lay behind when this step began."""
        return (self.before or 0) / self.steps

    def each(self, until: int | None = None) -> Iterator[int]:
        """The training steps that are left, counted from 0; what is recorded is complete when one ends.

        Args:
            until: where on the clock to stop; its end if None.
        """
        while self.now < (self.steps if until is None else until):
            self.before, self._seconds = self.now, {}
            with self._timed("seconds"):
                yield self.updates
            self._write_timings()
            validated = self._validated == self.updates
            if self.due(self.recipe.checkpoint_interval) or (validated and self._best == self.step):
                self._checkpoint()  # last: what a resumed run finds is complete up to its checkpoint
            self.bench.progress.advance(self._headline, by=self.now - self.before)

    def extra(self, until: int) -> Iterator[int]:
        """The steps without episodes left of the first `until`: each has a row, and a checkpoint at its end."""
        while self.extra_done < until:
            self._seconds = {}
            with self._timed("seconds"), self._timed("update"):
                yield self.extra_done
            self._write_timings()
            self._checkpoint()
            self.bench.progress.advance(self._headline)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._seconds[what] = self._seconds.get(what, 0.0) + time.perf_counter() - began

    def _write_timings(self) -> None:
        self.bench.run.append("timings", [{"step": self.step, **self._seconds}])

    def _worked(self) -> dict[str, float]:
        """What the learner has done since the last step."""
        (steps, tokens), self._work = self._work, (self.learner.optimizer_steps, self.learner.tokens)
        return {
            "learner/optimizer_steps": float(self.learner.optimizer_steps - steps),
            "learner/tokens": float(self.learner.tokens - tokens),
        }

    def play(self, show: Show) -> list[Group]:
        """Play a group of episodes of each of this step's tasks."""
        step, size = self.step - self.extra_done, self.recipe.rollout.group
        requests = [
            Request(
                task,
                derive_seed(self.recipe.seed, "train", step, place, task.id, index),
                (shown := show(task, index)).skills,
                shown.exemplars,
            )
            for place, task in enumerate(self.order.at(step))  # a small split can come twice in a step
            for index in range(size)
        ]
        with self._timed("rollout"):
            episodes = self.bench.rollout.play(requests, self.bench.sampling)
        self.order.note((episode.task.category, episode.success) for episode in episodes)
        return [episodes[place : place + size] for place in range(0, len(episodes), size)]

    def scores(self, groups: Sequence[Group]) -> list[list[list[float]]]:
        """The score of each turn of each episode of each group (`learning.rewards.turn_scores`)."""
        return [
            [turn_scores(episode, self.recipe.reward, step=self.updates + 1) for episode in group] for group in groups
        ]

    def learn(
        self,
        groups: Sequence[Group],
        samples: Sequence[Sample],
        loss: Loss,
        *,
        active: int = 0,
        beside: Mapping[str, float] | None = None,
    ) -> None:
        """One update on `samples`, counted and logged, with the numbers `beside` it; `active` skills are in force."""
        with self._timed("update"):
            numbers = self.learner.step(samples, loss, done=self.share) | dict(beside or {})
        numbers["train/zero_advantage_groups"] = zero_advantage_groups(groups, samples)
        numbers["train/gradient_tokens"] = gradient_tokens(samples)
        if self.recipe.advantage.unit == "step":
            numbers["train/shared_states"] = shared_state_turns(groups)
        self.log(groups, numbers, active=active)

    def log(self, groups: Sequence[Group], numbers: Mapping[str, float], *, active: int = 0) -> None:
        """Count the step that is done, and log its numbers with what its episodes were like."""
        self.updates += 1
        self.bench.sync(self.learner)
        self.env_steps += sum(len(episode.turns) for group in groups for episode in group)
        described = rollout_metrics(groups, self.recipe.reward, active=active, env_steps=self.played)
        row = {**described, **numbers, **self._worked()}
        self.metrics.log(self.step, row)
        self._warn(row)
        self._headline = f"success {row['train/success']:.2f}, {active} skills in context"

    def _warn(self, row: Mapping[str, float]) -> None:
        """Say so when step after step teaches nothing."""
        self._idle = self._idle + 1 if self.rewarded and taught_nothing(row) else 0
        times = self._idle / PATIENCE
        if times >= 1 and times.is_integer() and int(times).bit_count() == 1:
            self.bench.progress.note(
                f"warning: the last {self._idle} steps taught nothing: within each group all episodes had the same "
                f"outcome (success {row['train/success']:.2f}); {HINT}"
            )

    def log_extra(self, numbers: Mapping[str, float]) -> None:
        """Count a step without episodes that is done, and log its numbers."""
        self.updates += 1
        self.extra_done += 1
        self.bench.sync(self.learner)
        self.metrics.log(self.step, {"env_steps": float(self.played), **numbers, **self._worked()})
        self._headline = ", ".join(f"{name.rpartition('/')[2]} {numbers[name]:.3g}" for name in sorted(numbers)[:2])

    # --- measuring ---------------------------------------------------------------------------------------------------

    def due(self, interval: int) -> bool:
        """Whether a multiple of `interval` was passed in this step, or nothing has been trained yet."""
        return self.passed(self.before, interval)

    def last_multiple(self, interval: int) -> int:
        """The multiple of `interval` that was passed last."""
        return self.now - self.now % interval

    def validate(self, *conditions: Condition, now: bool = False) -> None:
        """Play the validation tasks under each condition, if due (or `now`); the old policy's are forgotten.

        Where a method begins behind another one, that one has validated the policy.

        Raises:
            RecipeError: the recipe's `keep_best` is none of the conditions.
        """
        best, names = self.recipe.keep_best, [condition.name for condition in conditions]
        if best is not None and best not in names:
            raise RecipeError(f"{best!r} is not validated", key="keep_best", hint=f"choose one of: {', '.join(names)}")
        self.bench.evaluator.forget()
        behind = self.updates == 0 and self.start.step > 0
        if behind or not (now or self.due(self.recipe.evaluation.interval)):
            return
        step, run = self.step, self.bench.run
        self._validated = self.updates
        with self._timed("validation"):
            played = self.bench.evaluator.conditions(self.validation_tasks, conditions)
        for name, rows in self.recorder.record(played, "validation", step, self.played).items():
            kept = played[name][: self.recipe.evaluation.keep_episodes]
            run.write_episodes(step, name, self.recorder.with_goals(kept))
            self.metrics.log(step, {f"validation/{name}/{row.family}": row.success for row in rows})
            self.bench.progress.note(f"step {step}: validation success {name} skills {rows[0].success:.2f}")
        if self.probe is not None:
            self.probe.keep(played.get(WITH.name, ()))
            self.metrics.log(step, self.probe.measure(self.learner))
        if step == 0 and not any(episode.success for episodes in played.values() for episode in episodes):
            self.bench.progress.note(
                f"warning: the untrained policy solves none of {len(self.validation_tasks)} validation tasks under any "
                f"condition, so that there may be nothing to reinforce; {HINT}"
            )

    def helpfulness(self, names: Sequence[str], active: Sequence[str], kind: Kind) -> dict[str, SkillEvidence]:
        """The helpfulness of each skill of `names` while `active` is in force, measured on the validation tasks."""
        pairs = self.bench.evaluator.pairs(self.validation_tasks, active, names, kind)
        played = {(one.condition, one.task): one for both in pairs.values() for pair in both for one in pair}
        self.recorder.write([replace(trial, step=self.step, env_steps=self.played) for trial in played.values()])
        return {
            name: helpfulness_from_pairs(name, [a.success for a, _ in both], [b.success for _, b in both], kind)
            for name, both in pairs.items()
        }

    def test(self, *conditions: Condition) -> None:
        """The final figures under each condition."""
        evaluator = self.bench.evaluator
        self.recorder.test(
            lambda tasks: evaluator.conditions(tasks, ordered(conditions, lambda one: one.name)),
            self.step,
            self.played,
        )

    def record(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows to the run's `curriculum.jsonl`, each with this step."""
        self.bench.run.append("curriculum", [{"step": self.step, **row} for row in rows])

    # --- checkpoints -------------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint; None before the first."""
        steps = self.bench.run.checkpoint_steps()
        return self.bench.run.checkpoint_path(steps[-1]) if steps else None

    @property
    def _best(self) -> int | None:
        """The step whose checkpoint is kept for its validation success, if the recipe asks for one."""
        condition = self.recipe.keep_best
        return None if condition is None else self.bench.run.best_step(condition)

    def _checkpoint(self) -> None:
        from imprint.runs.checkpoint import save_checkpoint

        own = self.method.state() if self.method is not None else {}
        state = {
            "env_steps": self.played,
            "extra_steps": self.extra_done,
            "order": self.order.state(),
            **self.start.to_record(),
            **own.get("json", {}),
        }
        run, keep = self.bench.run, self.recipe.keep_checkpoints
        kept = (self._best, self.start.step - 1)  # a resumed part begins with its start's weights: the KL reference
        save_checkpoint(run, self.step, self.learner, state, keep, kept, memory=own.get("tensors"))
        run.set_status("running", self.step, env_steps=self.played)

    def _load(self, step: int) -> None:
        from imprint.runs.checkpoint import load_checkpoint

        state = load_checkpoint(self.bench.run.checkpoint_path(step), self.learner)
        self.updates = int(state.pop("step")) - self.start.step
        self.env_steps = int(state.pop("env_steps")) - self.start.env_steps
        self.order.restore(state.pop("order", None))
        self.extra_done = int(state.pop("extra_steps", state.get("epochs", 0)))  # `epochs`: as once written
        state.pop("start", None)
        tensors = state.pop("memory")
        if self.method is not None:
            self.method.restore({"json": state, "tensors": tensors})
