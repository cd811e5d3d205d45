"""Against a server that we did not write: transformers' own, with a tiny random chat model made here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.engine.served import EndpointEngine
from imprint.envs.household.world import HouseholdWorld
from imprint.models.local.policy import Policy
from imprint.models.local.sampler import LocalSampler, Sampling
from imprint.pretrain.tiny_model import build_tiny
from imprint.pretrain.tokenizer import train_tokenizer
from imprint.recipe import parse_recipe
from imprint.rollout.tokens import Request, TokenRollout
from imprint.skills.library import load_library
from imprint.types import StopReason

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
OPTIONS = {"max_turns": 2, "train": 6, "validation": 6, "test": 6}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def policy() -> Policy:
    """A random Llama with a chat template, whose end of turn is its end of sequence."""
    tokenizer = train_tokenizer([skill.body for skill in load_library("household").skills], 700, 4096)
    tokenizer.add_special_tokens(
        {"eos_token": "<|end|>", "additional_special_tokens": ["<|user|>", "<|assistant|>"]}  # type: ignore[dict-item]
    )
    tokenizer.chat_template = TEMPLATE
    ends = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}
    model = build_tiny(len(tokenizer), width=32, layers=2, heads=4, max_context=4096, seed=0, **ends)
    return Policy(model.eval(), tokenizer, "random-chat")


@pytest.fixture(scope="module")
def served(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(base url, model name) of a running `transformers serve`."""
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        pytest.skip("transformers serve is not installed: pip install 'imprint[serve]'")
    folder = tmp_path_factory.mktemp("served")
    policy.save(folder / "model")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*command, "--device", "cpu", "--dtype", "float32"],
            stdout=log,
            stderr=log,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )
        try:
            _wait(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}/v1", str(folder / "model")
        finally:
            process.kill()
            process.wait()


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(address):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise AssertionError("the server does not answer")


def test_a_served_model_and_the_same_model_here_read_and_say_the_same(
    policy: Policy, served: tuple[str, str], tmp_path: Path
) -> None:
    url, name = served
    recipe = parse_recipe(
        {
            "name": "served",
            "method": "zero_shot",
            "model": name,
            "env": OPTIONS,
            "endpoint": {"base_url": url, "store": str(tmp_path / "store"), "timeout": 300, "concurrency": 2},
        }
    )
    engine = EndpointEngine(recipe)
    requests = [Request(task, 3, ()) for task in engine.world.tasks("test")]
    sampling = Sampling(0.0, 6)
    episodes = engine.rollout.play(requests, sampling)
    assert [episode.stop for episode in episodes] == [StopReason.TURN_LIMIT] * 6
    world = HouseholdWorld(**OPTIONS)
    here = TokenRollout(LocalSampler(policy), world, Context(policy, ContextConfig())).play(requests, sampling)
    for there, local in zip(episodes, here, strict=True):
        first, other = there.turns[0], local.turns[0]
        assert first.context_tokens == other.context_tokens == len(local.prompt_ids)
        assert first.response.strip() == other.response.strip()
        assert there.answered_tokens <= 2 * sampling.max_new_tokens
    spent = engine.meter.spent
    assert (spent.requests, spent.estimated) == (12, 0)
    again = EndpointEngine(recipe)
    assert again.rollout.play(requests, sampling) == episodes
    assert again.meter.spent.requests == 0
