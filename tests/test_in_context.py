"""Skills used in context without training: exemplars and where they come from, second attempts and what decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import LIBRARY, Bench
from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.envs.base import TeachingWorld
from imprint.envs.household.engine import GameEngine
from imprint.envs.household.exemplar import work_out
from imprint.envs.household.world import HouseholdWorld
from imprint.errors import PolicyError, RecipeError
from imprint.measurement.conditions import WITH, WITHOUT
from imprint.methods.base import check_method
from imprint.methods.in_context.adaptmi import (
    AdaptSettings,
    SecondAttempt,
    both_attempts,
    is_difficult,
    missing_skills,
    needs_of,
)
from imprint.methods.in_context.exemplars import draw_exemplars, with_skills
from imprint.methods.in_context.scorers import confidence, make_scorer, oracle, validity
from imprint.recipe import parse_recipe
from imprint.skills.library import load_library
from imprint.types import Episode, Exemplar, StopReason, Task, Turn, WorkedStep
from tiny import DoorWorld, tiny_policy

HEAT, PICK, TWO = "pick_heat_then_place_in_recep", "pick_and_place_simple", "pick_two_obj_and_place"


class TeachingDoors(DoorWorld):
    """The doors, with a solution of every training task but the first."""

    def exemplar(self, task: Task) -> Exemplar | None:
        if task.id == "train/0":
            return None
        steps = (
            WorkedStep("look", "Nothing happens.", "*"),
            WorkedStep(f"open the {task.source} door", "It opens.", task.category),
        )
        return Exemplar(task, f"A {task.source} task, {task.id}.", steps)


@pytest.fixture(scope="module")
def household() -> HouseholdWorld:
    return HouseholdWorld(train=60, max_turns=24)


# --- exemplars ---


def test_the_household_solves_every_family_as_the_text_shows_it(household):
    assert isinstance(household, TeachingWorld)
    for task in household.tasks("train")[:24]:
        exemplar = household.exemplar(task)
        environment = household.environment()
        assert environment.reset(task, 0).observation == exemplar.first_observation
        results = [environment.step(step.command) for step in exemplar.steps]
        assert [result.observation for result in results] == [step.observation for step in exemplar.steps]
        assert results[-1].success and all(result.valid for result in results)


def test_a_step_serves_the_category_from_the_object_in_hand_on(household):
    task = next(task for task in household.tasks("train") if task.category == HEAT)
    exemplar = with_skills(household.exemplar(task), load_library("household"))
    (taken,) = [n for n, step in enumerate(exemplar.steps) if step.command.startswith("take ")]
    assert {(step.serves, step.skill) for step in exemplar.steps[:taken]} <= {("*", "household-general")}
    assert {(step.serves, step.skill) for step in exemplar.steps[taken:]} == {(HEAT, "household-heat")}
    assert any(step.command.startswith("heat ") for step in exemplar.steps[taken:])


def test_a_game_of_another_grammar_is_solved_in_its_own_words(household):
    task = next(task for task in household.tasks("train") if task.category == PICK)
    game = replace(household.game(task), put_verb="put")
    exemplar = work_out(task, game, 24)
    assert exemplar is not None and exemplar.steps[-1].command.startswith("put ")
    assert " in/on " in exemplar.steps[-1].command
    engine = GameEngine(game, max_turns=24)
    engine.reset()
    assert [engine.step(step.command).success for step in exemplar.steps][-1]


def test_a_game_that_takes_too_many_turns_is_no_exemplar(household):
    task = household.tasks("train")[0]
    assert work_out(task, household.game(task), 2) is None


def test_exemplars_are_solved_tasks_of_the_family_drawn_by_the_seed():
    world = TeachingDoors()
    tasks = world.tasks("train")
    drawn = {seed: draw_exemplars(world, LIBRARY, tasks, "red", 2, seed) for seed in range(8)}
    assert all(len(found) == 2 and {e.task.category for e in found} == {"red"} for found in drawn.values())
    assert all(e.task.id != "train/0" for found in drawn.values() for e in found)
    assert len({tuple(e.task.id for e in found) for found in drawn.values()}) > 1
    assert drawn[0] == draw_exemplars(world, LIBRARY, tasks, "red", 2, 0)
    assert [step.skill for step in drawn[0][0].steps] == ["general", "red"]


def test_a_world_without_solutions_or_with_too_few_is_named():
    with pytest.raises(RecipeError, match=r"env\.name.*'doors' does not show"):
        draw_exemplars(DoorWorld(), LIBRARY, DoorWorld().tasks("train"), "red", 2, 0)
    world = TeachingDoors()
    with pytest.raises(RecipeError, match=r"of 4 training tasks of 'red' 3 are solved: too few for 4"):
        draw_exemplars(world, LIBRARY, world.tasks("train"), "red", 4, 0)
    assert len(draw_exemplars(world, LIBRARY, world.tasks("train"), "red", 4, 0, least=1)) == 3


@pytest.mark.parametrize("style", ["plain", "chat"])
def test_exemplars_stand_between_the_skills_and_the_task_and_are_shared(style):
    policy = tiny_policy()
    if style == "chat":
        policy.tokenizer.chat_template = (
            "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}<assistant>"
        )
    context = Context(policy, ContextConfig(style=style))
    world = TeachingDoors()
    exemplars = draw_exemplars(world, LIBRARY, world.tasks("train"), "red", 2, 0)
    first = world.environment().reset(world.tasks("test")[0], 0)
    prompt = context.start((LIBRARY["red"],), first, exemplars)
    shared, rest = (policy.decode(list(ids)) for ids in (prompt.ids[: prompt.shared], prompt.ids[prompt.shared :]))
    places = [shared.index(e.first_observation) for e in exemplars]
    assert 0 <= shared.index("open the red door") < places[0] < places[1]
    assert first.observation in rest and first.observation not in shared
    said = "<action>open the red door</action>" if style == "chat" else "(red)\n> open the red door"
    assert shared.count(said) == 2
    bare = context.start((LIBRARY["red"],), first)
    assert prompt.ids[prompt.shared :] == bare.ids[bare.shared :]


def test_what_an_exemplar_says_is_never_a_special_token():
    policy = tiny_policy()
    forged = Exemplar(Task("t", "red", "train"), "</s>", (WorkedStep("</s>", "</s>", "*", "</s>"),))
    context = Context(policy, ContextConfig(style="plain"))
    world = TeachingDoors()
    prompt = context.start((), world.environment().reset(world.tasks("test")[0], 0), (forged,))
    assert policy.tokenizer.eos_token_id not in prompt.ids[1:]


# --- runs in a toy world ---

FEW = {"steps": 0, "evaluation": {"tasks": 4, "test_tasks": 6}, "rollout": {"max_new_tokens": 4}}


def start(method, folder, world=None, policy=None, **changes):
    return Bench(folder / "run", {"method": method, **FEW, **changes}, world=world or TeachingDoors(), policy=policy)


def test_skic_reads_exemplars_of_the_family_in_one_condition_and_nothing_in_the_other(tmp_path):
    bench = start("skic", tmp_path)
    agent = bench.go()
    shown, without = bench.asked[:6], bench.asked[6:]
    assert [request.task for request in shown] == [request.task for request in without]
    assert [request.task for request in shown] == list(bench.world.tasks("test"))[:6]
    assert [request.seed for request in shown] == [request.seed for request in without]
    for request in shown:
        category = request.task.category
        assert [skill.name for skill in request.skills] == ["general", category]
        assert [(e.task.category, e.task.split) for e in request.exemplars] == [(category, "train")] * 2
    assert not any(request.skills or request.exemplars for request in without)
    rows = [row for row in bench.rows("evaluations") if row["family"] == "all"]
    assert [(row["arm"], row["episodes"]) for row in rows] == [("exemplars", 6), ("without", 6)]
    assert rows[0]["context_tokens"] > rows[1]["context_tokens"] + 50
    assert bench.rows("metrics")[-1]["skic/context_limit"] == 0.0
    assert agent.shown.show(shown[0].task, LIBRARY) == shown[0].shown  # the condition is data, and comes back


def test_a_context_that_exemplars_fill_is_reported(tmp_path):
    policy = tiny_policy(max_context=300)
    bench = start("skic", tmp_path, policy=policy)
    tasks = bench.world.tasks("train")
    drawn = draw_exemplars(bench.world, LIBRARY, tasks, "red", 2, 0)
    length = len(bench.context.start(LIBRARY.serving("red"), STEP, drawn).ids)
    policy.model.config.max_position_embeddings = length + 45  # room for a turn or two
    bench.go()
    assert bench.rows("metrics")[-1]["skic/context_limit"] > 0
    assert any("the context was full" in note for note in bench.notes)


STEP = DoorWorld().environment().reset(Task("t", "red", "test", "red"), 0)


def test_exemplars_that_do_not_fit_are_an_error_that_names_them(tmp_path):
    bench = start("skic", tmp_path, policy=tiny_policy(max_context=128))
    with pytest.raises(PolicyError, match=r"2 skills and 2 exemplars begins with[\s\S]*or fewer exemplars"):
        bench.go()


# --- scores ---


def episode(success=False, actions=("look",), valid=None, logprobs=None, category="red", number=0):
    valid = [True] * len(actions) if valid is None else valid
    logprobs = [-0.1] * len(actions) if logprobs is None else logprobs
    turns = tuple(
        Turn(action, action, "...", 0.0, ok, 10 + place, place, place + 1)
        for place, (action, ok) in enumerate(zip(actions, valid, strict=True))
    )
    stop = StopReason.SUCCESS if success else StopReason.TURN_LIMIT
    task = Task(f"test/{number}", category, "test", category)
    ids = tuple(range(len(actions)))
    return Episode(task, 1, (), "...", turns, success, stop, (1,), ids, tuple(logprobs))


def test_confidence_is_the_mean_logprob_of_a_turns_own_tokens():
    said = Turn("a", "a", "o", 0.0, True, 5, 0, 2)
    more = Turn("b", "b", "o", 0.0, True, 9, 4, 5)  # two tokens of the world between
    wrong = Turn("c", "c", "Nothing happens.", 0.0, False, 12, 5, 6)
    one = replace(episode(), turns=(said, more, wrong), logprobs=(-0.2, -0.4, 0.0, 0.0, -2.0, -0.0))
    assert confidence(one) == pytest.approx([2.718281828**-0.3, 2.718281828**-2.0, 0.0])
    with pytest.raises(RecipeError, match=r"adaptmi\.scorer.*log-probs of a served model"):
        confidence(replace(one, logprobs=()))


def test_validity_and_the_oracle_score_every_turn():
    one = episode(actions=("look", "jump"), valid=[True, False])
    assert validity(one) == [1.0, 0.0]
    assert oracle(one) == [0.0, 0.0]
    assert oracle(replace(one, success=True)) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("scores", "difficult"),
    [
        ([0.9, 0.9, 0.9], False),
        ([0.9, 0.9, 0.85], True),  # the last is at t1
        ([0.9, 0.71, 0.9], True),  # the mean is below t1
        ([1.0, 1.0, 0.71, 1.0, 1.0], False),  # low, and above t2
        ([1.0, 1.0, 0.7, 1.0, 1.0], True),  # one is at t2
        ([], True),
    ],
)
def test_the_published_rule(scores, difficult):
    assert is_difficult(scores, AdaptSettings()) is difficult


@given(st.lists(st.floats(0, 1), max_size=6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_never_makes_a_task_easier(scores, a, b, c, d):
    low = AdaptSettings(t1=min(a, b), t2=min(c, d))
    high = AdaptSettings(t1=max(a, b), t2=max(c, d))
    assert is_difficult(scores, high) or not is_difficult(scores, low)


def test_scorers_are_found_by_name():
    assert make_scorer("confidence") is confidence and make_scorer("oracle") is oracle
    with pytest.raises(RecipeError, match=r"adaptmi\.scorer.*no scorer is called 'prm'"):
        make_scorer("prm")


# --- what a first attempt lacks ---


def exemplar(*steps):
    return Exemplar(Task("train/1", "red", "train"), "...", tuple(WorkedStep(c, "...", serves) for c, serves in steps))


NEEDS = needs_of(
    [
        exemplar(
            ("go a", "*"), ("open b", "*"), ("take x", "red"), ("go c", "red"), ("heat x", "red"), ("put x", "red")
        ),
        exemplar(("go a", "*"), ("take x", "red"), ("heat x", "red"), ("heat x", "red"), ("put x", "red")),
    ]
)


def test_skills_need_what_all_exemplars_have_in_common():
    assert {serves: dict(need) for serves, need in NEEDS.items()} == {
        "*": {"go": 1},
        "red": {"take": 1, "heat": 1, "put": 1},
    }


@pytest.mark.parametrize(
    ("actions", "valid", "missing"),
    [
        (("go a", "take x", "heat x", "put x"), None, ()),
        (("go a", "take x", "put x"), None, ("red",)),
        (("go a", "take x", "heat x", "put x"), [True, True, False, True], ("red",)),  # it did not work
        (("take x", "heat x", "put x"), None, ("general",)),
        (("look",), None, ("general", "red")),
        ((), None, ("general", "red")),
    ],
)
def test_a_skill_is_missing_where_a_command_that_it_needs_is(actions, valid, missing):
    assert missing_skills(LIBRARY.serving("red"), episode(actions=actions, valid=valid), NEEDS) == missing


def test_two_things_need_two_of_each(household):
    drawn = draw_exemplars(household, load_library("household"), household.tasks("train"), TWO, 6, 0)
    need = needs_of(drawn)[TWO]
    assert (need["take"], need["move"]) == (2, 2)


# --- second attempts ---


class FakeEvaluator:
    """Second attempts that succeed, and what was asked for."""

    def __init__(self):
        self.asked = []

    def play(self, wanted, progress=None):
        self.asked += [(task, shown.names) for task, shown in wanted]
        return [replace(episode(True, ("a", "b")), task=task, skills=shown.names) for task, shown in wanted]


def second_attempt(settings, world=None):
    world = world or TeachingDoors()
    return SecondAttempt(settings, world, LIBRARY, world.tasks("train"), 0)


def test_an_easy_task_stands_and_a_difficult_one_is_tried_again_with_skills():
    decider = second_attempt(AdaptSettings())
    sure, unsure = episode(number=0), episode(logprobs=[-3.0], number=1)
    evaluator = FakeEvaluator()
    kept, again = decider.attempt(evaluator, [sure, unsure])
    assert evaluator.asked == [(unsure.task, ("general", "red"))]
    assert kept is sure
    assert again.success and [turn.action for turn in again.turns] == ["look", "a", "b"]
    assert again == both_attempts(
        unsure, replace(episode(True, ("a", "b")), task=unsure.task, skills=("general", "red"))
    )


def test_adaptmi_plus_shows_what_is_missing_and_nothing_if_nothing_is():
    decider = second_attempt(AdaptSettings(scorer="oracle", show="missing"))
    attempts = (("look",), ("open it",), ("look", "open it"), ())
    shown = [decider.to_read(episode(actions=actions)) for actions in attempts]
    assert shown == [("red",), ("general",), (), ("general", "red")]
    assert decider.to_read(episode(True)) == ()
    with pytest.raises(RecipeError, match="does not show how"):
        second_attempt(AdaptSettings(show="missing"), DoorWorld())


@pytest.mark.parametrize("section", ["adaptmi", "gate"])  # `gate` is its old name
def test_confidence_of_a_served_model_is_refused_before_anything_is_asked(section):
    served = {"name": "t", "method": "adaptmi", "endpoint": {"base_url": "http://localhost:1/v1"}}
    with pytest.raises(RecipeError, match="needs log-probs here, and those of a served model are not known"):
        check_method(parse_recipe(served))
    recipe = parse_recipe({**served, section: {"scorer": "validity"}})
    assert recipe.section("adaptmi", AdaptSettings).scorer == "validity"
    check_method(recipe)
    assert recipe.notes == (["the section `gate` is now called `adaptmi`"] if section == "gate" else [])


def test_a_section_under_both_its_names_is_an_error():
    with pytest.raises(RecipeError, match=r"gate.*is the old name of 'adaptmi'"):
        parse_recipe({"name": "t", "method": "adaptmi", "gate": {}, "adaptmi": {}})


def test_by_the_oracle_a_task_is_solved_if_either_attempt_solves_it(tmp_path):
    bench = start("adaptmi", tmp_path, adaptmi={"scorer": "oracle"})
    bench.go()
    trials = {(row["condition"], row["task"]): row for row in bench.rows("trials")}
    tasks = bench.world.tasks("test")[:6]
    played = bench.evaluator.conditions(tasks, (WITH, WITHOUT))
    for task, second, first in zip(tasks, played["with"], played["without"], strict=True):
        alone, both = trials["without", task.id], trials["adaptive", task.id]
        assert alone["success"] == first.success
        assert both["success"] == (first.success or second.success)
        assert both["turns"] == len(first.turns) + (0 if first.success else len(second.turns))
    failed = sum(not episode.success for episode in played["without"])
    assert bench.rows("metrics")[-1]["adaptmi/second_attempts"] == failed / 6


def test_adaptmi_pays_for_both_attempts(tmp_path):
    bench = start("adaptmi", tmp_path, adaptmi={"t1": 1.0})  # all are difficult
    bench.go()
    without, adaptive = (
        next(row for row in bench.rows("evaluations") if (row["arm"], row["family"]) == (name, "all"))
        for name in ("without", "adaptive")
    )
    played = bench.evaluator.conditions(bench.world.tasks("test")[:6], (WITH, WITHOUT))
    read = {name: sum(turn.context_tokens for e in found for turn in e.turns) for name, found in played.items()}
    assert without["context_tokens"] * without["turns"] * 6 == pytest.approx(read["without"])
    assert adaptive["context_tokens"] * adaptive["turns"] * 6 == pytest.approx(sum(read.values()))
    assert bench.run.status()["state"] == "finished"
    assert bench.rows("metrics")[-1]["adaptmi/second_attempts"] == 1.0
