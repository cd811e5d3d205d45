"""A frozen vision tower: what is trained, what is cached of pictures, and that the policy is the same."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from imprint.context.config import ContextConfig
from imprint.context.image import Renderer
from imprint.engine.local import rollout_for
from imprint.envs.base import make_world
from imprint.errors import RecipeError
from imprint.learning.config import LearnerConfig
from imprint.learning.learner import Learner
from imprint.learning.losses import GrpoLoss
from imprint.learning.sample import Sample, episode_samples
from imprint.learning.scoring import score
from imprint.models.local.forward import picture_features
from imprint.models.local.policy import Policy
from imprint.models.local.sampler import Sampling
from imprint.models.local.vision import PictureCache
from imprint.pretrain.vision_lesson import oracle_vision
from imprint.rollout.base import Request
from imprint.types import Picture
from tiny import tiny_policy
from tiny_vision import IMAGE, build_tiny_vision

FROZEN = LearnerConfig(lr=1e-2, freeze_vision_tower=True)


def vision_policy(folder: Path, kind: str = "qwen2.5-vl") -> Policy:
    return Policy.load(build_tiny_vision(folder, chat=False, kind=kind), pictures=True)


def played(policy: Policy) -> list[Sample]:
    """Samples of two short episodes with a drawn history."""
    world = make_world("household", size="small", max_turns=3)
    rollout = rollout_for(policy, world, ContextConfig(style="plain", history="image", image=IMAGE))
    requests = [Request(task, seed) for seed, task in enumerate(list(world.tasks("train"))[:2])]
    episodes = rollout.play(requests, Sampling(1.0, 6))
    return [sample for episode in episodes for sample in episode_samples(episode, [1.0] * len(episode.turns))]


def picture(text: str) -> Picture:
    return Picture(text, 1.0, Renderer(IMAGE).pixels)


@pytest.mark.parametrize("kind", ["qwen2.5-vl", "qwen3-vl"])
def test_only_the_language_part_is_trained(tmp_path, kind):
    policy = vision_policy(tmp_path, kind)
    old = {name: weight.clone() for name, weight in policy.model.named_parameters()}
    learner = Learner(policy, FROZEN, total_steps=1)
    learner.step(played(policy), GrpoLoss())
    changed = {name for name, weight in policy.model.named_parameters() if not torch.equal(old[name], weight)}
    assert changed
    assert not any("visual" in name for name in changed)
    policy.save(tmp_path / "saved")
    again = dict(Policy.load(tmp_path / "saved", pictures=True).model.named_parameters())
    assert all(torch.equal(again[name], weight) for name, weight in policy.model.named_parameters())


def test_cached_features_give_the_same_log_probs(tmp_path):
    policy = vision_policy(tmp_path)
    samples = played(policy)
    with torch.no_grad():
        computed = score(policy, samples).logprobs_M
        policy.freeze_vision()
        first, second = (score(policy, samples).logprobs_M for _ in range(2))
    assert torch.allclose(computed, first, atol=1e-5)
    assert torch.equal(first, second)


def test_features_are_computed_once_and_the_oldest_are_dropped(tmp_path):
    policy = vision_policy(tmp_path)
    calls: list[int] = []
    patches = policy.vision.patches
    policy.vision.patches = lambda pictures: calls.append(len(pictures)) or patches(pictures)
    cache = PictureCache(most=10_000)
    features = partial(picture_features, policy)
    tokens, grids = cache.of([picture("a mug"), picture("a cup"), picture("a mug")], features)
    assert calls == [2]
    assert len(tokens) == sum(int(grid.prod()) // 4 for grid in grids)
    assert torch.equal(tokens[: len(tokens) // 3], tokens[-len(tokens) // 3 :])
    cache.of([picture("a cup"), picture("a mug")], features)
    assert calls == [2]
    for number in range(40):
        cache.of([picture(f"mug {number}")], features)
    assert cache.size <= 10_000
    cache.of([picture("mug 39")], features)
    assert len(calls) == 41
    cache.of([picture("a mug")], features)
    assert len(calls) == 42


def test_more_pictures_than_fit_the_cache_are_all_computed(tmp_path):
    policy = vision_policy(tmp_path)
    tokens, grids = PictureCache(most=1).of(
        [picture(f"mug {number}") for number in range(20)], partial(picture_features, policy)
    )
    assert len(grids) == 20
    assert len(tokens) == sum(int(grid.prod()) // 4 for grid in grids)


def test_nothing_is_cached_with_oracle_embeddings(tmp_path):
    policy = vision_policy(tmp_path)
    with oracle_vision(policy, Renderer(IMAGE)):
        policy.freeze_vision()
        assert policy.vision.cache is None
    policy.freeze_vision()
    cache = policy.vision.cache
    with oracle_vision(policy, Renderer(IMAGE)):
        assert policy.vision.cache is None
    assert policy.vision.cache is cache is not None


def test_a_policy_of_text_has_no_tower_to_freeze():
    with pytest.raises(RecipeError, match="freeze_vision_tower"):
        Learner(tiny_policy(), FROZEN, total_steps=1)
