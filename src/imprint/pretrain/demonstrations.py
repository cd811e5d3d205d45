"""Demonstrations as samples, in the context that a policy will act in."""

from __future__ import annotations

import random
from collections import Counter

from imprint.context.prompt import Context
from imprint.context.visual import VisualContext
from imprint.envs.base import Demonstration
from imprint.learning.sample import Sample
from imprint.rollout.base import derive_seed
from imprint.types import Turn

TURNS = 4  # sampled from a demonstration whose every turn has a picture of its own


def demonstration_samples(demo: Demonstration, context: Context, observation_weight: float) -> list[Sample]:
    """A demonstration as samples whose `advantages_T` are the weights of imitation.

    One sample where each prompt begins with the one before it. With a drawn history each turn has a picture of its own,
    and a few sampled turns stand for all.
    """
    if isinstance(context, VisualContext) and not context.grows:
        return _turn_samples(demo, context)
    return [_whole_sample(demo, context, observation_weight)]


def _whole_sample(demo: Demonstration, context: Context, observation_weight: float) -> Sample:
    """The skills and the first observation are its prompt."""
    prompt = context.start(demo.pages, demo.first)
    tokens = list(prompt.ids[prompt.shared :])
    weights = [0.0] * len(tokens)
    for command, result, weight in demo.turns:
        action = context.policy.encode(f" {command}\n")
        observation = context.follow(result, action[-1])
        tokens += action + observation
        weights += [weight] * len(action) + [observation_weight] * len(observation)
    return Sample.imitation(prompt.ids[: prompt.shared], tokens, weights, prompt.pictures)


def _turn_samples(demo: Demonstration, context: VisualContext) -> list[Sample]:
    """Turns sampled by their weights, each with its own prompt; together they weigh what the demonstration does."""
    played = [Turn("", command, result.observation, 0.0, True, 0, 0, 0) for command, result, _ in demo.turns]
    observations = [demo.first, *(result for _, result, _ in demo.turns)]
    weights = [weight for _, _, weight in demo.turns]
    if not any(weights):
        return []
    # Seeded by the demonstration itself: the same one gives the same samples.
    rng = random.Random(derive_seed(0, demo.first.observation, *(turn.action for turn in played)))
    drawn = Counter(rng.choices(range(len(played)), weights, k=TURNS))
    samples = []
    for number, times in sorted(drawn.items()):
        first = demo.first.observation
        shown = context.turn_prompt(demo.pages, (), first, played[:number], observations[number]).prompt
        action = context.policy.encode(f" {played[number].action}\n")
        weight = sum(weights) * times / TURNS
        samples.append(Sample.imitation(shown.ids, action, [weight] * len(action), shown.pictures))
    return samples
