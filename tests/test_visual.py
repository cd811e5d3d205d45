"""Contexts with pictures: what is shown and counted, and a policy with a vision encoder that acts and learns."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText

from imprint.context.compression import asked_factor, without_factor
from imprint.engine import make_engine
from imprint.engine.local import LocalEngine
from imprint.errors import PolicyError, RecipeError
from imprint.jobs.train import train_run
from imprint.learning.sample import episode_samples
from imprint.learning.scoring import micro_batches, score
from imprint.models.local.policy import Policy
from imprint.models.local.sampler import Sampling
from imprint.recipe import Recipe
from imprint.rollout.base import Request
from imprint.runs.run import Run
from imprint.types import Episode, Picture
from tiny_vision import build_tiny_vision


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vision(tmp_path_factory.mktemp("models") / "seeing")


def recipe(model: Path, **changes) -> Recipe:
    values = {
        "name": "seeing",
        "method": "skill0",
        "model": str(model),
        "steps": 2,
        "env": {"name": "household", "max_turns": 3},
        "context": {"skills": "image", "history": "image", "compression": True},
        "rollout": {"tasks": 2, "group": 2, "max_new_tokens": 12},
        "reward": {"compression_bonus": 0.01},
        "curriculum": {"stages": 2, "interval": 1},
        "evaluation": {"interval": 1, "tasks": 2, "test_tasks": 2},
        "checkpoint_interval": 1,
    }
    return Recipe(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"context": {"compression": True}}, "context.compression"),
        ({"context": {"skills": "image"}, "endpoint": {"base_url": "http://localhost:1/v1"}}, "context.skills"),
        ({"context": {"history": "image"}, "endpoint": {"base_url": "http://localhost:1/v1"}}, "context.history"),
    ],
)
def test_what_is_said_of_pictures_that_nobody_sees_is_refused(changes, key):
    with pytest.raises(RecipeError) as caught:  # before the model, which is not there, is loaded
        make_engine(recipe(Path("no/such/model"), **changes))
    assert caught.value.key == key and caught.value.hint


@pytest.fixture(scope="module")
def engine(model):
    made = make_engine(recipe(model))
    assert isinstance(made, LocalEngine)
    return made


@pytest.fixture(scope="module")
def episodes(engine):
    tasks = engine.tasks("train", 3)
    requests = [Request(task, seed, engine.library.serving(task.category)) for seed, task in enumerate(tasks)]
    return engine.rollout.play(requests, Sampling(1.0, 12))


# --- the factor of compression -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "factor"),
    [
        ("<compression>1.5</compression>", 1.5),
        ("<think>x</think><compression> 2 </compression>", 2.0),
        ("no word of it", 1.0),
        ("<compression>much</compression>", 1.0),
        ("<compression>nan</compression>", 1.0),
        ("<compression></compression>", 1.0),
        ("<compression>0.2</compression>", 1.0),
        ("<compression>-3</compression>", 1.0),
        ("<compression>9</compression>", 5.0),
        ("<compression>inf</compression>", 5.0),
        ("<compression>2</compression><compression>3</compression>", 2.0),
    ],
)
def test_the_factor_is_read_and_held_within_its_limits(response, factor):
    assert asked_factor(response) == factor


@given(st.text())
def test_any_response_has_a_factor(text):
    for response in (text, f"<compression>{text}</compression>"):
        assert 1.0 <= asked_factor(response) <= 5.0
    assert without_factor(f"go to shelf 1 <compression>{text.replace('<', '')}</compression>") == "go to shelf 1"


# --- tokens --------------------------------------------------------------------------------------------------------


@given(st.integers(10, 900), st.integers(10, 900))
@settings(max_examples=30)
def test_pictures_are_counted_as_the_processor_cuts_them(engine, height, width):
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    vision = engine.policy.vision
    picture = Picture("", 1.0, lambda text, factor: pixels)
    _, grid = vision.patches([picture])
    assert vision.count(height, width) == int(grid.prod()) // 4
    spelled = vision.spelled(picture)
    assert spelled == [vision.start, *[vision.placeholder] * vision.count(height, width), vision.end]


def test_a_picture_costs_a_token_for_28_by_28_pixels(engine):
    assert engine.policy.vision.count(280, 392) == 10 * 14
    assert engine.policy.vision.count(280 + 13, 392 - 13) == 10 * 14


def test_every_turn_says_what_it_read_in_tokens_and_what_it_would_be_as_text(engine, episodes):
    for episode in episodes:
        for turn, view in zip(episode.turns, episode.views, strict=True):
            marks = view.prompt_ids.count(engine.policy.vision.placeholder)
            assert marks == engine.policy.vision.count(*view.pictures[0].pixels.shape[:2])
            assert turn.context_tokens == len(view.prompt_ids)
            text = len(view.prompt_ids) - marks - 2 + len(engine.policy.encode(view.pictures[0].text + "\n"))
            assert turn.tokens_as_text == turn.text_tokens == text


def test_compressing_by_c_costs_about_a_cth_of_the_tokens(engine, episodes):
    picture = episodes[0].views[0].pictures[0]
    full, half = (len(engine.policy.vision.spelled(Picture(picture.text, c, picture.draw))) - 2 for c in (1.0, 2.0))
    assert math.isclose(half, full / 2, rel_tol=0.15)


# --- what is shown -------------------------------------------------------------------------------------------------


def test_the_picture_holds_the_skills_and_the_turns_so_far_and_the_rest_is_text(engine, episodes):
    episode = episodes[0]
    shown = [view.pictures[0].text for view in episode.views]
    page = engine.library[episode.skills[-1]].body.strip().split("\n")[0]
    assert all(page in text for text in shown)
    assert "[Observation]" not in shown[0]
    for number, text in enumerate(shown):
        assert text.count("[Action]:") == number
        assert all(" ".join(turn.action.split()) in text for turn in episode.turns[:number])
    spoken = engine.policy.decode(list(episode.views[2].prompt_ids))
    assert episode.turns[1].observation in spoken
    assert "Your task:" in spoken
    assert page not in spoken


def test_without_anything_to_draw_there_is_no_picture(engine):
    task = engine.tasks("train", 1)[0]
    (episode,) = engine.rollout.play([Request(task, 0)], Sampling(1.0, 4))
    assert episode.views[0].pictures == ()
    assert episode.turns[0].context_tokens == episode.turns[0].text_tokens
    assert episode.views[1].pictures


def test_the_factor_that_was_asked_for_compresses_the_next_picture(engine, episodes):
    from dataclasses import replace

    from imprint.types import StepResult

    episode = episodes[0]
    turn = replace(episode.turns[0], compression=4.0)
    shown = engine.context.turn_prompt((), (), episode.first_observation, [turn], StepResult("now"))
    (picture,) = shown.prompt.pictures
    assert picture.factor == 4.0
    plain = Picture(picture.text, 1.0, picture.draw)
    assert picture.pixels.shape[1] < plain.pixels.shape[1] / 1.8


def test_a_response_is_read_for_its_command_and_its_factor(engine):
    said = "<think>t</think><action>Go to shelf 1</action><compression>2</compression>"
    assert engine.context.read(said) == ("go to shelf 1", True, 2.0)


def test_the_last_turn_asks_for_nothing(episodes):
    assert all(episode.turns[-1].compression == 1.0 for episode in episodes)


# --- the policy ----------------------------------------------------------------------------------------------------


def test_log_probs_are_recomputed_on_the_same_pixels(engine, episodes):
    samples = [sample for episode in episodes for sample in episode_samples(episode, [1.0] * len(episode.turns))]
    assert len(samples) == sum(len(episode.turns) for episode in episodes)
    for micro in micro_batches(samples, 3000):
        with torch.no_grad():
            scored = score(engine.policy, micro)
        assert float((scored.logprobs_M - scored.old_logprobs_M).abs().max()) < 1e-4


def test_the_model_itself_gives_the_same_log_probs(engine, episodes):
    """Its own positions and its own masks, one sequence at a time."""
    policy = engine.policy
    for view in (episodes[0].views[-1], episodes[1].views[0]):
        ids = torch.tensor([view.prompt_ids + view.token_ids])
        pixels, grid = policy.vision.patches(view.pictures)
        with torch.no_grad():
            logits = policy.model(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values=pixels,
                image_grid_thw=grid,
                mm_token_type_ids=(ids == policy.vision.placeholder).int(),
            ).logits
        start = len(view.prompt_ids)
        logprobs = torch.log_softmax(logits[0, start - 1 : -1].float(), dim=-1)
        found = logprobs.gather(-1, ids[0, start:, None])[:, 0]
        assert float((found - torch.tensor(view.logprobs)).abs().max()) < 1e-4


def test_qwen3_vl_is_read_as_it_reads_itself(tmp_path):
    """Its pictures enter every layer (DeepStack), and its patches have another size."""
    made = make_engine(recipe(build_tiny_vision(tmp_path / "qwen3", kind="qwen3-vl")))
    assert made.policy.vision.count(320, 384) == 10 * 12
    task = made.tasks("train", 1)[0]
    played = made.rollout.play([Request(task, 0, made.library.serving(task.category))], Sampling(1.0, 8))
    test_the_model_itself_gives_the_same_log_probs(made, [played[0], played[0]])
    with torch.no_grad():
        scored = score(made.policy, episode_samples(played[0], [1.0] * len(played[0].turns)))
    assert float((scored.logprobs_M - scored.old_logprobs_M).abs().max()) < 1e-4


def test_a_picture_changes_what_is_said(engine, episodes):
    """Or else the tests above would compare a blind model with itself."""
    sample = episode_samples(episodes[0], [1.0] * 3)[0]
    (picture,) = sample.pictures
    blank = Picture(picture.text, picture.factor, lambda text, factor: np.full_like(picture.pixels, 255))
    from dataclasses import replace

    with torch.no_grad():
        seen, unseen = score(engine.policy, [sample]), score(engine.policy, [replace(sample, pictures=(blank,))])
    assert float((seen.logprobs_M - unseen.logprobs_M).abs().max()) > 1e-3


def test_an_episode_does_not_depend_on_its_batch(engine, episodes):
    task = engine.tasks("train", 3)[1]
    (alone,) = engine.rollout.play([Request(task, 1, engine.library.serving(task.category))], Sampling(1.0, 12))
    assert [view.token_ids for view in alone.views] == [view.token_ids for view in episodes[1].views]


def test_an_episode_survives_a_record(engine, episodes):
    for tokens in (True, False):
        record = episodes[0].to_record(tokens=tokens)
        again = Episode.from_record(record, engine.draw)
        assert [view.pictures for view in again.views] == [view.pictures for view in episodes[0].views]
        assert again.to_record(tokens=tokens) == record
    assert again.views[0].prompt_ids == ()


@pytest.mark.parametrize("method", ["skill0", "imprint", "agentocr"])
def test_the_whole_loop_runs_and_what_it_saves_loads_in_transformers(model, tmp_path, method):
    transfer = {"transfer": {"replay": 4, "weight": 1}} if method == "imprint" else {}
    changed = recipe(model, method=method, name=method, **transfer)
    assert train_run(changed, tmp_path / method)
    run = Run.open(tmp_path / method)
    assert run.status()["state"] == "finished"
    rows = run.rows("evaluations")
    assert all(row["text_tokens"] >= 0 for row in rows)
    trained = run.checkpoint_path(run.checkpoint_steps()[-1])
    policy = Policy.load(trained, pictures=True)
    assert policy.vision is not None
    loaded = AutoModelForImageTextToText.from_pretrained(trained)
    before = AutoModelForImageTextToText.from_pretrained(model)
    assert {name for name, _ in loaded.named_parameters()} == {name for name, _ in before.named_parameters()}


def test_a_model_without_eyes_is_refused_by_name():
    with pytest.raises(PolicyError, match="reads no pictures"):
        make_engine(recipe(Path("imprint-tiny")).model_copy(update={"model": "imprint-tiny"}))


def test_agentocr_needs_a_drawn_history(model, tmp_path):
    with pytest.raises(RecipeError, match="history from a picture") as caught:
        train_run(recipe(model, method="agentocr", context={"skills": "image"}), tmp_path / "run")
    assert caught.value.key == "context.history"
