"""The world `library`: its interpreter, its package, its tasks and what a base policy is trained on."""

from __future__ import annotations

import json
import random
import re
import string
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imprint.envs.base import TeachableWorld, make_world
from imprint.envs.library.chains import Chain, Step, draw_chain
from imprint.envs.library.checking import hidden_inputs, solves
from imprint.envs.library.documentation import documentation
from imprint.envs.library.interpreter import DEEPEST, LONGEST, MOST_ITEMS, Function, ProgramError, read_program
from imprint.envs.library.lessons import LESSONS, familiar_functions
from imprint.envs.library.operations import LARGEST, OPERATIONS, SMALLEST
from imprint.envs.library.package import REAL, WELL_KNOWN
from imprint.envs.library.tasks import CATEGORIES, OTHER_WORDS, SINGLE, LibraryTask
from imprint.envs.library.world import LibraryWorld
from imprint.envs.library.written import read_written
from imprint.errors import GameError, ImprintError, RecipeError
from imprint.skills.library import load_library
from imprint.types import Task

LISTS = [(3, -1, 4, 1, -5, 9, 2, 6, 5, 3, 3), (-2, 7, 7, 8, -9, 0, 12, 1, 4, 4), (10, 9, -8, 7, 6, -5, 4, 3, 2, 1, 10)]
FUNCTIONS = {
    "back": Function(1, lambda items: tuple(reversed(items))),
    "total": Function(1, sum),
    "repeat": Function(2, lambda items, n: items * n),
}


@pytest.fixture(scope="module")
def world() -> LibraryWorld:
    return LibraryWorld()


def run(program: str, *items: int) -> object:
    return read_program(program, "pack")(FUNCTIONS, items)


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("return pack.back(x)", ((3, 2, 1), True)),
        ("x = pack.back(x); x = pack.repeat(x, 2); return pack.total(x);", (12, True)),
        ("return pack.total(pack.repeat(x, pack.total(x)))", (36, True)),
        ("y = [4, -5]; return pack.back(y)", ((-5, 4), True)),
        ("  return\tpack . back ( x ) ", ((3, 2, 1), True)),
        ("return x", ((1, 2, 3), False)),
        ("return [3, 2, 1]", ((3, 2, 1), False)),
        ("x = pack.back(x); return 6", (6, False)),
    ],
)
def test_a_program_returns_a_value_and_whether_it_came_from_the_package(program: str, value: object) -> None:
    assert run(program, 1, 2, 3) == value


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("", "a name is missing"),
        ("x = pack.back(x)", "';' is missing"),
        ("x = pack.back(x);", "a name is missing"),
        ("return pack.front(x)", "no function 'front'"),
        ("return back(x)", "nothing follows"),
        ("return y", "no value 'y'"),
        ("return pack", "'.' is missing"),
        ("return pack.back(x, 2)", "takes 1 values, not 2"),
        ("return pack.repeat(2, x)", "a list first"),
        ("return pack.repeat(x, x)", "a list first"),
        ("return pack.back(3)", "a list first"),
        ("return pack.repeat(x, 1001)", "beyond 1000"),
        ("x = pack.repeat(x, 900); return pack.repeat(x, 900)", "too large"),
        ("return x.__class__", "nothing follows"),
        ("return pack.__class__(x)", "no function '__class__'"),
        ("import os; return x", "'=' is missing"),
        ("return [x]", "numbers alone"),
        ("return x + 1", "not part of the language"),
        ("return pack.back(x) return x", "nothing follows"),
        ("return pack.back(x); x", "nothing follows"),
        ("return " + "pack.back(" * 40 + "x" + ")" * 40, "deep"),
        ("return pack.back(x)" + " " * LONGEST + "x", "at most"),
    ],
)
def test_what_is_no_program_is_refused(program: str, problem: str) -> None:
    with pytest.raises(ProgramError, match=re.escape(problem)):
        run(program, 1, 2, 3)


def test_calls_may_stand_within_calls_up_to_the_limit() -> None:
    nested = "return " + "pack.back(" * DEEPEST + "x" + ")" * DEEPEST
    assert run(nested, 1, 2) == ((1, 2) if DEEPEST % 2 == 0 else (2, 1), True)


PIECES = st.sampled_from(
    ["return", "x", "y", "=", ";", "pack", ".", "back", "repeat", "total", "(", ")", ",", "[", "]", "7"]
)


@given(st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=25).map(" ".join)))
@example("return pack.repeat(x, " + "9" * 500 + ")")
@example("return ٣")
def test_any_text_is_a_program_within_the_limits_or_refused(text: str) -> None:
    try:
        value, _ = read_program(text, "pack")(FUNCTIONS, (1, 2, 3))
    except ProgramError:
        return
    assert isinstance(value, int) or len(value) <= MOST_ITEMS


