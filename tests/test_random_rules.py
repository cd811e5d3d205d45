"""Games with random rules and their demonstrations: the skill text is right, real recipes never occur."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from imprint.envs.household.engine import GameEngine
from imprint.envs.household.maker import make_game
from imprint.envs.household.orders import MOST, carry_out_orders
from imprint.envs.household.pddl import load_game
from imprint.envs.household.random_rules import (
    CLOSED_BOOK,
    GOAL_WORDS_OF,
    LESSONS,
    OBJECT_TYPES,
    REAL_LAMPS,
    REAL_TOOLS,
    Lesson,
    TaskRecipe,
    make_random_rules,
    real_verbs,
)
from imprint.envs.household.splits import asks_of
from imprint.envs.household.teacher import PAGE_WEIGHT, ScriptedTeacher, demonstrate, things_seen
from imprint.envs.household.world import HouseholdWorld

SEEDS = range(150)


@pytest.fixture(scope="module")
def world():
    return HouseholdWorld()


def test_a_real_recipe_is_never_drawn():
    for seed in SEEDS:
        rules = make_random_rules(seed)
        for verb, tool in rules.recipe.treatments:
            assert tool not in REAL_TOOLS[verb]
            assert tool != rules.game.goal.target_type
        assert rules.recipe.lamp not in REAL_LAMPS


def test_in_varied_lessons_a_real_pair_is_drawn_for_goals_that_do_not_speak_of_it():
    """What never occurs is learned as impossible: a policy that only read of other tools did not clean with a sink."""
    drawn = [make_random_rules(seed, lesson=LESSONS["varied-full"]) for seed in range(1500)]
    seen = set()
    for rules in drawn:
        for verb in real_verbs(rules.recipe):
            seen.add(verb)
            words = set(re.findall(r"[a-z]+", rules.game.sentence))
            assert not words & {verb, *GOAL_WORDS_OF[verb]}
    assert seen == {"heat", "cool", "clean"}


def test_a_real_lamp_ends_a_task_too_but_none_that_speaks_of_looking():
    drawn = [make_random_rules(seed, lesson=LESSONS["renamed"]) for seed in range(600)]
    lamps = [rules for rules in drawn if rules.recipe.lamp in REAL_LAMPS]
    assert {rules.recipe.lamp for rules in lamps} == REAL_LAMPS
    assert not any(rules.game.sentence.startswith(("look at", "examine")) for rules in lamps)
    others = [rules.game.sentence for rules in drawn if rules.recipe.lamp not in REAL_LAMPS]
    assert any(sentence.startswith("look at") for sentence in others)


def test_names_drawn_anew_change_the_words_and_nothing_else():
    for seed in range(60):
        rules = make_random_rules(seed, lesson=LESSONS["renamed"])
        types = {thing.type for thing in rules.game.objects}
        assert types <= set(OBJECT_TYPES)
        assert {kind for _, kind in rules.game.can_contain} <= types
        assert rules.game.goal.object_type in types
        assert demonstrate(rules, seed, max_turns=40).success
    taken = {make_random_rules(seed, lesson=LESSONS["renamed"]).game.goal.object_type for seed in range(600)}
    assert taken >= {"DeskLamp", "TeddyBear"}


def test_only_the_drawn_tool_works():
    rules = [make_random_rules(seed).game.rules for seed in SEEDS]
    assert not any(rule.heat & {"Microwave"} or rule.cool & {"Fridge"} or rule.clean & {"SinkBasin"} for rule in rules)


def test_the_skill_text_has_the_recipe_and_the_sentence_does_not():
    for seed in SEEDS:
        rules = make_random_rules(seed, lesson=Lesson(unread=0.0))
        if not rules.pages:
            assert any(word in rules.game.sentence for word in CLOSED_BOOK)
            continue
        page = rules.pages[-1].body
        for verb, tool in rules.recipe.treatments:
            assert f"{verb} " in page
            assert tool.lower() in page
        if rules.recipe.lamp is not None:
            assert f"use {rules.recipe.lamp.lower()} 1" in page or rules.recipe.lamp.lower() in page


def test_things_that_no_training_goal_names_are_asked_for_too():
    """A word that is only ever seen in lists is not learned as something to take: the test's goals name it."""
    trained = {ask.object_type for asks in asks_of("train").values() for ask in asks}
    tested = {ask.object_type for asks in asks_of("test").values() for ask in asks}
    assert tested - trained == {"TeddyBear"}
    goals = [make_game("test", index).goal for index in range(600)]
    assert sum(goal.object_type == "TeddyBear" for goal in goals) == 20  # docs/results/household.md says so
    games = [make_random_rules(seed, lesson=LESSONS["varied-full"]) for seed in range(1500)]
    asked = {rules.game.goal.object_type for rules in games if rules.recipe.lamp is not None}
    assert asked >= tested - trained


