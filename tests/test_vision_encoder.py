"""A vision encoder for a small policy: the copied weights, its lesson, and skill text read from a picture."""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText

from imprint.commands.play import keep_pictures
from imprint.context.config import ContextConfig, ImageConfig
from imprint.context.image import Renderer
from imprint.context.prompt import Context
from imprint.context.visual import VisualContext
from imprint.engine import make_engine
from imprint.engine.local import rollout_for
from imprint.envs.base import make_world
from imprint.errors import PolicyError, RecipeError
from imprint.jobs.train import train_run
from imprint.learning.config import LearnerConfig
from imprint.learning.sample import episode_samples
from imprint.learning.scoring import score
from imprint.models.local.policy import Policy
from imprint.models.local.sampler import LocalSampler, Sampling
from imprint.pretrain.demonstrations import demonstration_samples
from imprint.pretrain.recipe import PretrainRecipe, VisionConfig
from imprint.pretrain.texts import language_of
from imprint.pretrain.train import train_base
from imprint.pretrain.transcription import PASSAGES, passages, transcription_metrics
from imprint.pretrain.vision_lesson import (
    BLANK,
    OTHER,
    Grid,
    VisionTrainer,
    embedding_sums,
    labelled_picture,
    letter,
    oracle_vision,
)
from imprint.pretrain.vision_model import add_vision
from imprint.recipe import Recipe
from imprint.report.page import write_report
from imprint.rollout.base import Request
from imprint.rollout.pictures import PictureRollout
from imprint.skills.library import load_library
from imprint.support.progress import Progress
from imprint.types import Picture, StepResult, Turn
from tiny import tiny_policy
from tiny_vision import IMAGE, build_tiny_vision

DRAWN = ContextConfig(style="plain", skills="image", image=IMAGE)
SMALL = VisionConfig(width=32, layers=1, heads=2)


