"""The recipes of the published settings, on a tiny random model of the published architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from conftest import ROOT
from imprint.cli import app
from imprint.envs.household.banks import BANK_TASKS
from imprint.envs.household.maker import write_games
from imprint.jobs.train import train_run
from imprint.learning.sample import episode_sample
from imprint.learning.scoring import score
from imprint.methods.weights.curriculum import CurriculumConfig
from imprint.models.local.policy import Policy
from imprint.recipe import Recipe, load_recipe
from imprint.runs.run import Run
from imprint.skills.banks.bank import export_bank, import_bank, imported_library
from imprint.skills.library import SkillLibrary, load_library
from imprint.types import Episode, StopReason, Task, Turn
from tiny_vision import build_tiny_vision

RECIPES = sorted((ROOT / "recipes" / "alfworld").glob("*.yaml"))
VISUAL = sorted((ROOT / "recipes" / "alfworld" / "visual").glob("*.yaml"))
TINY = sorted((ROOT / "recipes" / "alfworld" / "tiny").glob("*.yaml"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2.5-VL of some thousand random weights, with a tokenizer and chat template of its own."""
    return build_tiny_vision(tmp_path_factory.mktemp("models") / "qwen")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("alfworld")
    write_games(root / "json_2.1.1", "train", 18)
    write_games(root / "json_2.1.1", "test", 6)
    (root / "json_2.1.1" / "test").rename(root / "json_2.1.1" / "valid_seen")
    return root


@pytest.fixture
def at_home(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    monkeypatch.chdir(ROOT)


def small(path: Path, model: Path, *more: str) -> Recipe:
    """The recipe with its sizes cut down and nothing else changed."""
    changes = [f"model={model}", "device=cpu", "threads=1", "env.max_turns=2", "env.validation=6"]
    changes += ["rollout.tasks=2", "rollout.group=2", "rollout.max_new_tokens=6", "evaluation.tasks=2"]
    changes += ["evaluation.test_tasks=2", "evaluation.interval=3", "checkpoint_interval=3"]
    return load_recipe(path, [*changes, *more])


def test_the_recipes_are_the_published_settings() -> None:
    assert len(RECIPES) == 8
    for path in RECIPES:
        recipe = load_recipe(path)
        method, _, size = recipe.name.partition("-")
        assert (recipe.method, recipe.model) == (method, f"Qwen/Qwen2.5-VL-{size.upper()}-Instruct")
        assert recipe.steps == (0 if method == "zero_shot" else 180)
        assert (recipe.rollout.tasks, recipe.rollout.group, recipe.rollout.temperature) == (16, 8, 1.0)
        assert recipe.learner.lr == 1e-6 and recipe.learner.kl_coef == 0 and recipe.learner.entropy_coef == 0.001
        if method == "skill0":
            assert recipe.section("curriculum", CurriculumConfig).schedule == (6, 3, 0)
        assert (recipe.evaluation.interval, recipe.evaluation.temperature) == (10, 0.4)
        assert (recipe.reward.success, recipe.reward.invalid_penalty, recipe.reward.invalid) == (10, 0.1, "format")
        assert recipe.env.options["max_turns"] == 50 and recipe.env.options["splits"]["test"] == "valid_seen"
        values, first = recipe.model_dump(), load_recipe(RECIPES[0]).model_dump()
        same = set(values) - {"name", "method", "model", "steps", "curriculum"}
        assert {key: values[key] for key in same} == {key: first[key] for key in same}


def test_the_six_pages_are_ours_as_a_bank_and_back(tmp_path: Path) -> None:
    """`imprint skills export household bank.json`, `imprint skills import bank.json recipes/alfworld/skills`."""
    bank, _ = export_bank(load_library("household"), world_tasks=BANK_TASKS)
    import_bank(bank, tmp_path / "skills", world_tasks=BANK_TASKS)
    kept = ROOT / "recipes" / "alfworld" / "skills"
    for made in sorted((tmp_path / "skills").rglob("*.*")):
        assert made.read_text() == (kept / made.relative_to(tmp_path / "skills")).read_text(), made.name
    assert len(SkillLibrary.load(kept)) == 6 and export_bank(imported_library(kept))[1] == []


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem.endswith("3b")], ids=lambda path: path.stem)
@pytest.mark.usefixtures("at_home")
def test_a_recipe_starts_on_a_tiny_model_of_the_same_architecture(path: Path, model: Path, tmp_path: Path) -> None:
    changes = [] if path.stem == "zero_shot-3b" else ["steps=3", "curriculum.interval=1"]
    assert train_run(small(path, model, *changes), tmp_path / "run", quiet=True)
    run = Run.open(tmp_path / "run")
    assert run.status()["state"] == "finished"
    tests = [row for row in run.rows("evaluations") if row["split"] == "test" and row["family"] == "all"]
    assert [(row["arm"], row["episodes"]) for row in tests] == [("with", 2), ("without", 2)]
    if path.stem == "skill0-3b":
        active = [row["curriculum/active"] for row in run.rows("metrics") if "env_steps" in row]
        assert (active[0], active[-1]) == (6, 0)
    if changes:
        check_checkpoint(run.checkpoint_path(3), model)