def test_the_same_sentence_means_many_things():
    meanings = {}
    for seed in range(600):
        rules = make_random_rules(seed, lesson=Lesson(closed_book=0.0))
        start = " ".join(rules.game.sentence.split()[:2])
        meanings.setdefault(start, set()).add(rules.recipe.treatments or (rules.recipe.lamp, rules.recipe.count))
    assert min(len(found) for found in meanings.values()) > 10


def test_demonstrations_win_and_are_reproducible(world):
    demos = [world.demonstration(seed) for seed in range(80)]
    assert demos == [world.demonstration(seed) for seed in range(80)]
    finished = [demo for demo in demos if demo is not None]
    assert len(finished) > 70
    for demo in finished:
        assert demo.success
        assert demo.turns[-1][1].success


def test_slips_weigh_nothing_and_commands_from_the_skill_text_most(world):
    turns = [turn for demo in filter(None, map(world.demonstration, range(80))) for turn in demo.turns]
    slips = [turn for turn in turns if not turn[2]]
    assert 0.01 < len(slips) / len(turns) < 0.1
    by_page = [command for command, _, weight in turns if weight == PAGE_WEIGHT]
    assert any(command.startswith(("heat", "cool", "clean", "use")) for command in by_page)
    searching = [command for command, _, weight in turns if weight == 1.0]
    assert all(command.startswith(("go to", "open", "examine")) for command in searching)
    # Receptacles can share a place: one cannot go where one stands.
    assert all(result.valid or command.startswith("go to") for command, result, weight in turns if weight)
    impossible = [command for command, result, _ in slips if not result.valid]
    assert 0.3 < len(impossible) / len(slips) < 0.7


def test_what_was_seen_is_fetched_with_the_weight_of_the_skill_text(world):
    """To go back for the second of two things is no search: few demonstrations show it, and so it weighs more."""
    back = 0
    for seed in range(200):
        rules = make_random_rules(seed, lesson=Lesson(closed_book=0.0, varied=True))
        if rules.recipe.count == 2:
            demo = demonstrate(rules, seed, max_turns=24, slips=0.0)
            commands = [command for command, _, _ in demo.turns]
            moved = next(n for n, command in enumerate(commands) if command.startswith("move "))
            if commands[moved + 1] in commands[:moved]:
                back += 1
                assert demo.turns[moved + 1][2] == PAGE_WEIGHT
    assert back >= 5


def test_in_the_lesson_of_pairs_the_search_goes_on_where_it_was_left_and_leaves_what_is_placed():
    returned = left = won = games = 0
    for seed in range(150):
        rules = make_random_rules(seed, lesson=LESSONS["pairs"])
        if rules.recipe.count != 2:
            continue
        demo = demonstrate(rules, seed, max_turns=24, slips=0.0)
        games, won = games + 1, won + demo.success
        commands = [command for command, _, _ in demo.turns]
        taken = next(n for n, command in enumerate(commands) if command.startswith("take "))
        moved = next(n for n, command in enumerate(commands) if command.startswith("move "))
        source, place = commands[taken].partition(" from ")[2], commands[moved].partition(" to ")[2]
        returned += demo.turns[moved + 1][0] == f"go to {source}" and demo.turns[moved + 1][2] == PAGE_WEIGHT
        for (command, _, weight), (then, _, _) in pairwise(demo.turns[moved + 1 :]):
            if command == f"go to {place}" and not weight:  # comes by what is placed
                left += 1
                assert not then.startswith("take ")
    assert games > 40 and won > 0.9 * games and left > 10 and returned > 0.5 * games