@pytest.fixture(scope="module")
def text() -> Policy:
    return Policy.load("imprint-tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "vision"
    add_vision(Policy.load("imprint-tiny"), SMALL, place)
    return place


@pytest.fixture(scope="module")
def vision_policy(folder: Path) -> Policy:
    return Policy.load(folder, pictures=True)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(IMAGE)


def page() -> str:
    return load_library("household")["household-heat"].body.strip()


# --- the model -----------------------------------------------------------------------------------------------------


def test_on_text_the_policy_stays_what_it_was(text, vision_policy):
    ids = torch.tensor([text.encode(page() + "\nYou are in the middle of a room.\n>")])
    with torch.no_grad():
        before = text.model(input_ids=ids).logits
        after = vision_policy.model(input_ids=ids).logits[..., : before.shape[-1]]
    old, new = torch.log_softmax(before, -1), torch.log_softmax(after, -1)
    assert float((old.exp() * (old - new)).sum(-1).max()) < 1e-3  # nats, at any word
    said = ids[:, 1:, None]
    assert float((old[:, :-1].gather(-1, said) - new[:, :-1].gather(-1, said)).abs().mean()) < 2e-3
    biases = [
        weight
        for name, weight in vision_policy.model.named_parameters()
        if "language" in name and "v_proj.bias" in name
    ]
    assert biases
    assert all(float(bias.detach().abs().max()) < 4 for bias in biases)


def test_it_loads_in_transformers_with_all_its_weights(folder, vision_policy):
    loaded = AutoModelForImageTextToText.from_pretrained(folder)
    found = dict(loaded.named_parameters())
    assert all(torch.equal(found[name], weight) for name, weight in vision_policy.model.named_parameters())


def test_it_is_saved_with_its_image_processor_when_the_first_folder_is_gone(tmp_path):
    import shutil

    policy = add_vision(Policy.load("imprint-tiny"), SMALL, tmp_path / "first")
    shutil.rmtree(tmp_path / "first")
    policy.save(tmp_path / "second")
    again = Policy.load(tmp_path / "second", pictures=True)
    assert again.vision is not None
    assert again.vision.count(280, 112) == 40


def test_a_policy_of_another_kind_is_refused(vision_policy, tmp_path):
    with pytest.raises(PolicyError, match="can be given a vision encoder"):
        add_vision(vision_policy, SMALL, tmp_path / "twice")


# --- what stands where ---------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=200))
@settings(max_examples=60)
def test_the_characters_of_a_token_are_those_drawn_in_its_pixels(renderer, vision_policy, drawn):
    """Each token's pixels are drawn again from the characters of its label."""
    seen = labelled_picture(vision_policy, renderer, drawn)
    grid = Grid.of(renderer)
    pixels = renderer.pixels(drawn)
    assert len(seen.characters) == vision_policy.vision.count(*pixels.shape[:2])
    glyphs = {letter(chr(code)): chr(code) for code in range(0x21, 0x7F)} | {BLANK: " "}
    for token, characters in enumerate(seen.characters):
        top, left = (28 * part for part in divmod(token, grid.across))
        for cell, number in enumerate(characters):
            if number != OTHER:
                down, right = divmod(cell, grid.columns)
                tall, wide = renderer.row_height, renderer.cell_width
                y, x = top + down * tall, left + right * wide
                expected = renderer.line(glyphs[number])[:tall, :wide]
                assert np.array_equal(pixels[y : y + tall, x : x + wide], expected)


@given(st.lists(st.sampled_from(["go", "the", "fridge", "12", "household-general,", "mug\n"]), min_size=1, max_size=40))
@settings(max_examples=40)
def test_every_word_of_the_text_begins_in_the_token_that_shows_its_first_letter(renderer, vision_policy, words):
    drawn = " ".join(words).strip()
    if not drawn:
        return
    seen = labelled_picture(vision_policy, renderer, drawn)
    inked = [word for word in vision_policy.encode(drawn) if vision_policy.decode([word]).strip()]
    assert [word for _, word in seen.words] == inked
    for place, word in seen.words:
        assert letter(vision_policy.decode([word]).strip()[0]) in seen.characters[place]


def test_a_layout_whose_cells_lie_in_two_tokens_is_refused():
    with pytest.raises(RecipeError, match="do not fill tokens") as caught:
        Grid.of(Renderer(ImageConfig()))
    assert caught.value.key == "context.image"


def test_a_filled_picture_is_not_scaled(renderer):
    assert renderer.pixels("one row").shape == (28, 112, 3)
    assert renderer.pixels("1\n2\n3").shape == (56, 112, 3)
    assert Renderer(IMAGE.model_copy(update={"height_step": 1})).pixels("1\n2\n3").shape == (42, 112, 3)


# --- the lessons ---------------------------------------------------------------------------------------------------


def test_a_token_stands_for_the_sum_of_its_words():
    words = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    assert embedding_sums(words, torch.tensor([[0, 1], [2, -1], [-1, -1]])).tolist() == [[1, 1], [5, 5], [0, 0]]


def test_oracle_embeddings_replace_the_vision_tower(vision_policy, renderer):
    context = VisualContext(vision_policy, DRAWN)
    sample = passages(context, page(), random.Random(0))[0]
    tower = vision_policy.model.model.visual
    with torch.no_grad():
        seen = score(vision_policy, [sample]).logprobs_M
        with oracle_vision(vision_policy, renderer):
            oracle = score(vision_policy, [sample]).logprobs_M
            states = vision_policy.model.model.visual(*vision_policy.vision.patches(sample.pictures)).pooler_output
        again = score(vision_policy, [sample]).logprobs_M
    assert vision_policy.model.model.visual is tower
    assert torch.equal(seen, again)
    assert not torch.allclose(seen, oracle)
    first = labelled_picture(vision_policy, renderer, sample.pictures[0].text)
    table = vision_policy.model.get_input_embeddings().weight
    expected = sum(table[word] for place, word in first.words if place == 0)
    assert torch.allclose(states[0], expected)


def test_the_vision_encoder_learns_and_the_language_part_does_not_change(renderer, tmp_path):
    policy = add_vision(Policy.load("imprint-tiny"), SMALL, tmp_path / "vision")
    before = {name: weight.clone() for name, weight in policy.model.get_decoder().named_parameters()}
    trainer = VisionTrainer(policy, renderer, ["go to fridge 1", "take mug 2 from desk 1"], steps=25, tokens=150)
    losses = [trainer.step()["vision/error"] for _ in range(25)]
    trainer.close()
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(before[name], weight) for name, weight in policy.model.get_decoder().named_parameters())


def test_the_texts_have_the_cue_before_each_command():
    world = make_world("household", size="small")
    cued, plain = language_of(world, 40, cued=True), language_of(world, 40)
    assert [text.startswith("> ") for text in cued] == [text.startswith(" ") for text in islice(world.language(), 40)]
    assert [text.removeprefix("> ") for text in cued] == plain


def test_rare_words_are_drawn_as_often_as_frequent_ones(renderer, vision_policy):
    texts = ["the the the the the the the the the cup"] * 9
    trainer = VisionTrainer(vision_policy, renderer, texts, steps=1, tokens=2000, balanced=True)
    drawn = [one.picture.text.split() for one in trainer.draw()][1::2]
    trainer.close()
    words = [word for text in drawn for word in text]
    assert 0.4 < words.count("cup") / len(words) < 0.6