@given(st.integers(0, 10**6), st.integers(1, 3))
def test_the_program_of_a_chain_does_what_the_chain_does(seed: int, length: int) -> None:
    chain = draw_chain(random.Random(seed), length)
    program = read_program(chain.program(REAL), REAL.name)
    for items in hidden_inputs(chain, "any"):
        assert program(REAL.functions, items) == (chain(items), True)


def test_no_two_operations_do_the_same_or_are_asked_for_alike() -> None:
    for one, other in permutations(OPERATIONS.values(), 2):
        assert not set(one.asks) & set(other.asks), (one.key, other.key)
        for number in range(SMALLEST, LARGEST + 1):
            assert [one(items, number) for items in LISTS] != [other(items, number) for items in LISTS]


def test_every_operation_has_a_wording_that_training_leaves_out() -> None:
    assert all(len(one.asks) > 1 and len(one.says) > 1 for one in OPERATIONS.values())


def test_the_known_packages_share_no_name_with_the_real_one() -> None:
    for package in WELL_KNOWN:
        assert len({name[:2] for name in package.names.values()}) == len(OPERATIONS)  # no two begin alike
        assert not set(package.names.values()) & set(REAL.names.values())


def test_a_task_is_solved_by_its_program_and_by_no_other_function(world: LibraryWorld) -> None:
    for task in (*world.tasks("train"), *world.tasks("test")):
        asked = world.task(task)
        assert asked.solved_by(asked.reference.program(REAL))
        first, *more = asked.reference.steps
        if not more:
            others = [one for one in OPERATIONS.values() if one.key != first.operation.key]
            programs = [Chain((Step(one, first.number or SMALLEST, 0),)).program(REAL) for one in others]
            assert not any(_solves(asked, program) for program in programs)


def _solves(task: LibraryTask, program: str) -> bool:
    try:
        return task.solved_by(program)
    except ProgramError:
        return False


def test_the_splits_share_no_text_and_training_asks_for_one_function_in_known_words(world: LibraryWorld) -> None:
    texts = {split: {world.task(task).text for task in world.tasks(split)} for split in ("train", "validation", "test")}
    assert sum(map(len, texts.values())) == len(set.union(*texts.values())) == 480 + 120 + 300
    trained = {step.asked for task in world.tasks("train") for step in world.task(task).reference.steps}
    assert {task.category for task in world.tasks("train")} == {SINGLE}
    for split in ("validation", "test"):
        tasks = world.tasks(split)
        assert [task.category for task in tasks[:6]] == [*CATEGORIES] * 2
        for task in tasks:
            (first, *more) = world.task(task).reference.steps
            assert bool(more) == (task.category == CATEGORIES[2])
            if not more:
                assert (first.asked in trained) == (task.category == SINGLE)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_ids_are_unique_and_stable(world: LibraryWorld, split: str) -> None:
    tasks = world.tasks(split)
    assert len({task.id for task in tasks}) == len(tasks)
    assert LibraryWorld().tasks(split) == tasks
    other = LibraryWorld(seed=1)
    assert [world.task(one).text for one in tasks] != [other.task(one).text for one in other.tasks(split)]


def test_an_episode_is_one_program(world: LibraryWorld) -> None:
    task = next(task for task in world.tasks("test") if task.category == OTHER_WORDS)
    environment = world.environment()
    with pytest.raises(GameError, match="reset"):
        environment.step("return x")
    first = environment.reset(task, 0)
    assert first.observation == world.task(task).text and not first.done
    right = environment.step(world.task(task).reference.program(REAL))
    assert right.done and right.success and right.reward == 1 and right.valid
    environment.reset(task, 1)
    wrong = environment.step("return x")
    assert wrong.done and not wrong.success and wrong.reward == 0 and wrong.valid
    environment.reset(task, 2)
    unread = environment.step("take mug 1")
    assert unread.done and not unread.success and not unread.valid


def test_a_constant_that_is_right_for_every_input_does_not_count() -> None:
    chain = Chain((Step(OPERATIONS["first_n"], 2, 0), Step(OPERATIONS["length"], 0, 0)))  # always 2
    assert solves(chain.program(REAL), chain, REAL, "any")
    assert not solves("return 2", chain, REAL, "any")


def test_wrong_options_are_refused(world: LibraryWorld) -> None:
    with pytest.raises(RecipeError, match="only"):
        LibraryWorld(train=10_000).tasks("train")
    with pytest.raises(RecipeError, match="no split 'dev'"):
        world.tasks("dev")
    with pytest.raises(GameError, match="no task 'a'"):
        world.task(Task("a", SINGLE, "test"))


def test_the_packaged_skills_are_the_documentation_of_the_package() -> None:
    library = load_library("library", categories=CATEGORIES)
    written = {page.name: (page.description, page.body.strip()) for page in documentation(REAL)}
    assert {skill.name: (skill.description, skill.body.strip()) for skill in library.skills} == written
    assert all(skill.general for skill in library.skills)


