"""The replay of readers' successes: what is kept, how it is weighed, how it survives a checkpoint."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from imprint.learning.sample import OffPolicy, Sample
from imprint.methods.weights.replay import MEMORY, Replay


def sample(token, rules=None):
    mask = np.array([True, True, False])
    learned = np.array([1.0, 0.0, 0.0], dtype=np.float32)
    return Sample((1, 2), (token, 4, 5), mask, np.array([-1.0, -2.0, 0.0], dtype=np.float32), learned, rules)


def test_draws_are_spread_over_the_families_and_weighed_by_what_is_left_to_gain():
    replay = Replay(10, 256)
    assert replay.draw(random.Random(0)) == []
    for token in range(20):
        replay.add("heat", sample(100 + token), 1.0)
    replay.add("cool", sample(200), 0.9)
    replay.note_without("heat", 0.25)
    drawn = replay.draw(random.Random(0), 3.0)
    cool = [one for one in drawn if one.token_ids[0] == 200]
    assert len(drawn) == 10 and len(cool) == 5
    assert all(one.advantages_T.tolist() == pytest.approx([2.7, 0, 0]) for one in cool)
    assert all(one.advantages_T.tolist() == pytest.approx([2.25, 0, 0]) for one in drawn if one not in cool)


def test_what_is_known_without_the_skill_is_not_replayed():
    replay = Replay(4, 256)
    replay.add("heat", sample(1), 0.9)
    replay.note_without("heat", 0.95)
    assert replay.draw(random.Random(0)) == []
    replay.note_without("heat", 0.0)  # and forgotten again
    expected = 0.9 - MEMORY * 0.95
    assert replay.draw(random.Random(0))[0].advantages_T[0] == pytest.approx(expected)


def test_only_the_newest_are_kept():
    replay = Replay(64, 3)
    for token in range(9):
        replay.add("heat", sample(token), 1.0)
    assert len(replay) == 3
    assert {one.token_ids[0] for one in replay.draw(random.Random(0))} == {6, 7, 8}


def test_a_replay_survives_a_checkpoint(tmp_path):
    rules = OffPolicy(min_logprob=-5.0)
    replay = Replay(9, 256, rules)
    for token in range(5):
        replay.add("heat" if token % 2 else "cool", sample(token, rules), 1.0 - token / 10)
    replay.note_without("heat", 0.3)
    torch.save(replay.state(), tmp_path / "state.pt")
    other = Replay(9, 256, rules)
    other.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    for one, two in zip(replay.draw(random.Random(3)), other.draw(random.Random(3)), strict=True):
        assert (one.prompt_ids, one.token_ids, one.off_policy) == (two.prompt_ids, two.token_ids, two.off_policy)
        for name in ("mask_T", "old_logprobs_T", "advantages_T"):
            assert getattr(one, name).dtype == getattr(two, name).dtype
            assert getattr(one, name).tolist() == getattr(two, name).tolist()


def test_the_state_of_an_older_checkpoint_is_read():
    replay = Replay(4, 256)
    replay.add("heat", sample(1), 1.0)
    replay.note_without("heat", 0.25)
    old = replay.state()
    old["by_heart"] = old.pop("without")
    other = Replay(4, 256)
    other.restore(old)
    assert other.draw(random.Random(0))[0].advantages_T[0] == pytest.approx(0.75)