def test_transcription_is_measured_on_words_of_the_picture(vision_policy):
    context = VisualContext(vision_policy, DRAWN)
    samples = passages(context, page(), random.Random(1))
    assert len(samples) == PASSAGES
    words = vision_policy.encode(page() + "\n")
    for sample in samples:
        said = list(sample.token_ids)
        assert any(words[start : start + len(said)] == said for start in range(len(words)))
        assert sample.mask_T.tolist() == [False] * 2 + [True] * (len(said) - 2)
    found = transcription_metrics(context, [page()], pictures=2)
    assert found["transcription/nll"] > 0
    assert 0 <= found["transcription/accuracy"] <= 1


def pretrain_recipe(init: str | Path, **changes) -> PretrainRecipe:
    values = {
        "name": "t",
        "init": str(init),
        "context": DRAWN,
        "transcription_pictures": 1,
        "demos": 2,
        "lessons": {"orders": 0},
        "show_interval": 1,
        "show_tasks": 1,
        "env": {"name": "household", "max_turns": 1, "train": 6, "validation": 6},
        "learner": LearnerConfig(lr=1e-4, warmup_steps=1),
    }
    return PretrainRecipe(**(values | changes))


def test_pretraining_runs_from_oracle_embeddings_to_a_trained_encoder(tmp_path):
    with Progress("pretrain", quiet=True) as progress:
        words = pretrain_recipe("imprint-tiny", vision=SMALL, vision_oracle_steps=1, steps=1)
        train_base(words, load_library("household"), tmp_path / "words", progress)
        pictures = pretrain_recipe(
            tmp_path / "words",
            vision_steps=1,
            vision_tokens=100,
            vision_uniform_words=True,
            vision_oracle_steps=1,
            steps=1,
        )
        trained, _ = train_base(pictures, load_library("household"), tmp_path / "vision", progress)
    before, again = (Policy.load(tmp_path / name, pictures=True) for name in ("words", "vision"))
    weights, old = dict(again.model.named_parameters()), dict(before.model.named_parameters())
    assert all(torch.equal(weights[name], weight) for name, weight in trained.model.named_parameters())
    changed = {name for name, weight in weights.items() if not torch.equal(weight, old[name])}
    assert {name.startswith("model.visual.") for name in changed} == {True, False}
    figures = [json.loads(line) for line in (tmp_path / "vision.jsonl").read_text(encoding="utf-8").splitlines()]
    assert ["loss/nll" in row for row in figures] == [True, False]
    assert all("transcription/nll" in row for row in figures)
    assert figures[1]["vision/error"] > 0


def test_language_and_vision_are_trained_in_one_recipe(tmp_path):
    recipe = pretrain_recipe(
        "imprint-tiny", vision=SMALL, vision_oracle_steps=1, vision_steps=1, vision_tokens=100, steps=2
    )
    with Progress("pretrain", quiet=True) as progress:
        train_base(recipe, load_library("household"), tmp_path / "out", progress)
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 3


def test_drawn_histories_begin_at_their_step(tmp_path, monkeypatch):
    shown = []

    def watched(demo, context, weight):
        shown.append(context.config.history)
        return demonstration_samples(demo, context, weight)

    monkeypatch.setattr("imprint.pretrain.lessons.demonstration_samples", watched)
    recipe = pretrain_recipe("imprint-tiny", vision=SMALL, steps=2, demos=8, drawn_history=1, show_interval=2)
    with Progress("pretrain", quiet=True) as progress:
        train_base(recipe, load_library("household"), tmp_path / "out", progress)
    assert shown == ["text"] * 8 + ["text", "text", "image", "image"] * 2
    (figures,) = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert "success/with" in figures
    assert "success/drawn_history/without" in figures


def test_histories_are_not_drawn_for_a_policy_of_text(tmp_path):
    recipe = pretrain_recipe("imprint-tiny", context=ContextConfig(style="plain"), steps=1, drawn_history=0)
    with Progress("pretrain", quiet=True) as progress, pytest.raises(RecipeError, match="drawn_history"):
        train_base(recipe, load_library("household"), tmp_path / "out", progress)


def test_one_schedule_for_parts_that_have_their_own_is_refused(tmp_path):
    recipe = pretrain_recipe("imprint-tiny", vision=SMALL, steps=1, schedule_steps=2)
    with Progress("pretrain", quiet=True) as progress, pytest.raises(RecipeError, match="parts") as failure:
        train_base(recipe, load_library("household"), tmp_path / "out", progress)
    assert failure.value.key == "schedule_steps"


# --- a drawn page before a growing transcript -----------------------------------------------------------------------


