"""Pre-training: what the heads start with, and what the recital teaches."""

from __future__ import annotations

from collections import Counter

import torch

from imprint.learning.config import LearnerConfig
from imprint.pretrain.tiny_model import build_tiny
from imprint.pretrain.train import ModelConfig, PretrainRecipe, _recite, lessons_of, train_base
from imprint.skills.library import load_library
from imprint.support.progress import Progress
from tiny import tiny_policy


def test_the_first_heads_start_out_looking_one_two_and_three_tokens_back():
    model = build_tiny(320, width=64, layers=2, heads=4, max_context=256, seed=0, bos=0, eos=1)
    model.set_attn_implementation("eager")
    ids = torch.randint(2, 320, (1, 40), generator=torch.Generator().manual_seed(0))
    attention_HTT = model(ids, output_attentions=True).attentions[0][0]
    for head in range(3):
        looked_at_T = attention_HTT[head, 10:].argmax(-1)
        assert (torch.arange(10, 40) - looked_at_T == head + 1).float().mean() > 0.9
    free_T = attention_HTT[3, 10:].argmax(-1)
    assert (torch.arange(10, 40) - free_T <= 3).float().mean() < 0.5


class Words:
    """A world as far as the recital needs one."""

    def language(self):
        yield "open the red door go north and south you see a blue door"


def test_a_recital_teaches_to_say_again_what_was_said():
    policy = tiny_policy(width=64)
    recipe = PretrainRecipe(
        name="t",
        recite=60,
        recite_tokens=600,
        model=ModelConfig(width=64, layers=2),
        learner=LearnerConfig(optimizer="muon", lr=5e-3, warmup_steps=5, betas=(0.9, 0.95)),
    )
    said: list[str] = []

    class Heard(Progress):
        def advance(self, numbers: str = "", by: int = 1) -> None:
            said.append(numbers)
            super().advance(numbers, by)

    with Heard("recital") as progress:
        _recite(recipe, Words(), policy, progress)
    first, last = (float(text.rpartition(" ")[2]) for text in (said[0], said[-1]))
    assert last < 0.5 * first


def test_half_of_a_step_is_the_newest_lesson_and_no_lesson_is_dropped():
    recipe = PretrainRecipe(name="t", demos=12, lessons={"line": 10, "orders": 0, "full": 20})
    assert lessons_of(recipe, 9) == ["orders"] * 12
    assert Counter(lessons_of(recipe, 10)) == {"line": 9, "orders": 3}
    assert Counter(lessons_of(recipe, 25)) == {"full": 8, "line": 2, "orders": 2}


def test_it_goes_on_from_a_policy_that_is_there(tmp_path):
    start = tiny_policy(max_context=2048)
    start.save(tmp_path / "start")
    recipe = PretrainRecipe(
        name="t",
        init=str(tmp_path / "start"),
        steps=1,
        demos=2,
        lessons={"orders": 0},
        show_interval=1,
        show_tasks=1,
        env={"name": "household", "max_turns": 1, "train": 6, "validation": 6},
        learner=LearnerConfig(lr=1e-5, warmup_steps=1),
    )
    with Progress("pretrain", quiet=True) as progress:
        trained = train_base(recipe, load_library("household"), tmp_path / "out", progress)
    assert trained.tokenizer.get_vocab() == start.tokenizer.get_vocab()
    before, after = start.model.state_dict(), trained.model.state_dict()
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert 0 < moved < 1e-3  # one small step away, and not drawn anew