@pytest.mark.parametrize("path", VISUAL, ids=lambda path: path.stem)
@pytest.mark.usefixtures("at_home")
def test_a_recipe_with_pictures_differs_in_them_alone_and_starts(path: Path, model: Path, tmp_path: Path) -> None:
    values, text = load_recipe(path).model_dump(), load_recipe(RECIPES[0].with_name("skill0-3b.yaml")).model_dump()
    assert values["context"]["history"] == "image" and values["reward"]["compression_bonus"] == 0.01
    same = set(values) - {"name", "method", "context", "reward"}
    assert {key: values[key] for key in same} == {key: text[key] for key in same}
    assert train_run(small(path, model, "steps=3", "curriculum.interval=1"), tmp_path / "run", quiet=True)
    run = Run.open(tmp_path / "run")
    assert run.status()["state"] == "finished"
    tests = [row for row in run.rows("evaluations") if row["split"] == "test" and row["family"] == "all"]
    assert all(row["text_tokens"] > 0 for row in tests)


@pytest.mark.parametrize("path", TINY, ids=lambda path: path.stem)
@pytest.mark.usefixtures("at_home")
def test_a_recipe_for_a_million_weights_starts_from_the_base_beside_it(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == recipe.method == path.stem
    assert (recipe.env.options["max_turns"], recipe.env.options["splits"]["test"]) == (50, "valid_seen")
    steps = ["steps=3"] if recipe.steps else []
    assert train_run(small(path, ROOT / recipe.model, *steps), tmp_path / "run", quiet=True)
    assert Run.open(tmp_path / "run").status()["state"] == "finished"


def check_checkpoint(checkpoint: Path, model: Path) -> None:
    """It is a Qwen2.5-VL as before: another decoder, the same vision encoder, and all the files that go with it."""
    after, told = AutoModelForImageTextToText.from_pretrained(checkpoint, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    before = AutoModelForImageTextToText.from_pretrained(model).state_dict()
    changed = {name for name, weight in after.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed and not any("visual" in name for name in changed)
    kept = "preprocessor_config.json"
    assert (checkpoint / kept).read_text() == (model / kept).read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("at_home")
def test_a_run_goes_on_from_a_checkpoint_whose_weights_have_other_names(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imprint.methods.weights.grpo import Grpo

    recipe = small(
        ROOT / "recipes" / "alfworld" / "grpo-3b.yaml", model, "steps=3", "learner.lr=0.01", "checkpoint_interval=1"
    )
    train_run(recipe, tmp_path / "whole", quiet=True)
    gather = Grpo.gather

    def stop(self: Any) -> Any:
        if self.updates == 2:
            raise KeyboardInterrupt
        return gather(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Grpo, "gather", stop)
        train_run(recipe, tmp_path / "parts", quiet=True)
    train_run(recipe, tmp_path / "parts", quiet=True)
    for record in ("metrics", "evaluations"):
        files = [(tmp_path / name / f"{record}.jsonl").read_bytes() for name in ("whole", "parts")]
        assert files[0] == files[1]


def test_text_is_scored_as_the_whole_model_scores_it(model: Path) -> None:
    policy = Policy.load(model, device="cpu")
    prompt, answer = tuple(policy.encode("Search the places one by one.")), tuple(policy.encode("Take it."))
    turn = Turn("", "", "", 0.0, True, 0, 0, len(answer))
    task = Task("t", "pick", "train")
    zeros = (0.0,) * len(answer)
    episode = Episode(task, 0, (), "", (turn,), False, StopReason.TURN_LIMIT, prompt, answer, zeros)
    found = score(policy, [episode_sample(episode, [1.0])]).logprobs_M
    logits = policy.model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits, dim=-1)[range(len(answer)), list(answer)]
    assert torch.allclose(found, expected, atol=1e-5)
    trained = {name for name, weight in policy.model.named_parameters() if weight.requires_grad}
    assert trained and not any("visual" in name for name in trained)


@pytest.mark.usefixtures("at_home")
def test_eval_over_seeds_is_a_table_by_family(model: Path, tmp_path: Path) -> None:
    recipe, file = ROOT / "recipes" / "alfworld" / "zero_shot-3b.yaml", tmp_path / "figures.json"
    quick = ["--set", "env.max_turns=1", "--set", "rollout.max_new_tokens=2", "--quiet", "--out", str(file)]
    options = ["eval", str(model), "--recipe", str(recipe), "--tasks", "6"]
    runner = CliRunner(env={"COLUMNS": "160"})
    result = runner.invoke(app, [*options, "--seeds", "0-2", *quick])
    assert result.exit_code == 0, result.output
    assert "pick heat then place in recep" in result.output and "0.0% [0, 56]" in result.output  # Wilson, 0 of 3
    assert "with - without: +0.0 points [+0.0, +0.0] (95%, 3 seeds)" in result.output
    figures = json.loads(file.read_text())
    rows = [row for row in figures["outcomes"] if row["family"] == "all"]
    assert [(row["seed"], row["arm"], row["episodes"]) for row in rows] == [
        (seed, arm, 6) for seed in range(3) for arm in ("with", "without")
    ]
    for wrong, word in (["0,0"], "twice"), (["0-1", "--seed", "3"], "--seed"), (["0-1", "--record"], "--record"):
        failed = runner.invoke(app, [*options, "--seeds", *wrong])
        assert failed.exit_code == 2 and word in failed.stderr
