"""AdaptMI and AdaptMI+ (arXiv 2505.00147): skills in the context only where a first attempt looks difficult.

    y  = first attempt, without skills;  r_1..r_k = scores of its steps
    difficult  iff  r_k <= t1  or  mean(r) <= t1  or  some r_i <= t2
    answer = y if not difficult, else a second attempt that reads the skills (AdaptMI+: those that y did not show)

Nothing is trained. It is SKILL0's premise, a skill in the context can hurt, decided for each task on its own. Read
`SecondAttempt.attempt`.

Departures: what scores is no process reward model (see `scorers.py` for what does); a first attempt reads no examples,
where theirs has fixed ones; "missing" is a rule over commands (`missing_skills`), where theirs asks a language model;
and
a second attempt begins in a world put back as it was: a question can always be answered anew, an act cannot always be
undone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import and_
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from imprint.envs.base import World
from imprint.measurement.conditions import WITHOUT, table
from imprint.measurement.evaluate import Evaluator
from imprint.methods.base import MethodSpec, Need, Settings, Workbench
from imprint.methods.in_context.exemplars import draw_exemplars
from imprint.methods.in_context.measuring import Measuring
from imprint.methods.in_context.scorers import make_scorer
from imprint.skills.library import SkillLibrary
from imprint.skills.skill import Skill
from imprint.types import Episode, Exemplar, Task

if TYPE_CHECKING:
    from imprint.agent import Agent

__all__ = ["SPEC", "AdaptMI", "AdaptSettings", "SecondAttempt"]

ADAPTIVE = "adaptive"  # the condition: skills in second attempts only
COMPARED = 8  # exemplars of a family that show what its skills' steps have in common
Needs = Mapping[str, Counter[str]]  # what a step serves -> kinds of command, and how often each is needed


class AdaptSettings(BaseModel):
    """The `adaptmi` section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scorer: str = Field(
        default="confidence",
        description="What scores a step of the first attempt: confidence, validity, oracle (knows how it ended), or "
        "one registered under `imprint.scorers`.",
    )
    t1: float = Field(
        default=0.85, ge=0, le=1, description="Difficult if the last step, or the mean, scores at most this."
    )
    t2: float = Field(default=0.7, ge=0, le=1, description="Difficult if any step scores at most this.")
    show: Literal["all", "missing"] = Field(
        default="all", description="What a second attempt reads; `missing` (AdaptMI+): what the first did not show."
    )


class SecondAttempt:
    """Decides of every first attempt whether it stands, or what a second one is to read.

    Args:
        tasks: those of the training split, for exemplars of what the skills ask for (AdaptMI+ only).

    Raises:
        RecipeError: the scorer cannot be had, or does not work here; or the world shows no solutions.
    """

    def __init__(
        self, settings: AdaptSettings, world: World, library: SkillLibrary, tasks: Sequence[Task], seed: int
    ) -> None:
        self.settings = settings
        self.library = library
        self.score = make_scorer(settings.scorer)
        self.needs: dict[str, Needs] = {}
        if settings.show == "missing":
            for category in world.categories:
                found = draw_exemplars(world, library, tasks, category, COMPARED, seed, least=1)
                self.needs[category] = needs_of(found)

    def attempt(
        self, evaluator: Evaluator, first: Sequence[Episode], progress: Callable[[int], None] | None = None
    ) -> list[Episode]:
        """What becomes of each first attempt: itself, or with the second one that was made."""
        again = table(ADAPTIVE, {episode.task.id: names for episode in first if (names := self.to_read(episode))})
        difficult = [episode for episode in first if episode.task.id in again.params["tasks"]]
        wanted = [(episode.task, again.show(episode.task, self.library)) for episode in difficult]
        second = dict(zip((e.task.id for e in difficult), evaluator.play(wanted, progress), strict=True))
        return [both_attempts(e, second[e.task.id]) if e.task.id in second else e for e in first]

    def to_read(self, first: Episode) -> tuple[str, ...]:
        """The skills that a second attempt reads; none where the first one stands."""
        if not is_difficult(self.score(first), self.settings):
            return ()
        category = first.task.category
        serving = self.library.serving(category)
        if self.settings.show == "missing":
            return missing_skills(serving, first, self.needs[category])
        return tuple(skill.name for skill in serving)


class AdaptMI:
    """The test with skills in second attempts only, and of first attempts alone."""

    def __init__(self, adaptmi: AdaptSettings) -> None:
        self.settings = adaptmi

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        measuring = Measuring(bench)
        second = SecondAttempt(self.settings, bench.world, agent.library, bench.tasks("train"), bench.seed)

        def played(tasks: Sequence[Task]) -> dict[str, list[Episode]]:
            first = bench.evaluator.conditions(tasks, (WITHOUT,), measuring.advance)[WITHOUT.name]
            adaptive = second.attempt(bench.evaluator, first, measuring.advance)
            share = sum(a is not b for a, b in zip(adaptive, first, strict=True)) / len(first)
            measuring.numbers["adaptmi/second_attempts"] = share
            return {ADAPTIVE: adaptive, WITHOUT.name: first}

        with measuring:
            measuring.test(played)
        return agent


def is_difficult(scores_T: Sequence[float], settings: AdaptSettings) -> bool:
    """The published rule over the scores r_1..r_k: r_k <= t1, or their mean <= t1, or some r_i <= t2."""
    if not scores_T:  # nothing was done at all
        return True
    return scores_T[-1] <= settings.t1 or fmean(scores_T) <= settings.t1 or min(scores_T) <= settings.t2


def both_attempts(first: Episode, second: Episode) -> Episode:
    """One record of a task that was tried twice: the second's outcome, and the turns that both have cost."""
    return replace(
        second,
        turns=(*first.turns, *second.turns),
        prompt_ids=(),
        token_ids=(),
        logprobs=(),
        cached_tokens=first.cached_tokens + second.cached_tokens,
    )


def needs_of(exemplars: Sequence[Exemplar]) -> Needs:
    """For all that steps serve, the kinds of command (first words) that every exemplar has, at least so often."""
    served = {step.serves for exemplar in exemplars for step in exemplar.steps}
    return {
        serves: reduce(and_, (_kinds(step.command for step in e.steps if step.serves == serves) for e in exemplars))
        for serves in sorted(served)
    }


def missing_skills(skills: Sequence[Skill], episode: Episode, needs: Needs) -> tuple[str, ...]:
    """The names of the skills that `episode` does not show: a kind of command that they need was used too rarely.

    A command that was not understood or not possible shows nothing.
    """
    shown = _kinds(turn.action for turn in episode.turns if turn.valid)
    return tuple(
        skill.name for skill in skills if any(need - shown for serves, need in needs.items() if serves in skill.tasks)
    )


def _kinds(commands: Iterable[str]) -> Counter[str]:
    return Counter(words[0] for command in commands if (words := command.split()))


def what_it_needs(settings: Settings) -> list[Need]:
    """Log-probs where confidence scores; solutions where skills are told apart by what their steps share."""
    adaptmi = settings["adaptmi"]
    assert isinstance(adaptmi, AdaptSettings)
    logprobs: list[Need] = ["logprobs"] if adaptmi.scorer == "confidence" else []
    return [*logprobs, "solutions"] if adaptmi.show == "missing" else logprobs


SPEC = MethodSpec(
    AdaptMI, sections={"adaptmi": AdaptSettings}, needs=what_it_needs, aliases={"gate": "adaptmi"}, least_group=1
)
