"""RLTF-FM: feedback modelling (arXiv 2602.02482), with the skill's page as the feedback.

    maximise  J(y0 | x0) + J(y1 | x1) - w l_FM,    l_FM = E_{y0 ~ pi(.|x0)} [ - sum_t log pi(c_t | x0, y0, q, c_<t) ]

Beside acting, the policy learns to say what would have helped: after an attempt y0 under the prompt x0 that shows no
skill it is asked q, and the text c of the pages that serve the task is the answer to be predicted. The groups and the
two RL terms are those of `rltf_sd` (`mixed.py`).

Departures: their feedback is a critique of the very attempt, by a judge; a page is the same for every attempt at tasks
of its family, so that predicting it is recalling it. Both terms share one mean over tokens (theirs is one sum), in
which w is the weight of a page's token. An episode whose question and page do not fit the model's context has no such
sample.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from imprint.errors import RecipeError
from imprint.learning.sample import OffPolicy, Sample
from imprint.measurement.conditions import WITH
from imprint.methods.base import MethodSpec, Workbench
from imprint.methods.loop import Group, Loop
from imprint.methods.weights.mixed import MixedGrpo, Mixture

if TYPE_CHECKING:
    from imprint.recipe import Recipe
    from imprint.skills.library import SkillLibrary
    from imprint.types import Episode

__all__ = ["SPEC", "FeedbackModelling", "RltfFm"]

QUESTION = "Which skill serves this task?"


class FeedbackModelling(Mixture):
    """The `feedback_modelling` section of a recipe."""

    weight: float = Field(default=0.1, ge=0, description="Weight of a page's token in the loss.")


class RltfFm(MixedGrpo):
    """Mixed groups, and the pages predicted after the attempts that did not read them."""

    def __init__(self, feedback_modelling: FeedbackModelling) -> None:
        super().__init__(feedback_modelling)
        self.weight = feedback_modelling.weight
        self.nll: float | None = None  # of the pages, in nats a token, before the step

    def begin(self, library: SkillLibrary, bench: Workbench) -> None:
        assert bench.context is not None
        self.library, self.context = library, bench.context

    def carried_over(self, loop: Loop, groups: list[Group]) -> list[Sample]:
        """The pages after each attempt without them."""
        attempts = [episode for group in groups for episode in group if not episode.skills and self.weight > 0]
        samples = [sample for episode in attempts for sample in self.modelled(episode)]
        self.nll = -float(np.concatenate(loop.learner.logprobs(samples)).mean()) if samples else None
        return samples

    def numbers(self) -> dict[str, float]:
        return {} if self.nll is None else {"feedback/nll": self.nll}

    def modelled(self, episode: Episode) -> list[Sample]:
        """The sample of an attempt: none where no skill serves the task, or the page does not fit."""
        skills = WITH.show(episode.task, self.library).skills
        if not skills:
            return []
        asked, page = self.context.exchange(
            f"{episode.turns[-1].observation}\n{QUESTION}", skills, episode.token_ids[-1]
        )
        tokens = (*episode.token_ids, *asked, *page)
        if len(episode.prompt_ids) + len(tokens) > self.context.policy.max_context:
            return []
        weights = np.zeros(len(tokens), dtype=np.float32)
        weights[-len(page) :] = self.weight
        # With the ratio held at 1, an advantage of w has the gradient of w times the cross-entropy.
        return [replace(Sample.imitation(episode.prompt_ids, tokens, weights.tolist()), off_policy=OffPolicy())]


def check(recipe: Recipe) -> None:
    """See that an episode is one sequence, which a page can follow.

    Raises:
        RecipeError: the history is drawn.
    """
    if recipe.context.history == "image":
        raise RecipeError(
            "rltf_fm predicts pages after a whole episode as text",
            key="context.history",
            hint="set context.history: text, or use the method rltf_sd",
        )


SPEC = MethodSpec(RltfFm, sections={"feedback_modelling": FeedbackModelling}, paced=(), check=check)