def test_advice_to_leave_a_thing_as_it_is_does_not_give_the_recipe_away():
    """In the plain lessons it is only said of what is to be carried, so that the real page for a lamp misleads."""
    told = {True: set(), False: set()}
    for seed in range(600):
        for varied in told:
            rules = make_random_rules(seed, lesson=Lesson(closed_book=0.0, unread=0.0, varied=varied))
            if "do not heat, cool or clean" in rules.pages[-1].body.lower():
                told[varied].add("use" if rules.recipe.lamp else "place")
    assert told == {False: {"place"}, True: {"place", "use"}}


def test_closed_book_demonstrations_have_no_skills(world):
    assert not any(
        demo.pages for demo in filter(None, (world.demonstration(s, lesson="closed_book") for s in range(20)))
    )


def test_the_place_in_skill_text_is_an_example_and_mostly_not_the_goal():
    named = same = 0
    for seed in SEEDS:
        rules = make_random_rules(seed, lesson=Lesson(closed_book=0.0, unread=0.0))
        found = re.search(r"move \w+ 1 to (\w+) 1", rules.pages[-1].body)
        if found is not None and rules.game.goal.target_type is not None:
            named += 1
            same += found.group(1) == rules.game.goal.target_type.lower()
    assert named > 30
    assert same / named < 0.5


def test_orders_are_carried_out_in_the_order_of_the_skill_text():
    lengths = set()
    for seed in range(100):
        demo = carry_out_orders(seed)
        (page,) = demo.pages
        done = [command for command, _, weight in demo.turns if weight and not command.startswith("go to")]
        lengths.add(len(done))
        tools = [command.split(" with ")[-1].removeprefix("use ").removesuffix(" 1") for command in done]
        places = [re.search(rf"\b{tool}\b", page.body).start() for tool in tools]
        if len(set(tools)) == len(tools):
            assert places == sorted(places)
        for command, tool in zip(done, tools, strict=True):
            verb = command.split()[0]
            assert tool not in {name.lower() for name in REAL_TOOLS.get(verb, ())}
            assert re.search(rf"\b{verb}\b", page.body)
    assert lengths == set(range(1, MOST + 1))


REAL = {
    "pick_clean_then_place_in_recep": ("clean", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("heat", "Microwave"),
    "pick_cool_then_place_in_recep": ("cool", "Fridge"),
}


def test_the_scripted_teacher_solves_every_published_game(alfworld_data):
    files = sorted((alfworld_data / "json_2.1.1" / "valid_seen").glob("*/*/game.tw-pddl"))
    assert len(files) == 140
    for file in files:
        game = load_game(file)
        treatments = (REAL[game.family],) if game.family in REAL else ()
        recipe = TaskRecipe(treatments, game.goal.count, game.goal.toggle_type)
        engine = GameEngine(game, max_turns=100)
        result = engine.reset()
        target = game.goal.target_type
        teacher = ScriptedTeacher(
            result.observation, recipe, game.goal.object_type.lower(), target.lower() if target else None
        )
        while not result.done:
            command = teacher.next_command()
            assert command is not None, game.id
            result = engine.step(command)
            teacher.observe(command, result.observation)
        assert result.success, game.id


def test_names_are_read_off_a_sentence():
    assert things_seen("On the desk 1, you see a pen 2, a pen 1, and a mug 12.") == ["pen 2", "pen 1", "mug 12"]
    assert things_seen("The fridge 1 is closed.") == []
    assert things_seen("In it, you see nothing.") == []
