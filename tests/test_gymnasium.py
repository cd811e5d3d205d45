"""Gymnasium in both directions: practising on its environments, and our worlds as its environments."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny import DoorWorld, saved_policy

gymnasium = pytest.importorskip("gymnasium", reason="needs imprint[gymnasium]")

from imprint.envs.adapters.gymnasium import GymnasiumWorld  # noqa: E402
from imprint.envs.base import SPLITS, FingerprintedWorld, World, make_world  # noqa: E402
from imprint.envs.checked import CheckedEnvironment  # noqa: E402
from imprint.envs.gymnasium_env import as_gymnasium  # noqa: E402
from imprint.envs.stepping import settled  # noqa: E402
from imprint.errors import GameError, RecipeError  # noqa: E402
from imprint.jobs.train import train_run  # noqa: E402
from imprint.recipe import parse_recipe  # noqa: E402
from imprint.runs.run import Run  # noqa: E402
from imprint.skills.skill import Skill  # noqa: E402
from imprint.types import StepResult  # noqa: E402

NUMBERS = {"arguments": {"form": "number"}, "actions": ["open red", "open blue", "wait"]}
SAID = ["open the red door", "open the blue door", "look", "é"]
ROUND = "imprint.envs.gymnasium_env:imprint/World-v0"


def doors(**options: Any) -> GymnasiumWorld:
    world = make_world("gymnasium", id="gym_door:Doors-v0", train=6, validation=4, test=4, **options)
    assert isinstance(world, GymnasiumWorld)
    return world


def play(world: World, number: int, *actions: str, split: str = "train") -> list[StepResult]:
    environment, task = CheckedEnvironment(world), world.tasks(split)[number]
    return [settled(environment.reset(task, 0)), *(settled(environment.step(action)) for action in actions)]


# Practising on an environment


def test_tasks_are_seeds_and_the_splits_share_none() -> None:
    world = doors()
    assert isinstance(world, FingerprintedWorld)
    assert world.categories == ("Doors",) and world.max_turns == 4
    seeds = [task.source for split in SPLITS for task in world.tasks(split)]
    assert len(set(seeds)) == len(seeds) == 14
    assert not set(seeds) & {task.source for split in SPLITS for task in doors(seed=1).tasks(split)}
    assert len({world.fingerprint(task) for task in world.tasks("train")}) == 6


@pytest.mark.parametrize("options", [{}, {"arguments": {"form": "mapping"}, "observation": "text"}, NUMBERS])
def test_success_is_the_value_of_the_environment_at_the_end(options: dict[str, Any]) -> None:
    world = doors(categories=["red", "blue"], **options)
    for number, task in enumerate(world.tasks("train")):
        right, wrong = task.category, {"red": "blue", "blue": "red"}[task.category]
        first, waited, opened = play(world, number, "wait", f"open {right}")
        assert first.observation == f"Open the {right} door." and not waited.done and waited.valid
        assert opened.terminated and opened.success and opened.reward == 1
        failed = play(world, number, f"open {wrong}")[-1]
        assert failed.terminated and not failed.success
    assert {task.category for task in world.tasks("train")} == {"red", "blue"}


def test_what_is_no_action_spends_a_turn_and_never_reaches_the_environment() -> None:
    world = doors(max_turns=3)
    results = play(world, 0, "Öffne!", "x" * 300, "wait")
    assert [result.valid for result in results] == [True, False, False, True]
    assert [result.truncated for result in results] == [False, False, False, True]
    assert not results[-1].success
    assert play(world, 0, "Ö", "Ö", "Ö")[-1].truncated


def test_discrete_actions_have_names_and_a_mask() -> None:
    world = doors(**NUMBERS)
    first, unknown = play(world, 0, "5")
    assert first.admissible == ("open red", "open blue") and not unknown.valid


@pytest.mark.parametrize("kind", [list, np.array])
def test_possible_commands_and_masks_may_be_arrays(kind: Any) -> None:
    commands = GymnasiumWorld(
        id="gym_door:Odd-v0", arguments={"reset": ("Act.", {"admissible_commands": kind(["go", "wait"])})}
    )
    assert play(commands, 0)[0].admissible == ("go", "wait")
    codec = doors(**NUMBERS).codec
    assert codec.admissible({"action_mask": kind([0, 1, 0])}) == ("open blue",)
    with pytest.raises(GameError, match=r"action_mask'\]: is \[1, 1\] \(list\), for 3 actions"):
        codec.admissible({"action_mask": kind([1, 1])})
    with pytest.raises(GameError, match=r"is 5 \(int\), for 3 actions"):
        codec.admissible({"action_mask": 5})


def test_the_environments_own_limit_is_truncation() -> None:
    results = play(doors(max_turns=9), 0, *["wait"] * 4)
    assert results[-1].truncated and not results[-1].terminated and not results[-2].done


def test_a_threshold_decides_where_info_has_no_success() -> None:
    silent = {"says": "nothing"}
    with pytest.raises(GameError, match=r"no 'success' at the end.*\n.*env.threshold"):
        play(doors(arguments=silent), 0, "open red")
    world = doors(arguments=silent, threshold=1.0, categories=["red", "blue"])
    assert play(world, 0, f"open {world.tasks('train')[0].category}")[-1].success


def test_an_environment_that_fails_is_told_with_its_action() -> None:
    with pytest.raises(
        GameError, match=r"fails at the action 'fail' of the task 'train/0': KeyError: 'a hole'"
    ) as caught:
        play(doors(), 0, "fail")
    assert caught.value.where == str(Path(__file__).with_name("gym_door.py")) and caught.value.line


def odd(**answers: Any) -> GymnasiumWorld:
    return GymnasiumWorld(id="gym_door:Odd-v0", arguments=answers, train=2)


def test_an_action_reaches_it_as_it_was_said() -> None:
    said = "Open  the Door,\nplease!"
    assert play(odd(), 0, said)[1].observation == said


def over(success: Any = True, reward: Any = 1.0, terminated: Any = True, truncated: Any = False, **info: Any) -> Any:
    return "Done.", reward, terminated, truncated, {"success": success, **info}


@pytest.mark.parametrize("success", ["false", None, 0.5, [True], np.array([True, True])])
def test_a_success_that_is_neither_true_nor_false_is_an_error(success: Any) -> None:
    with pytest.raises(GameError, match=r"'success' at the end of an episode is .*, and neither") as caught:
        play(odd(step=over(success)), 0, "go")
    assert caught.value.key == "env.success"


@pytest.mark.parametrize(("success", "expected"), [(np.True_, True), (0, False), (np.array(1.0), True)])
def test_a_success_may_be_a_scalar(success: Any, expected: bool) -> None:
    assert play(odd(step=over(success)), 0, "go")[1].success is expected


@pytest.mark.parametrize("field", ["reward", "terminated", "truncated"])
@pytest.mark.parametrize("value", [None, "no", np.array([0.0, 0.0]), float("nan")])
def test_what_it_answers_is_checked(field: str, value: Any) -> None:
    with pytest.raises(GameError, match=rf"at the action 'go' of the task 'train/1': {field}: is "):
        play(odd(step=over(**{field: value})), 1, "go")


@pytest.mark.parametrize(
    "answers",
    [
        {"reset": "ab"},  # the observation alone, as in old versions: two letters are no pair
        {"reset": ("Act.", None)},
        {"reset": ("Act.", {}, 1)},
        {"step": ("Done.", 1.0, True, {})},  # one end, as in old versions
        {"step": ("Done.", 1.0, True, False, [])},
        {"step": StepResult("Done.")},
    ],
)
def test_answers_that_are_not_gymnasiums_are_told(answers: dict[str, Any]) -> None:
    with pytest.raises(GameError, match=r"gives .* and not .observation|not enough values|cannot unpack"):
        play(odd(**answers), 0, "go")


def test_a_reset_that_raises_is_told() -> None:
    with pytest.raises(GameError, match="fails at the reset with the seed 0: OSError: no display"):
        play(odd(reset=OSError("no display")), 0)
    with pytest.raises(GameError, match="fails at the reset with the seed 0: OSError"):
        GymnasiumWorld(
            id="gym_door:Odd-v0", arguments={"reset": OSError("no display")}, categories=["a", "b"], train=2
        ).tasks("train")


def test_a_vector_of_environments_is_refused() -> None:
    with pytest.raises(RecipeError, match="cannot make 'gym_door:Many-v0'"):
        GymnasiumWorld(id="gym_door:Many-v0")


@pytest.mark.parametrize(
    ("options", "key", "problem"),
    [
        ({"id": "CartPole-v1"}, "env.id", "no text"),
        ({"id": "Nowhere-v0"}, "env.id", "cannot make"),
        ({"id": "no_such_package:Nowhere-v0"}, "env.id", "cannot make"),
        ({"arguments": {"colour": 1}}, "env.id", "cannot make"),
        ({"arguments": {"form": "mapping"}}, "env.observation", "mappings"),
        ({"arguments": {"form": "mapping"}, "observation": "turn"}, "env.observation", "without a text 'turn'"),
        ({"observation": "text"}, "env.observation", "no mappings"),
        ({"actions": ["a"]}, "env.actions", "no names"),
        ({"arguments": {"form": "number"}}, "env.actions", "3 actions that need names"),
        ({"arguments": {"form": "number"}, "actions": ["a", "a", "b"]}, "env.actions", "2 different"),
        ({"categories": ["red", "red"]}, "env.categories", "twice"),
        ({"train": 2_000_000}, "env.train", "at most"),
        ({"trian": 2}, "env.trian", "no option"),
    ],
)
def test_what_does_not_fit_is_told_with_its_key(options: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(RecipeError, match=problem) as caught:
        make_world("gymnasium", **{"id": "gym_door:Doors-v0", **options})
    assert caught.value.key == key and caught.value.hint


def test_categories_that_the_environment_does_not_keep_to_are_told() -> None:
    with pytest.raises(RecipeError, match="gives the seed 0 the category"):
        doors(categories=["green", "yellow"]).tasks("train")


def test_a_world_that_needs_an_option_names_it() -> None:
    with pytest.raises(RecipeError, match="needs the option 'id'"):
        make_world("gymnasium")


def test_a_recipe_trains_on_it(tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        page = Skill(f"doors-{colour}", f"{colour} doors.", f"open {colour}", metadata={"tasks": colour})
        page.write(tmp_path / "skills")
    recipe = {
        "name": "doors",
        "method": "imprint",
        "model": str(saved_policy(tmp_path / "model")),
        "skills": str(tmp_path / "skills"),
        "steps": 2,
        "threads": 1,
        "env": {
            "name": "gymnasium",
            "id": "gym_door:Doors-v0",
            "categories": ["red", "blue"],
            "train": 4,
            "validation": 4,
            "test": 4,
        },
        "rollout": {"tasks": 2, "group": 2, "max_new_tokens": 6},
        "curriculum": {"stages": 2, "interval": 1},
        "evaluation": {"interval": 1, "tasks": 4, "test_tasks": 4},
    }
    assert train_run(parse_recipe(recipe), tmp_path / "run", quiet=True)
    assert Run.open(tmp_path / "run").status()["state"] == "finished"


# Our worlds as environments


@pytest.mark.parametrize("world", [DoorWorld(), "household"], ids=["doors", "household"])
def test_gymnasiums_own_check_passes(world: Any) -> None:
    from gymnasium.utils.env_checker import check_env

    env = as_gymnasium(world, render_mode="ansi")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would like a spec, to make further ones from
        check_env(env)


def test_gymnasium_makes_an_installed_world_by_name() -> None:
    env = gymnasium.make(ROUND, world="household", split="validation", max_turns=2, validation=6, render_mode="ansi")
    observation, info = env.reset(seed=3)
    again, same = env.reset(seed=3)
    assert observation == again == env.render() and info == same
    assert info["category"] in make_world("household").categories and "look" in info["admissible_commands"]
    *_, terminated, truncated, info = env.step("look")
    assert not (terminated or truncated) and info["valid"]
    *_, truncated, info = env.step("Öffne dich!")
    assert truncated and not info["valid"] and not info["success"]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("look")


def test_a_task_can_be_chosen() -> None:
    env = as_gymnasium(DoorWorld())
    assert env.reset(options={"task": "train/3"})[1]["category"] == "blue"
    *_, reward, terminated, _, info = env.step("open the blue door")
    assert terminated and reward == 1 and info["success"]
    with pytest.raises(RecipeError, match="no task of this split"):
        env.reset(options={"task": "train/99"})


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(["open the red door", "open the blue door", "look", "é"]), max_size=5), st.integers(0, 7)
)
def test_there_and_back_a_world_answers_the_same(actions: list[str], number: int) -> None:
    straight, around = DoorWorld(), _around()
    task = straight.tasks("train")[number]
    seed = next(t for t in around.tasks("train") if _id_of(around, t.source) == task.id)
    one, other = straight.environment(), around.environment()
    assert one.reset(task, 0).observation == other.reset(seed, 0).observation
    for action in actions:
        expected, found = one.step(action), other.step(action)
        assert found == expected
        if expected.done:
            break


def _around() -> GymnasiumWorld:
    return GymnasiumWorld(id="gym_door:ImprintDoors-v0", categories=["red", "blue"], max_turns=4, train=200)


def _id_of(world: GymnasiumWorld, seed: str) -> str:
    env = world.make()
    return str(env.reset(seed=int(seed))[1]["task"])
