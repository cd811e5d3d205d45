"""Pre-training: the heads at the start, the copying task, lessons, and keys of older recipes."""

from __future__ import annotations

import json
import shlex
from collections import Counter

import pytest
import torch
from typer.testing import CliRunner

from conftest import ROOT
from imprint.cli import app
from imprint.commands.pretrain import evaluation_command
from imprint.commands.subject import Subject
from imprint.envs.base import make_world
from imprint.errors import RecipeError
from imprint.learning.config import LearnerConfig
from imprint.learning.learner import Learner
from imprint.models.local.policy import Policy
from imprint.pretrain.copying import train_copying
from imprint.pretrain.lessons import Kept, LessonTrainer, lessons_of
from imprint.pretrain.recipe import PretrainRecipe, load_recipe, with_current_keys
from imprint.pretrain.tiny_model import build_tiny
from imprint.pretrain.train import _with_lessons_of, train_base
from imprint.skills.library import load_library
from imprint.support.progress import Progress
from tiny import continuing, tiny_policy, weights_of


def test_the_first_heads_start_out_attending_one_two_and_three_tokens_back():
    model = build_tiny(320, width=64, layers=2, heads=4, max_context=256, seed=0, bos=0, eos=1)
    model.set_attn_implementation("eager")
    ids = torch.randint(2, 320, (1, 40), generator=torch.Generator().manual_seed(0))
    attention_HTT = model(ids, output_attentions=True).attentions[0][0]
    for head in range(3):
        attended_T = attention_HTT[head, 10:].argmax(-1)
        assert (torch.arange(10, 40) - attended_T == head + 1).float().mean() > 0.9
    free_T = attention_HTT[3, 10:].argmax(-1)
    assert (torch.arange(10, 40) - free_T <= 3).float().mean() < 0.5


class Words:
    """The part of a world that the copying task needs."""

    def language(self):
        yield "open the red door go north and south you see a blue door"


def test_copying_is_learned():
    policy = tiny_policy(width=64)
    learner = LearnerConfig(optimizer="muon", lr=5e-3, warmup_steps=5, betas=(0.9, 0.95))
    notes: list[str] = []

    class Recorded(Progress):
        def advance(self, numbers: str = "", by: int = 1) -> None:
            notes.append(numbers)
            super().advance(numbers, by)

    with Recorded("copying") as progress:
        train_copying(policy, Words(), learner, steps=60, tokens=600, seed=0, progress=progress)
    first, last = (float(text.rpartition(" ")[2]) for text in (notes[0], notes[-1]))
    assert last < 0.5 * first


def test_half_of_a_step_is_the_newest_lesson_and_no_lesson_is_dropped():
    recipe = PretrainRecipe(name="t", demos=12, lessons={"line": 10, "orders": 0, "full": 20})
    assert lessons_of(recipe, 9) == ["orders"] * 12
    assert Counter(lessons_of(recipe, 10)) == {"line": 9, "orders": 3}
    assert Counter(lessons_of(recipe, 25)) == {"full": 8, "line": 2, "orders": 2}


def test_it_continues_from_an_existing_policy(tmp_path):
    recipe = continuing(
        tmp_path,
        steps=1,
        demos=2,
        lessons={"orders": 0},
        show_interval=1,
        show_tasks=1,
        env={"name": "household", "max_turns": 1, "train": 6, "validation": 6},
        learner=LearnerConfig(lr=1e-5, warmup_steps=1),
    )
    with Progress("pretrain", quiet=True) as progress:
        trained, _ = train_base(recipe, load_library("household"), tmp_path / "out", progress)
    start = Policy.load(tmp_path / "start")
    assert trained.tokenizer.get_vocab() == start.tokenizer.get_vocab()
    before, after = start.model.state_dict(), trained.model.state_dict()
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert 0 < moved < 1e-3  # one small step away, and not drawn anew