def test_no_demonstration_names_a_function_of_the_real_package(world: LibraryWorld) -> None:
    real = set(REAL.names.values())
    seen: set[str] = set()
    for place, lesson in enumerate(LESSONS):
        for seed in range(60 * place, 60 * place + 60):
            demo = world.demonstration(seed, lesson=lesson)
            texts = [demo.first.observation, *(page.body for page in demo.pages)]
            texts += [text for action, result, _ in demo.turns for text in (action, result.observation)]
            words = set(re.findall(rf"[{string.ascii_lowercase}]+", " ".join(texts)))
            assert not words & real
            seen |= words
    assert {REAL.name, *(package.name for package in WELL_KNOWN)} <= seen


def test_demonstrations_solve_their_tasks_with_what_the_pages_say(world: LibraryWorld) -> None:
    for lesson in LESSONS:
        for seed in range(40):
            demo = world.demonstration(seed, lesson=lesson)
            assert demo == world.demonstration(seed, lesson=lesson)
            text = "\n".join(page.body for page in demo.pages)
            for action, _, weight in demo.turns:
                called = re.findall(r"\.([a-z]+)\(", action)
                assert called and weight == 1
                assert not demo.pages or all(f".{name}(" in text for name in called)


@pytest.mark.parametrize(
    ("action", "usable"),
    [
        ("turn the list around => return {reverse}(x)", True),
        ("nonsense   in words =>x = {double}(x); return {sum}(x)", True),
        (" => return {reverse}(x)", False),  # nothing is asked for
        ("turn the list around", False),
        ("turn the list around => return x", False),  # without the package
        ("count two => x = {first_n}(x, 2); return {length}(x)", False),  # always 2
        ("keep nothing => return {above}(x, 900)", False),
        ("find it => return {at}(x, 200)", False),  # defined nowhere
        ("turn the list around => return other.reverse(x)", False),
    ],
)
def test_what_a_policy_writes_is_a_task_if_its_program_can_be_one(
    world: LibraryWorld, action: str, usable: bool
) -> None:
    text = action.format(**{key: f"{REAL.name}.{name}" for key, name in REAL.names.items()})
    assert (read_written(text, REAL) is not None) is usable
    writing = LibraryWorld(asks="tasks", train=3).environment()
    task = LibraryWorld(asks="tasks", train=3).tasks("train")[2]
    assert writing.reset(task, 0).observation == f"Package {REAL.name}. Write a task and a program that does it."
    assert writing.step(text).success is usable


def test_the_tasks_that_a_policy_wrote_are_those_to_train_on(tmp_path: Path) -> None:
    reverse, double = (f"{REAL.name}.{REAL.names[key]}" for key in ("reverse", "double"))
    actions = [
        f"turn it => return {reverse}(x)",
        "no task",
        f"turn it => return {reverse}(x)",
        f"two => return {double}(x)",
    ]
    file = tmp_path / "episodes.jsonl"
    file.write_text("".join(json.dumps({"turns": [{"action": action}]}) + "\n" for action in actions))
    world = LibraryWorld(written=file)
    tasks = world.tasks("train")
    assert [world.task(task).text for task in tasks] == [
        f"Package {REAL.name}. Task: {asked}." for asked in ("turn it", "two")
    ]
    assert world.task(tasks[0]).solved_by(f"return {reverse}(x)")
    assert not world.task(tasks[0]).solved_by(f"return {double}(x)")
    assert world.tasks("test") == LibraryWorld().tasks("test")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"turns": [{"action": "no task"}]}\n', "none of its 1 episodes wrote a task"),
        ('{"text": "x"}\n', "is no file of episodes"),
        ("[1]\n", "episodes.jsonl"),
        (None, "episodes.jsonl"),
    ],
)
def test_a_file_without_written_tasks_is_told_of(tmp_path: Path, text: str | None, problem: str) -> None:
    file = tmp_path / "episodes.jsonl"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ImprintError, match=problem) as raised:
        LibraryWorld(written=file).tasks("train")
    assert raised.value.key == "env.written"


@pytest.mark.parametrize("known", [0.0, 0.25, 0.5])
def test_what_is_known_before_training_is_that_share_of_the_package(known: float) -> None:
    world, plain = LibraryWorld(known=known), LibraryWorld()
    real, called, recalled = set(REAL.names.values()), set[str](), 0
    for seed in range(300):
        demo = world.demonstration(seed, lesson="pages")
        names = {name for action, _, _ in demo.turns for name in re.findall(r"\.([a-z]+)\(", action)} & real
        assert not (names and demo.pages)
        called |= names
        recalled += bool(names)
        assert known or demo == plain.demonstration(seed, lesson="pages")
    assert called == {REAL.names[one.key] for one in familiar_functions(known)}
    assert len(called) == known * len(real) and (recalled > 20) == bool(known)
    assert set(familiar_functions(0.25)) <= set(familiar_functions(0.5))


def test_the_world_is_registered_and_teachable() -> None:
    assert isinstance(make_world("library", test=12), TeachableWorld)
