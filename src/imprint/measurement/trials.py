"""Trials: one row per measured episode, and their summary by family and in all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from imprint.errors import ImprintError
from imprint.support.stats import Interval, paired_difference, wilson
from imprint.types import Episode, Trial

__all__ = ["ALL", "Evaluation", "evaluations", "paired", "paired_rows", "trial_of", "trials_of"]

ALL = "all"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One condition's results on one family of tasks ("all" for the whole split): a row of `evaluations.jsonl`.

    Its key for the condition is `arm`, as in all files that were written before there were more than two. What such
    files do not have is None.
    """

    step: int
    split: str
    arm: str
    family: str
    episodes: int
    successes: int
    context_tokens: float | None = None  # mean over turns: every turn of every episode counts once
    turns: float | None = None  # mean per episode
    env_steps: int | None = None  # environment steps trained on before this evaluation
    text_tokens: float | None = None  # as context_tokens, with every picture counted as the text that it shows

    @property
    def success(self) -> float:
        return self.successes / max(1, self.episodes)

    @property
    def interval(self) -> Interval:
        """Of the success rate: Wilson's, 95%."""
        return wilson(self.successes, self.episodes)

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


def trial_of(episode: Episode, *, condition: str, split: str, step: int = 0, env_steps: int = 0) -> Trial:
    """The trial that an episode is."""
    turns = episode.turns
    return Trial(
        step=step,
        split=split,
        condition=condition,
        task=episode.task.id,
        family=episode.task.category,
        seed=episode.seed,
        skills=episode.skills,
        success=episode.success,
        score=episode.outcome,
        stop=episode.stop,
        turns=len(turns),
        valid_turns=sum(turn.valid for turn in turns),
        context_tokens=sum(turn.context_tokens for turn in turns),
        text_tokens=sum(turn.tokens_as_text for turn in turns),
        cached_tokens=episode.cached_tokens,
        answered_tokens=episode.answered_tokens,
        first_tokens=turns[0].context_tokens if turns else 0,
        env_steps=env_steps,
    )


def trials_of(played: Mapping[str, Sequence[Episode]], *, split: str, step: int = 0, env_steps: int = 0) -> list[Trial]:
    """The trials of the episodes of each condition, by its name."""
    return [
        trial_of(episode, condition=name, split=split, step=step, env_steps=env_steps)
        for name, episodes in played.items()
        for episode in episodes
    ]


def evaluations(trials: Iterable[Trial]) -> list[Evaluation]:
    """For each (step, split, condition), in the order they come: one row for all its trials and one for each family."""
    groups: dict[tuple[int, str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.step, trial.split, trial.condition), []).append(trial)
    return [
        _evaluation([trial for trial in group if family in (ALL, trial.family)], family)
        for group in groups.values()
        for family in (ALL, *sorted({trial.family for trial in group}))
    ]


def paired(first: Iterable[Trial], second: Iterable[Trial]) -> Interval:
    """The difference in success first - second, paired by (task, seed), with its 95% interval; others are left out.

    Raises:
        ImprintError: nothing pairs, or one side has trials of more than one condition, step or split.
    """
    firsts, seconds = _of_one(first), {(trial.task, trial.seed): trial for trial in _of_one(second)}
    pairs = [(trial, seconds[trial.task, trial.seed]) for trial in firsts if (trial.task, trial.seed) in seconds]
    return paired_difference([a.success for a, _ in pairs], [b.success for _, b in pairs])


def _of_one(trials: Iterable[Trial]) -> list[Trial]:
    """The trials, of one measurement: of two, either might be taken for a pair."""
    listed = list(trials)
    found = sorted({(trial.condition, trial.split, trial.step) for trial in listed})
    if len(found) > 1:
        named = ", ".join(f"{condition!r} on {split} at step {step}" for condition, split, step in found[:3])
        raise ImprintError(
            f"trials of {len(found)} measurements cannot be paired as one: {named}",
            hint="choose one on each side: [trial for trial in trials if trial.condition == 'without']",
        )
    return listed


def paired_rows(trials: Iterable[Trial], base: str = "without") -> list[dict[str, Any]]:
    """For each (step, split), each condition but `base` and each family: success minus that under `base`, paired.

    `difference` lies in [-1, 1], `low` and `high` are its 95% interval. A condition of which nothing pairs has no row.
    """
    groups: dict[tuple[int, str], dict[str, list[Trial]]] = {}
    for trial in trials:
        groups.setdefault((trial.step, trial.split), {}).setdefault(trial.condition, []).append(trial)
    return [
        row
        for played in groups.values()
        for name, ours in played.items()
        for family in (ALL, *sorted({trial.family for trial in ours}))
        if name != base and (row := _paired_row(ours, played.get(base, ()), family)) is not None
    ]


def _paired_row(first: Sequence[Trial], second: Sequence[Trial], family: str) -> dict[str, Any] | None:
    ours = [trial for trial in first if family in (ALL, trial.family)]
    if not {(trial.task, trial.seed) for trial in ours} & {(trial.task, trial.seed) for trial in second}:
        return None
    one, interval = first[0], paired(ours, second)
    names = {"step": one.step, "split": one.split, "condition": one.condition, "family": family}
    difference = {"difference": interval.estimate, "low": interval.low, "high": interval.high}
    return {**names, "minus": second[0].condition, "pairs": interval.n, **difference}


def _evaluation(trials: Sequence[Trial], family: str) -> Evaluation:
    one, turns = trials[0], sum(trial.turns for trial in trials)
    return Evaluation(
        step=one.step,
        split=one.split,
        arm=one.condition,
        family=family,
        episodes=len(trials),
        successes=sum(trial.success for trial in trials),
        context_tokens=sum(trial.context_tokens for trial in trials) / max(1, turns),
        text_tokens=sum(trial.text_tokens for trial in trials) / max(1, turns),
        turns=turns / max(1, len(trials)),
        env_steps=one.env_steps,
    )