def test_each_prompt_begins_with_the_one_before_it(vision_policy):
    context = VisualContext(vision_policy, DRAWN)
    assert context.grows
    skills = load_library("household").serving("heat")
    first = StepResult("You are in the middle of a room.\n\nYour task is to: put a hot mug in cabinet.")
    answer = StepResult("You arrive at fridge 1. The fridge 1 is closed.")
    prompt = context.start(skills, first)
    said = vision_policy.encode(" go to fridge 1\n")
    turn = Turn("go to fridge 1", "go to fridge 1", answer.observation, 0.0, True, 0, 0, 0)
    shown = context.turn_prompt(skills, (), first.observation, [turn], answer)
    assert shown.prompt.ids == (*prompt.ids, *said, *context.follow(answer, said[-1]))
    assert context.as_text(prompt, len(shown.prompt.ids)) == shown.text_tokens
    text = Context(vision_policy, ContextConfig(style="plain")).start(skills, first)
    assert text.ids[text.shared :] == prompt.ids[prompt.shared :]
    assert len(prompt.ids) < 0.6 * len(text.ids)


def test_it_is_played_and_learned_as_one_sequence(folder, tmp_path):
    recipe = Recipe(
        name="drawn",
        method="imprint",
        model=str(folder),
        env={"name": "household", "max_turns": 3},
        context=DRAWN,
    )
    engine = make_engine(recipe)
    assert not isinstance(engine.rollout, PictureRollout)
    tasks = engine.tasks("train", 2)
    requests = [Request(task, 0, engine.library.serving(task.category)) for task in tasks]
    episodes = engine.rollout.play([*requests, Request(tasks[0], 0)], Sampling(1.0, 12))
    turned = PictureRollout(LocalSampler(engine.policy), engine.world, engine.context).play(requests, Sampling(1.0, 12))
    for episode in episodes:
        (sample,) = episode_samples(episode, [1.0] * len(episode.turns))
        with torch.no_grad():
            scored = score(engine.policy, [sample])
        assert float((scored.logprobs_M - scored.old_logprobs_M).abs().max()) < 1e-4
        assert len(sample.pictures) == len(episode.pictures) == (1 if episode.skills else 0)
        again = type(episode).from_record(episode.to_record(tokens=True), engine.draw)
        assert again == episode
        assert [turn.text_tokens > turn.context_tokens for turn in episode.turns] == [bool(episode.skills)] * 3
    keep_pictures(episodes[0], tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["turn-01.png"]
    # The draws of a turn differ between the two; the first prompt does not.
    for whole, turns in zip(episodes, turned, strict=False):
        assert whole.prompt_ids == turns.views[0].prompt_ids
        assert whole.turns[0].text_tokens == turns.turns[0].text_tokens


def test_a_run_goes_through_and_its_report_shows_the_pages(folder, tmp_path):
    recipe = Recipe(
        name="drawn",
        method="imprint",
        model=str(folder),
        steps=2,
        env={"name": "household", "max_turns": 3},
        context=DRAWN,
        rollout={"tasks": 2, "group": 2, "max_new_tokens": 12},
        transfer={"replay": 4, "weight": 1},
        curriculum={"stages": 2, "interval": 1},
        evaluation={"interval": 1, "tasks": 2, "test_tasks": 2},
        checkpoint_interval=1,
    )
    assert train_run(recipe, tmp_path / "run")
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page


def test_with_a_drawn_history_each_turn_is_a_sample(vision_policy):
    world = make_world("household", size="small")
    context = rollout_for(vision_policy, world, DRAWN.model_copy(update={"history": "image"})).context
    demo = next(filter(None, (world.demonstration(seed, lesson="line") for seed in range(5))))
    samples = demonstration_samples(demo, context, 0.1)
    assert samples
    assert samples[0].pictures == demonstration_samples(demo, context, 0.1)[0].pictures
    for sample in samples:
        command = vision_policy.decode(list(sample.token_ids)).strip()
        assert command in [said for said, _, _ in demo.turns]
        assert all(isinstance(picture, Picture) for picture in sample.pictures)
    total = sum(weight for _, _, weight in demo.turns)
    assert sum(float(sample.advantages_T[0]) for sample in samples) == pytest.approx(total)


def test_a_base_models_drawn_history_is_its_transcript(vision_policy):
    context = VisualContext(vision_policy, DRAWN.model_copy(update={"history": "image"}))
    first = StepResult("You are in a room.\n\nYour task is to: put a mug in cabinet.")
    turn = Turn("go to cabinet 1", "go to cabinet 1", "You arrive at cabinet 1.", 0.0, True, 0, 0, 0)
    (picture,) = context.turn_prompt((), (), first.observation, [turn], StepResult(turn.observation)).prompt.pictures
    assert picture.text == f"{first.observation}\n> go to cabinet 1"


def test_a_chat_model_with_a_drawn_page_has_a_prompt_a_turn(tmp_path):
    policy = Policy.load(build_tiny_vision(tmp_path / "chat"), pictures=True)
    assert not VisualContext(policy, ContextConfig(skills="image")).grows


def test_a_random_text_policy_can_be_given_a_vision_encoder(tmp_path):
    assert add_vision(tiny_policy(), SMALL, tmp_path / "random").vision is not None
