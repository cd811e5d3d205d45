"""How far the log-probs of the sampler and of the learner are from a model's own, on one batch with everything that a
rollout has: prompts of different lengths, two shared pages, a repeated prompt, responses that end at different times, a
later turn, a row that leaves, and a row that reaches the longest length while its neighbours read more than it does.

Both run the code that rollouts and updates run. The reference reads one sequence at a time, without padding or cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from imprint.models.local.continuation import states_before
from imprint.models.local.forward import LoadedModel, logits_of
from imprint.models.local.sampler import LocalSession
from imprint.models.sampling import Prompt, Sampling

ANSWER = 3  # tokens of a response, at most
SHORTEST = 16  # tokens that the batch needs

Native = Callable[[Sequence[int]], Tensor]  # the logits [T, vocabulary] of one sequence


@dataclass(frozen=True, slots=True)
class Deviation:
    """The largest difference between log-probs, in nats, the mean, and where the largest was found."""

    largest: float
    mean: float
    where: str


@dataclass(slots=True)
class _Row:
    """One sequence: its prompt, what it reads after its first response, and the log-probs of what was sampled."""

    prompt: Prompt
    later: int | None  # how many tokens; None: it has ended
    ids: list[int]
    sampled: dict[int, float]  # by position


@torch.no_grad()
def deviation(policy: LoadedModel, native: Native, *, longest: int, vocabulary: int) -> Deviation:
    """Compare `policy` with the reference `native`, on sequences of up to `longest` tokens (at least `SHORTEST`)."""
    rows = _batch(longest, vocabulary)
    _sample(policy, rows, longest, vocabulary)
    shared, whole = (_score(policy, rows, shared=shared) for shared in (True, False))
    differences: list[tuple[float, str]] = []
    for row, after, within in sorted(zip(rows, shared, whole, strict=True), key=lambda found: len(found[0].ids)):
        own = torch.log_softmax(native(row.ids).float(), dim=-1)
        for path, logprobs in (("sampling", row.sampled), ("learning", after), ("learning of whole sequences", within)):
            places = sorted(logprobs)
            expected = own[torch.tensor(places) - 1, torch.tensor([row.ids[place] for place in places])].cpu().numpy()
            apart = np.abs(np.array([logprobs[place] for place in places]) - expected)
            # np.maximum and max would drop a NaN
            differences += [
                (math.inf if math.isnan(value) else float(value), f"in {path}, token {place + 1} of {len(row.ids)}")
                for place, value in zip(places, apart, strict=True)
            ]
    largest, where = max(differences)
    return Deviation(largest, float(np.mean([value for value, _ in differences])), where)


def _batch(longest: int, vocabulary: int) -> list[_Row]:
    dice = np.random.default_rng(0)

    def some(count: int) -> tuple[int, ...]:
        return tuple(dice.integers(0, vocabulary, max(1, count)).tolist())

    one, other = some(longest // 4), some(longest // 6)
    again = Prompt((*one, *some(1)), len(one))
    rows = [
        (again, 2),
        (Prompt((*one, *some(longest // 4)), len(one)), longest // 4),
        (Prompt((*other, *some(2)), len(other)), longest // 6),
        (Prompt(some(3)), None),
        (Prompt((*one, *some(longest - len(one) - 2 * ANSWER - 1)), len(one)), longest),  # reads up to the limit
        (again, longest // 4),
    ]
    return [_Row(prompt, later, list(prompt.ids), {}) for prompt, later in rows]


def _sample(policy: LoadedModel, rows: Sequence[_Row], longest: int, vocabulary: int) -> None:
    """Play two turns of each row, one of those that end early."""
    dice = np.random.default_rng(1)
    stop = range(0, vocabulary, 4)
    session = LocalSession(policy, [row.prompt for row in rows], range(len(rows)), stop, Sampling(1.0, ANSWER))
    unanswered, inputs = set(range(len(rows))), dict[int, tuple[int, ...]](dict.fromkeys(range(len(rows)), ()))
    while unanswered:
        answers = session.act(inputs)
        unanswered -= answers.keys()
        inputs = {}
        for place, answer in answers.items():
            row = rows[place]
            row.sampled |= {len(row.ids) + step: value for step, value in enumerate(answer.logprobs)}
            row.ids += answer.tokens
            if row.later is not None:
                count = min(row.later, longest - ANSWER - len(row.ids))
                inputs[place] = tuple(dice.integers(0, vocabulary, count).tolist())
                row.ids += inputs[place]
                row.later = None
        unanswered |= inputs.keys()


def _score(policy: LoadedModel, rows: Sequence[_Row], *, shared: bool) -> list[dict[int, float]]:
    """The log-probs of all that followed the prompts, by position, as the learner computes them."""
    after = [row.ids[len(row.prompt.ids) :] for row in rows]
    states, token_ids = states_before(policy, [(row.prompt.ids, ()) for row in rows], after, shared=shared)
    logprobs = torch.log_softmax(logits_of(policy, states), dim=-1).gather(-1, token_ids[..., None])[..., 0].tolist()
    return [
        {len(row.prompt.ids) + step: logprobs[place][step] for step in range(len(after[place]))}
        for place, row in enumerate(rows)
    ]
