"""Every recipe in the repository loads, and those of one comparison are comparable."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from imprint.envs.base import make_world
from imprint.methods.base import check_method, make_method
from imprint.pretrain.recipe import PretrainRecipe
from imprint.recipe import load_recipe, method_sections
from imprint.skills.library import load_library

RECIPES = Path(__file__).parents[1] / "recipes"
PRETRAIN = sorted((RECIPES / "pretrain").glob("*.yaml"))
ALFWORLD = sorted((RECIPES / "alfworld").rglob("*.yaml"))  # test_alfworld_recipes.py has games for them
PUBLISHED = sorted((RECIPES / "search" / "published").glob("*.yaml"))  # test_search_recipes.py has questions for them
RUNS = sorted(set(RECIPES.rglob("*.yaml")) - {*PRETRAIN, *ALFWORLD, *PUBLISHED})


@pytest.mark.parametrize("file", RUNS, ids=lambda file: str(file.relative_to(RECIPES)))
def test_a_recipe_of_a_run_loads_and_starts_with_what_fills_its_name(file):
    recipe = load_recipe(file)
    assert recipe.name == file.stem
    check_method(recipe)
    assert make_method(recipe)
    assert recipe.ignored == ()
    assert load_library(recipe.skills).names
    assert make_world(recipe.env.name, **recipe.env.options).tasks("train")


@pytest.mark.parametrize("file", PRETRAIN, ids=lambda file: file.stem)
def test_a_recipe_of_pre_training_loads_and_names_lessons_that_exist(file):
    recipe = PretrainRecipe(**yaml.safe_load(file.read_text(encoding="utf-8")))
    world = make_world(recipe.env.name, **recipe.env.options)
    assert set(recipe.lessons) <= set(world.lessons)
    assert 0 in recipe.lessons.values()


@pytest.mark.parametrize("folder", ["household", "household-vision"])
def test_the_recipes_of_the_comparison_differ_in_the_method_and_how_it_learns(folder):
    recipes = {file.stem: load_recipe(file).model_dump() for file in sorted((RECIPES / folder).glob("*.yaml"))}
    for name, recipe in recipes.items():
        for key in ("name", "method", "rollout", "reward", "advantage", "learner", *method_sections()[0]):
            recipe.pop(key, None)  # what may differ, by docs/protocol.md
        if name == "agentocr":
            assert recipe["context"] | {"history": "text"} == recipes["skill0"]["context"]
            recipe["context"] = recipes["skill0"]["context"]
        if not recipe["steps"]:  # no training
            recipe["steps"], recipe["env_steps"] = recipes["skill0"]["steps"], recipes["skill0"]["env_steps"]
    assert all(recipe == recipes["skill0"] for recipe in recipes.values())