def test_a_step_without_a_demonstration_learns_nothing_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("imprint.envs.household.world.HouseholdWorld.demonstration", lambda *args, **keys: None)
    notes = []
    monkeypatch.setattr(Progress, "advance", lambda self, numbers="", by=1: notes.append(numbers))
    recipe = continuing(tmp_path, steps=2, demos=1, show_tasks=1, lessons={"orders": 0})
    with Progress("pretrain", quiet=True) as progress:
        trained, _ = train_base(recipe, load_library("household"), tmp_path / "out", progress)
    assert notes == ["no demonstration"] * 2
    start, end = Policy.load(tmp_path / "start").model.state_dict(), trained.model.state_dict()
    assert all(torch.equal(end[name], weight) for name, weight in start.items())


@pytest.mark.parametrize(("schedule", "left"), [(None, 1 - 0.9 * 2 / 3), (30, 1 - 0.9 * 2 / 30)])
def test_a_schedule_can_be_longer_than_the_training(tmp_path, schedule, left):
    recipe = continuing(
        tmp_path,
        steps=3,
        schedule_steps=schedule,
        demos=1,
        lessons={"orders": 0},
        show_tasks=1,
        env={"name": "household", "max_turns": 1, "train": 6, "validation": 6},
        learner=LearnerConfig(lr=1e-3, warmup_steps=1, decay="linear"),
    )
    with Progress("pretrain", quiet=True) as progress:
        train_base(recipe, load_library("household"), tmp_path / "out", progress)
    (figures,) = map(json.loads, (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines())
    assert figures["lr"] == pytest.approx(1e-3 * left)


def test_the_average_of_the_weights_is_what_is_evaluated_and_saved(tmp_path, monkeypatch):
    learned, evaluated = [], []

    def recorded(method, record):
        def call(self, *arguments):
            found = method(self, *arguments)
            record.append(weights_of(self.policy))
            return found

        return call

    monkeypatch.setattr(Learner, "step", recorded(Learner.step, learned))
    monkeypatch.setattr(LessonTrainer, "_success", recorded(LessonTrainer._success, evaluated))
    recipe = continuing(
        tmp_path,
        steps=4,
        demos=1,
        lessons={"orders": 0},
        show_interval=2,
        show_tasks=1,
        ema=0.5,
        keep="last",
        env={"name": "household", "max_turns": 1, "train": 6, "validation": 6},
        learner=LearnerConfig(lr=1e-3, warmup_steps=1),
    )
    with Progress("pretrain", quiet=True) as progress:
        policy, _ = train_base(recipe, load_library("household"), tmp_path / "out", progress)
    mean = weights_of(Policy.load(tmp_path / "start"))
    averages = [mean := 0.5 * mean + 0.5 * one for one in learned]
    assert torch.allclose(torch.stack(evaluated), torch.stack(averages[1::2]), atol=1e-6)
    for found in (policy, Policy.load(tmp_path / "out")):
        assert torch.equal(weights_of(found), evaluated[-1])
    assert not torch.allclose(averages[-1], learned[-1], atol=1e-5)
    # After an evaluation the training goes on from its own weights, not from the average.
    assert (learned[2] - learned[1]).norm() < (learned[2] - averages[1]).norm()


SHARES = (0.2, 0.7, 0.7, 0.3)  # success with skills at four evaluations


@pytest.mark.parametrize(("keep", "step", "success"), [("best", 3, 0.7), ("last", 4, 0.3)])
def test_the_best_policy_is_kept_or_the_last(tmp_path, monkeypatch, keep, step, success):
    seen = []

    def scored(trainer, name):
        seen.append({key: weight.clone() for key, weight in trainer.policy.model.state_dict().items()})
        return {"success/with": SHARES[len(seen) - 1], "success/without": 1 - SHARES[len(seen) - 1]}

    monkeypatch.setattr(LessonTrainer, "_success", scored)
    recipe = continuing(
        tmp_path,
        steps=4,
        demos=1,
        lessons={"orders": 0},
        show_interval=1,
        keep=keep,
        learner=LearnerConfig(lr=1e-3, warmup_steps=1),
    )
    with Progress("pretrain", quiet=True) as progress:
        policy, kept = train_base(recipe, load_library("household"), tmp_path / "out", progress)
    assert kept == Kept(step, success)
    for found in (policy, Policy.load(tmp_path / "out")):
        weights = found.model.state_dict()
        assert all(torch.equal(weights[key], weight) for key, weight in seen[step - 1].items())
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 4


def test_the_recipes_of_the_policies_that_are_published_keep_the_last():
    assert PretrainRecipe(name="t").keep == "best"
    recipes = [load_recipe(file)[0] for file in (ROOT / "recipes" / "pretrain").glob("*.yaml")]
    assert len(recipes) == 9
    assert {recipe.keep for recipe in recipes} == {"last"}


DRAWN = {"skills": "image", "image": {"width": 112}}


@pytest.mark.parametrize(
    "values",
    [
        {"env": {"name": "search", "max_turns": 3}},
        {"env": {"name": "household", "size": "small"}, "skills": "./my skills"},
        {"context": {"style": "plain", **DRAWN}},
    ],
)
def test_the_hint_at_the_end_plays_the_world_it_was_made_for(values, tmp_path):
    recipe = PretrainRecipe(name="t", **values)
    program, command, model, *changes = shlex.split(evaluation_command(recipe, tmp_path / "my base"))
    assert (program, command, model) == ("imprint", "eval", str(tmp_path / "my base"))
    assert changes[::2] == ["--set"] * len(changes[::2])
    found = Subject("imprint-tiny", None, changes[1::2]).recipe
    assert found.env == recipe.env
    assert str(found.skills) == values.get("skills", recipe.env.name)
    assert found.context.image == recipe.context.image
    assert found.context.skills == recipe.context.skills


OLD = {
    "blindfold": 5,
    "see": 7,
    "see_tokens": 200,
    "see_evenly": True,
    "aloud": 3,
    "recite": 4,
    "recite_tokens": 900,
}


def test_keys_of_older_recipes_still_load_with_a_note():
    new = PretrainRecipe(
        name="t",
        vision_oracle_steps=5,
        vision_steps=7,
        vision_tokens=200,
        vision_uniform_words=True,
        transcription_pictures=3,
        copy_steps=4,
        copy_tokens=900,
    )
    assert PretrainRecipe(name="t", **OLD) == new
    values, notes = with_current_keys({"name": "t", **OLD})
    assert PretrainRecipe(**values) == new
    assert notes[0] == "the key 'blindfold' is now called 'vision_oracle_steps'"
    assert len(notes) == len(OLD)
    assert with_current_keys(new.model_dump()) == (new.model_dump(), [])


def test_a_value_under_both_names_of_a_key_is_refused():
    with pytest.raises(RecipeError, match="old name of 'copy_steps'"):
        PretrainRecipe(name="t", recite=4, copy_steps=4)


def test_the_old_name_of_a_lesson_still_loads_with_a_note():
    notes: list[str] = []

    class Recorded(Progress):
        def note(self, text: str) -> None:
            notes.append(text)

    recipe = PretrainRecipe(name="t", lessons={"by_heart": 0, "full": 5})
    current = _with_lessons_of(make_world("household"), recipe, Recorded("t", quiet=True))
    assert current.lessons == {"closed_book": 0, "full": 5}
    assert notes == ["the lesson 'by_heart' is now called 'closed_book'"]


def test_the_old_name_of_the_protocol_is_an_alias():
    from imprint.envs.base import DreamWorld, TeachableWorld

    assert DreamWorld is TeachableWorld


def test_the_command_notes_old_keys_and_a_change_replaces_the_new_one(tmp_path, monkeypatch):
    trained: list[PretrainRecipe] = []

    def train(recipe, library, out, progress):
        trained.append(recipe)
        return tiny_policy(), None

    monkeypatch.setattr("imprint.pretrain.train.train_base", train)
    (tmp_path / "r.yaml").write_text("name: t\ncopy_steps: 3\naloud: 2\n", encoding="utf-8")
    arguments = ["pretrain", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out"), "--set", "recite=1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert (trained[0].copy_steps, trained[0].transcription_pictures) == (1, 2)
    assert "'aloud' is now called 'transcription_pictures'" in " ".join(result.output.split())
