"""Checkpoints: what is saved comes back, loads in transformers as it is, and a damaged one is a clear error."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from imprint.errors import CheckpointError
from imprint.learning.config import LearnerConfig
from imprint.learning.learner import Learner
from imprint.runs.checkpoint import load_checkpoint, save_checkpoint
from imprint.runs.run import Run
from tiny import saved_policy, tiny_policy


@pytest.fixture
def saved(tmp_path):
    """A run with a checkpoint of step 3, and the policy and learner in it."""
    run = Run.create(tmp_path / "run", "name: t\n")
    policy = tiny_policy()
    learner = Learner(policy, LearnerConfig(lr=1e-3), total_steps=5)
    path = save_checkpoint(run, 3, learner, {"env_steps": 7, "curriculum": {"a": [1]}}, keep=2)
    return run, path, policy


def fresh():
    policy = tiny_policy(seed=4)
    return policy, Learner(policy, LearnerConfig(lr=1e-3), total_steps=5)


def test_everything_comes_back(saved):
    _, path, policy = saved
    other, learner = fresh()
    state = load_checkpoint(path, learner)
    assert state == {"step": 3, "env_steps": 7, "curriculum": {"a": [1]}, "memory": {}}
    for one, two in zip(policy.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_transformers_loads_it_as_it_is(saved):
    _, path, policy = saved
    model = AutoModelForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    ids = tokenizer("open the red door", return_tensors="pt").input_ids
    assert torch.allclose(model(ids).logits, policy.model(input_ids=ids).logits, atol=1e-5)
    assert model.generate(ids, max_new_tokens=3).shape == (1, ids.shape[1] + 3)


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.pt", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_checkpoint_names_itself_and_the_hint(saved, name, damage):
    _, path, _ = saved
    file = path / name
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: 0 if damage == "empty" else file.stat().st_size // 2])
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, fresh()[1])
    assert caught.value.where == str(path)
    assert "delete this folder" in str(caught.value)


def test_weights_of_another_model_are_refused(saved):
    _, path, _ = saved
    policy = tiny_policy(layers=3)
    with pytest.raises(CheckpointError, match=r"do not fit|size mismatch|RuntimeError"):
        load_checkpoint(path, Learner(policy, LearnerConfig(), total_steps=1))


def test_only_the_newest_are_kept(saved):
    run, _, policy = saved
    learner = Learner(policy, LearnerConfig(), total_steps=1)
    for step in (4, 5):
        save_checkpoint(run, step, learner, {}, keep=2)
    assert run.checkpoint_steps() == [4, 5]


def test_a_full_disk_leaves_the_old_checkpoint_alone(saved, monkeypatch):
    run, path, policy = saved
    before = (path / "model.safetensors").read_bytes()

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match="disk is full"):
        save_checkpoint(run, 3, Learner(policy, LearnerConfig(), total_steps=1), {}, keep=2)
    assert (path / "model.safetensors").read_bytes() == before
    assert run.checkpoint_steps() == [3]


RECIPE = """
name: killed
method: skill0
model: {model}
steps: 6
env: {{name: household, max_turns: 5}}
rollout: {{tasks: 2, group: 2, max_new_tokens: 6}}
evaluation: {{interval: 2, tasks: 3, test_tasks: 3}}
curriculum: {{interval: 2}}
checkpoint_interval: 1
learner: {{lr: 1.0e-3}}
threads: 1
"""


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_like_one_that_never_was(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=saved_policy(tmp_path / "model")))

    def command(out):
        return [sys.executable, "-m", "imprint.cli", "train", str(recipe), "--out", str(out), "--quiet"]

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(whole), check=True)
    for least in (1, 3, 4):
        process = subprocess.Popen(command(broken))
        while not (found := sorted((broken / "checkpoints").glob("step-*"))) or int(found[-1].name[5:]) < least:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        time.sleep(0.1 * least)  # at different places of the next step
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert json.loads((broken / "status.json").read_text())["state"] == "running"
    subprocess.run(command(broken), check=True)
    for name in ("metrics.jsonl", "trials.jsonl", "evaluations.jsonl", "curriculum.jsonl"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
