"""What the learner trains on: sequences of tokens with a mask, old log-probs and advantages. No PyTorch is needed for
it.

Suffix `_T`: tokens of a sample after its prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from imprint.learning.advantages import Scale, Unit, turn_advantages
from imprint.learning.step_advantages import STEP_WEIGHT, gigpo_advantages, shared_states
from imprint.models.sampling import Prompt
from imprint.types import Draw, Episode, Picture, View, undrawn

__all__ = [
    "AdvantageOptions",
    "Floats",
    "OffPolicy",
    "Sample",
    "anchors_of",
    "episode_sample",
    "episode_samples",
    "group_samples",
    "off_prompt",
    "shared_state_turns",
    "turn_advantages_of",
    "view_sample",
]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """How tokens are learned that were sampled under another prompt.

    Attributes:
        min_logprob: tokens less likely than this under the sample's own prompt are left out (RLTF-SD: -5 nats).
        importance_cap: tokens are weighted by pi(a | this prompt) / pi(a | the other one), at most this.
    """

    min_logprob: float | None = None
    importance_cap: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What the learner trains on: one sequence, of which the tokens under `mask_T` are the policy's own.

    Attributes:
        prompt_ids: read, never trained; samples with equal prompts share its computation.
        token_ids: T tokens after the prompt.
        mask_T: True where a token is trained.
        old_logprobs_T, advantages_T: at the masked positions; 0 elsewhere.
        off_policy: set when the tokens were sampled under another prompt: the ratio is then held at 1 (nothing is
            clipped), and its rules apply.
        pictures: those whose placeholders stand in the prompt; they are drawn again, to the same pixels.
        teacher: what a teacher reads in the place of the prompt, for losses that compare the policy with one
            (`learning.teacher`); None: the sample has none.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    mask_T: npt.NDArray[np.bool_]
    old_logprobs_T: Floats
    advantages_T: Floats
    off_policy: OffPolicy | None = None
    pictures: tuple[Picture, ...] = ()
    teacher: Prompt | None = None

    @classmethod
    def imitation(
        cls,
        prompt_ids: Sequence[int],
        token_ids: Sequence[int],
        weights: Sequence[float],
        pictures: tuple[Picture, ...] = (),
    ) -> Sample:
        """Tokens to be imitated (`SftLoss`), each with its weight; those of weight 0 are read alone."""
        values = np.asarray(weights, dtype=np.float32)
        return cls(tuple(prompt_ids), tuple(token_ids), values > 0, np.zeros_like(values), values, pictures=pictures)

    @property
    def prompt(self) -> tuple[tuple[int, ...], tuple[Picture, ...]]:
        """What stands before the tokens: samples in which it is equal share its computation."""
        return self.prompt_ids, self.pictures

    @property
    def trained_tokens(self) -> int:
        return int(self.mask_T.sum())

    def scaled(self, factor: float) -> Sample:
        """The same with every advantage times `factor`."""
        return replace(self, advantages_T=self.advantages_T * np.float32(factor))

    def taught(self, prompt: Prompt) -> Sample:
        """The same tokens, which a teacher reads after `prompt`."""
        return replace(self, teacher=prompt)

    def as_teacher_reads(self) -> Sample:
        """The same tokens under the teacher's prompt.

        Raises:
            ValueError: there is none.
        """
        if self.teacher is None:
            raise ValueError("the sample has no prompt for a teacher")
        return replace(self, prompt_ids=self.teacher.ids, pictures=self.teacher.pictures, teacher=None)


class AdvantageOptions(NamedTuple):
    """How scores become advantages: see `learning.advantages`, and of the unit `step` `learning.step_advantages`.

    Attributes:
        returns: gives what each turn of an episode led to (`rewards.discounted_returns`); the unit `step` needs it.
    """

    unit: Unit | Literal["step"] = "episode"
    scale: Scale = "std"
    std_floor: float = 0.0
    step_weight: float = STEP_WEIGHT
    returns: Callable[[Episode], Sequence[float]] | None = None


def episode_sample(
    episode: Episode,
    advantages: Sequence[float],
    prompt: Prompt | None = None,
    off_policy: OffPolicy | None = None,
) -> Sample:
    """The sample of an episode, with one advantage per turn.

    Args:
        prompt: put in the place of the episode's own (the same actions under another context).
    """
    size = len(episode.token_ids)
    mask = np.zeros(size, dtype=np.bool_)
    values = np.zeros(size, dtype=np.float32)
    for turn, advantage in zip(episode.turns, advantages, strict=True):
        mask[turn.start : turn.stop] = True
        values[turn.start : turn.stop] = advantage
    old = np.asarray(episode.logprobs, dtype=np.float32)
    ids, pictures = (episode.prompt_ids, episode.pictures) if prompt is None else (prompt.ids, prompt.pictures)
    return Sample(ids, episode.token_ids, mask, old, values, off_policy, pictures)


def episode_samples(episode: Episode, advantages: Sequence[float]) -> list[Sample]:
    """All samples of an episode, with one advantage per turn: one, or one a turn where each had a prompt of its own."""
    if not episode.views:
        return [episode_sample(episode, advantages)]
    return [view_sample(view, advantage) for view, advantage in zip(episode.views, advantages, strict=True)]


def view_sample(
    view: View, advantage: float, prompt: Prompt | None = None, off_policy: OffPolicy | None = None
) -> Sample:
    """The sample of a turn that had a prompt of its own.

    Args:
        prompt: put in the place of its own (the same response under another context).
    """
    size = len(view.token_ids)
    return Sample(
        view.prompt_ids if prompt is None else prompt.ids,
        view.token_ids,
        np.ones(size, dtype=np.bool_),
        np.asarray(view.logprobs, dtype=np.float32),
        np.full(size, advantage, dtype=np.float32),
        off_policy,
        view.pictures if prompt is None else prompt.pictures,
    )


def off_prompt(
    episode: Episode,
    weights: Sequence[float],
    prompts: Sequence[Prompt],
    off_policy: OffPolicy | None = None,
    *,
    taught: bool = False,
) -> list[Sample]:
    """The actions of an episode under other prompts than those it was played with.

    Args:
        weights: one per turn; turns of weight 0 are not learned.
        prompts: as `Context.render` gives them: one, or one per turn where each turn had a prompt of its own.
        taught: a teacher reads the prompts that it was played with.
    """
    if not episode.views:
        (prompt,) = prompts
        moved = [(episode_sample(episode, weights, prompt, off_policy), _own_prompt(episode))]
    else:
        turns = zip(episode.views, weights, prompts, strict=True)
        moved = [
            (view_sample(view, weight, prompt, off_policy), _own_prompt(view))
            for view, weight, prompt in turns
            if weight
        ]
    return [sample.taught(own) if taught else sample for sample, own in moved]


def _own_prompt(played: Episode | View) -> Prompt:
    return Prompt(played.prompt_ids, pictures=played.pictures)


def group_samples(
    groups: Sequence[Sequence[Episode]], scores: Sequence[Sequence[Sequence[float]]], options: AdvantageOptions
) -> list[Sample]:
    """The samples of each episode (of each turn, where turns have prompts of their own) with its group-relative
    advantages.

    Args:
        scores: of each turn of each episode of each group.

    Raises:
        ValueError: the unit is `step`, and `options` has no `returns`.
    """
    episodes = [episode for group in groups for episode in group]
    pairs = zip(episodes, turn_advantages_of(groups, scores, options), strict=True)
    return [sample for episode, values in pairs for sample in episode_samples(episode, values)]


def turn_advantages_of(
    groups: Sequence[Sequence[Episode]], scores: Sequence[Sequence[Sequence[float]]], options: AdvantageOptions
) -> list[list[float]]:
    """The advantage of each turn of each episode, group after group; the arguments are those of `group_samples`."""
    episodes = [episode for group in groups for episode in group]
    owners = [place for place, group in enumerate(groups) for _ in group]
    flat = [turns for group in scores for turns in group]
    unit, scale, floor = options.unit, options.scale, options.std_floor
    if unit != "step":
        return turn_advantages(flat, owners, unit=unit, scale=scale, std_floor=floor)
    if options.returns is None:
        raise ValueError("the unit 'step' needs what each turn led to: AdvantageOptions.returns")
    returns, anchors = [options.returns(episode) for episode in episodes], [anchors_of(episode) for episode in episodes]
    weight = options.step_weight
    return gigpo_advantages(flat, returns, anchors, owners, step_weight=weight, scale=scale, std_floor=floor)


def shared_state_turns(groups: Sequence[Sequence[Episode]]) -> float:
    """The share of the turns whose state another turn acted in, of an episode of their group that showed the same."""
    episodes = [(place, episode) for place, group in enumerate(groups) for episode in group]
    owners = [(place, episode.skills) for place, episode in episodes]
    return shared_states([anchors_of(episode) for _, episode in episodes], owners)


def anchors_of(episode: Episode) -> Sequence[str]:
    """What identifies the state before each turn: of an episode read from a record, what was observed."""
    seen = (episode.first_observation, *(turn.observation for turn in episode.turns))
    return episode.anchors or seen[: len(episode.turns)]


def packed(sample: Sample) -> dict[str, Any]:
    """A sample as plain types and tensors, for a checkpoint; its rules for other prompts are not kept."""
    import torch

    teacher: dict[str, Any] = {}
    if sample.teacher is not None:
        teacher["teacher"] = torch.tensor(sample.teacher.ids, dtype=torch.int32)
        teacher["teacher_pictures"] = [(picture.text, picture.factor) for picture in sample.teacher.pictures]
    return teacher | {
        "prompt": torch.tensor(sample.prompt_ids, dtype=torch.int32),
        "tokens": torch.tensor(sample.token_ids, dtype=torch.int32),
        "mask": torch.from_numpy(sample.mask_T),
        "old_logprobs": torch.from_numpy(sample.old_logprobs_T),
        "learned": torch.from_numpy(sample.advantages_T),
        "pictures": [(picture.text, picture.factor) for picture in sample.pictures],
    }


def unpacked(entry: Mapping[str, Any], off_policy: OffPolicy | None = None, draw: Draw | None = None) -> Sample:
    """The inverse of `packed`; `draw` gives pictures their pixels."""
    mask, old, learned = (entry[name].numpy() for name in ("mask", "old_logprobs", "learned"))
    prompt, tokens = (tuple(entry[name].tolist()) for name in ("prompt", "tokens"))
    pictures, seen = (
        tuple(Picture(text, factor, draw or undrawn) for text, factor in entry.get(name, ()))
        for name in ("pictures", "teacher_pictures")
    )
    teacher = Prompt(tuple(entry["teacher"].tolist()), pictures=seen) if "teacher" in entry else None
    return Sample(prompt, tokens, mask, old, learned, off_policy, pictures, teacher)
