"""The household engine and its expert: every sentence and every rule, on a small room."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprint.envs.household.engine import WELCOME, GameEngine
from imprint.envs.household.expert import expert_command, solve
from imprint.envs.household.game import Game, Goal, Object, Receptacle, Rules
from imprint.errors import GameError

NOTHING = "Nothing happens."
PICK = frozenset({"pickupable"})
FOOD = PICK | {"cleanable", "heatable", "coolable", "sliceable"}

RECEPTACLES = (
    Receptacle("Cabinet_bar_1", "Cabinet", "loc_a", openable=True),
    Receptacle("Cabinet_bar_2", "Cabinet", "loc_b", openable=True),
    Receptacle("CounterTop_bar_1", "CounterTop", "loc_a"),
    Receptacle("Fridge_bar_1", "Fridge", "loc_c", openable=True, opened=True),
    Receptacle("Microwave_bar_1", "Microwave", "loc_d", openable=True),
    Receptacle("Sink_bar_1_bar_SinkBasin", "SinkBasin", "loc_e"),
    Receptacle("Toaster_bar_1", "Toaster", "loc_f"),
)
OBJECTS = (
    Object("Apple_bar_1", "Apple", "CounterTop_bar_1", "loc_a", FOOD),
    Object("Apple_bar_2", "Apple", "Fridge_bar_1", "loc_c", FOOD | {"iscool"}),
    Object("Bowl_bar_1", "Bowl", "Cabinet_bar_1", "loc_a", PICK | {"isreceptacleobject", "cleanable"}),
    Object("Spoon_bar_1", "Spoon", "Cabinet_bar_1", "loc_a", PICK | {"cleanable"}, inside="Bowl_bar_1"),
    Object("Knife_bar_1", "Knife", "CounterTop_bar_1", "loc_a", PICK),
    Object("DeskLamp_bar_1", "DeskLamp", "Cabinet_bar_2", "loc_b", frozenset({"toggleable"})),
    Object("Curtains_bar_1", "Curtains", None, "loc_a"),
    Object("Egg_bar_1", "Egg", None, None, PICK),
)
KITCHEN = Game(
    id="test/kitchen",
    family="pick_heat_then_place_in_recep",
    sentence="put a hot apple in cabinet.",
    receptacles=RECEPTACLES,
    objects=OBJECTS,
    start="loc_start",
    can_contain=frozenset(
        (place, thing)
        for place in ("Cabinet", "CounterTop", "Fridge", "Microwave", "SinkBasin")
        for thing in ("Apple", "Bowl", "Spoon", "Knife")
        if (place, thing) != ("Microwave", "Knife")
    ),
    goal=Goal("Apple", "Cabinet", require=frozenset({"heatable", "ishot"})),
)
INTRO = (
    "You are in the middle of a room. Looking quickly around you, you see a cabinet 2, a cabinet 1, "
    "a countertop 1, a fridge 1, a microwave 1, a sinkbasin 1, and a toaster 1.\n\n"
    "Your task is to: put a hot apple in cabinet."
)


def play(engine: GameEngine, *commands: str) -> str:
    """Give the commands, all of which must be possible; returns the last answer."""
    for command in commands:
        assert command in engine.admissible(), command
        result = engine.step(command)
        assert result.valid, command
    return result.observation


def at(*commands: str, game: Game = KITCHEN) -> GameEngine:
    engine = GameEngine(game)
    if commands:
        play(engine, *commands)
    return engine


def refused(engine: GameEngine, command: str) -> bool:
    before = engine.admissible()
    result = engine.step(command)
    assert before == engine.admissible()
    return (result.observation, result.valid, result.reward) == (
        NOTHING,
        False,
        0.0,
    ) and command not in before


# --- sentences ---


def test_intro_lists_all_receptacles_and_has_an_optional_banner() -> None:
    engine = GameEngine(KITCHEN)
    assert engine.reset().observation == INTRO
    assert engine.full_intro == WELCOME + INTRO == "-= Welcome to TextWorld, ALFRED! =-\n\n" + INTRO


def test_look_at_the_start_sees_nothing() -> None:
    assert play(at(), "look") == ("You are in the middle of a room. Looking quickly around you, you see nothing.")


def test_look_names_all_receptacles_of_the_location() -> None:
    assert play(at("go to cabinet 2"), "look") == (
        "You are facing the cabinet 2, and countertop 1. Next to it, you see nothing."
    )


def test_smallest_id_has_the_highest_number() -> None:
    engine = at("go to countertop 1")
    assert play(engine, "examine countertop 1") == "On the countertop 1, you see a apple 2, and a knife 1."


def test_receptacles_of_one_location_are_all_within_reach() -> None:
    engine = at()
    assert play(engine, "go to cabinet 2") == "You arrive at cabinet 2. The cabinet 2 is closed."
    assert refused(engine, "go to cabinet 2")
    assert refused(engine, "go to countertop 1")
    play(engine, "take apple 2 from countertop 1")


def test_going_to_open_empty_and_flat_places() -> None:
    assert play(at(), "go to fridge 1") == ("You arrive at fridge 1. The fridge 1 is open. In it, you see a apple 1.")
    assert play(at(), "go to sinkbasin 1") == "You arrive at sinkbasin 1. On the sinkbasin 1, you see nothing."
    assert play(at("go to microwave 1"), "open microwave 1") == (
        "You open the microwave 1. The microwave 1 is open. In it, you see nothing."
    )


def test_open_and_close() -> None:
    engine = at("go to cabinet 2")
    assert refused(engine, "close cabinet 2")
    assert play(engine, "open cabinet 2") == (
        "You open the cabinet 2. The cabinet 2 is open. In it, you see a bowl 1, and a spoon 1."
    )
    assert refused(engine, "open cabinet 2")
    assert play(engine, "close cabinet 2") == "You close the cabinet 2."
    assert play(engine, "examine cabinet 2") == "The cabinet 2 is closed."
    assert refused(engine, "open countertop 1")
    assert refused(engine, "open cabinet 1")  # elsewhere


def test_take_and_inventory() -> None:
    engine = at("go to countertop 1")
    assert play(engine, "inventory") == "You are not carrying anything."
    assert refused(engine, "take bowl 1 from cabinet 2")  # closed
    assert play(engine, "take apple 2 from countertop 1") == "You pick up the apple 2 from the countertop 1."
    assert play(engine, "inventory") == "You are carrying: a apple 2."
    assert refused(engine, "take knife 1 from countertop 1")  # one thing at a time
    assert refused(engine, "take apple 2 from countertop 1")


def test_put_needs_an_open_fitting_receptacle_here() -> None:
    engine = at("go to countertop 1", "take knife 1 from countertop 1", "go to microwave 1", "open microwave 1")
    assert refused(engine, "move knife 1 to microwave 1")  # it cannot contain knives
    assert refused(engine, "move knife 1 to countertop 1")
    assert refused(engine, "move apple 2 to microwave 1")
    play(engine, "go to cabinet 1")
    assert refused(engine, "move knife 1 to cabinet 1")  # closed
    play(engine, "open cabinet 1")
    assert play(engine, "move knife 1 to cabinet 1") == "You move the knife 1 to the cabinet 1."
    assert play(engine, "examine cabinet 1") == ("The cabinet 1 is open. In it, you see a desklamp 1, and a knife 1.")


def test_both_words_for_putting_are_understood_and_the_games_own_is_offered() -> None:
    taken = ("go to countertop 1", "take apple 2 from countertop 1")
    assert at(*taken).step("put apple 2 in/on countertop 1").observation == (
        "You move the apple 2 to the countertop 1."
    )
    old = at(*taken, game=replace(KITCHEN, put_verb="put"))
    assert "put apple 2 in/on countertop 1" in old.admissible()
    assert not any(command.startswith("move") for command in old.admissible())
    assert old.step("move apple 2 to countertop 1").observation == ("You put the apple 2 in/on the countertop 1.")


def test_a_thing_moved_within_one_location_is_also_seen_next_to_it() -> None:
    engine = at("go to countertop 1", "open cabinet 2", "take apple 2 from countertop 1")
    play(engine, "move apple 2 to cabinet 2")
    assert play(engine, "look") == ("You are facing the cabinet 2, and countertop 1. Next to it, you see a apple 2.")
    play(engine, "take apple 2 from cabinet 2", "move apple 2 to countertop 1")
    assert play(engine, "look").endswith("you see a apple 2.")  # now it has left the cabinet
    back = at("go to countertop 1", "take apple 2 from countertop 1", "move apple 2 to countertop 1")
    assert play(back, "look").endswith("you see nothing.")


@pytest.mark.parametrize(
    ("verb", "place", "sentence"),
    [
        ("clean", "sinkbasin 1", "This is a clean apple 2."),
        ("heat", "microwave 1", "This is a hot apple 2."),
        ("cool", "fridge 1", "This is a cold apple 2."),
    ],
)
def test_treatments_need_the_thing_in_hand_at_the_right_place(verb: str, place: str, sentence: str) -> None:
    engine = at("go to countertop 1", "take apple 2 from countertop 1")
    command = f"{verb} apple 2 with {place}"
    assert refused(engine, command)
    play(engine, f"go to {place}")  # the microwave stays closed
    for other in {"clean", "heat", "cool"} - {verb}:
        assert refused(engine, f"{other} apple 2 with {place}")
    assert play(engine, command) == f"You {verb} the apple 2 using the {place}."
    assert play(engine, "examine apple 2") == sentence


def test_heat_and_cold_drive_each_other_out_and_clean_stays() -> None:
    engine = at("go to countertop 1", "take apple 2 from countertop 1")
    play(engine, "go to sinkbasin 1", "clean apple 2 with sinkbasin 1")
    play(engine, "go to microwave 1", "heat apple 2 with microwave 1")
    assert play(engine, "examine apple 2") == "This is a hot and clean apple 2."
    play(engine, "go to fridge 1", "cool apple 2 with fridge 1")
    assert play(engine, "examine apple 2") == "This is a cool and clean apple 2."


def test_a_treatment_needs_the_property() -> None:
    engine = at("go to countertop 1", "take knife 1 from countertop 1", "go to sinkbasin 1")
    assert refused(engine, "clean knife 1 with sinkbasin 1")


def test_rules_of_the_game_decide_what_treats() -> None:
    game = replace(KITCHEN, rules=Rules(heat=frozenset({"Toaster"}), slice=frozenset()))
    engine = at("go to countertop 1", "take apple 2 from countertop 1", "go to microwave 1", game=game)
    assert refused(engine, "heat apple 2 with microwave 1")
    play(engine, "go to toaster 1", "heat apple 2 with toaster 1")


def test_slicing_needs_a_held_knife_and_reaches_into_closed_places() -> None:
    hidden = Object("Bread_bar_1", "Bread", "Cabinet_bar_1", "loc_a", FOOD)
    game = replace(KITCHEN, objects=(*OBJECTS, hidden))
    engine = at("go to countertop 1", game=game)
    assert refused(engine, "slice apple 2 with knife 1")
    play(engine, "take knife 1 from countertop 1")
    assert play(engine, "slice apple 2 with knife 1") == "You sliced the apple 2 with the knife 1."
    play(engine, "slice bread 1 with knife 1")
    assert refused(engine, "slice apple 1 with knife 1")  # in the fridge
    play(engine, "move knife 1 to countertop 1", "take apple 2 from countertop 1")
    assert play(engine, "examine apple 2") == "This is a sliced apple 2."
    play(engine, "go to microwave 1", "heat apple 2 with microwave 1")
    assert play(engine, "examine apple 2") == "This is a hot sliced apple 2."
    play(engine, "go to sinkbasin 1", "clean apple 2 with sinkbasin 1")
    assert play(engine, "examine apple 2") == "This is a hot and clean sliced apple 2."
    play(engine, "go to fridge 1", "cool apple 2 with fridge 1")
    assert play(engine, "examine apple 2") == "This is a cool and clean sliced apple 2."


def test_examining_objects() -> None:
    engine = at("go to countertop 1")
    assert refused(engine, "examine apple 2")  # seen, but not held
    assert play(engine, "take knife 1 from countertop 1", "examine knife 1") == (
        "There's nothing special about knife 1."
    )
    play(engine, "move knife 1 to countertop 1", "open cabinet 2", "take bowl 1 from cabinet 2")
    assert play(engine, "examine bowl 1") == "This is a normal bowl 1. In it, you see a spoon 1."
    empty = replace(OBJECTS[3], inside=None)
    game = replace(KITCHEN, objects=(*OBJECTS[:3], empty, *OBJECTS[4:]))
    other = at("go to countertop 1", "open cabinet 2", "take bowl 1 from cabinet 2", game=game)
    assert play(other, "examine bowl 1") == "This is a normal bowl 1. In it, you see nothing."


def test_using_reaches_through_doors_and_always_turns_on() -> None:
    engine = at("go to cabinet 1")
    assert play(engine, "use desklamp 1", "use desklamp 1") == "You turn on the desklamp 1."
    assert refused(engine, "take desklamp 1 from cabinet 1")
    assert refused(at("go to fridge 1"), "use desklamp 1")


def test_help_has_no_leading_newline() -> None:
    text = play(at(), "help")
    assert text.startswith("Available commands:\n  look:") and text.endswith("using a sharp object\n")
    assert text.count("\n") == 14 and "  move (object) to (receptacle):  place" in text


def test_things_without_a_place_never_appear() -> None:
    engine = GameEngine(KITCHEN, with_admissible=True)
    texts, rng, result = [], random.Random(0), engine.reset()
    for _ in range(300):
        result = engine.step(rng.choice(result.admissible))
        texts += [result.observation, *result.admissible]
    assert not any("curtains" in text or "egg" in text for text in texts)


def test_overlapping_receptacles_both_show_the_thing() -> None:
    doubled = replace(OBJECTS[0], also_in=("Fridge_bar_1",))
    game = replace(KITCHEN, objects=(doubled, *OBJECTS[1:]))
    engine = at("go to countertop 1", "take apple 2 from countertop 1", game=game)
    assert play(engine, "go to fridge 1").endswith("you see a apple 2, and a apple 1.")
    play(engine, "move apple 2 to fridge 1")
    assert play(engine, "examine fridge 1").endswith("you see a apple 2, and a apple 1.")


# --- winning, turns, copies ---


def test_reward_once_at_the_winning_step() -> None:
    engine = at("go to countertop 1", "take apple 2 from countertop 1", "go to cabinet 1", "open cabinet 1")
    cold = engine.copy()
    assert not cold.step("move apple 2 to cabinet 1").terminated  # not hot
    play(engine, "go to microwave 1", "heat apple 2 with microwave 1", "go to cabinet 1")
    result = engine.step("move apple 2 to cabinet 1")
    assert (result.reward, result.terminated, result.success, result.done) == (1.0, True, True, True)
    again = engine.step("look")
    assert (again.reward, again.terminated) == (0.0, True)
    assert engine.reset().observation == INTRO and not engine.won


def test_two_need_distinct_things_in_one_receptacle() -> None:
    game = replace(KITCHEN, goal=Goal("Apple", "Cabinet", count=2))
    engine = at("go to cabinet 2", "open cabinet 2", "take apple 2 from countertop 1", game=game)
    play(engine, "move apple 2 to cabinet 2", "go to fridge 1", "take apple 1 from fridge 1")
    play(engine, "go to cabinet 1", "open cabinet 1", "move apple 1 to cabinet 1")
    assert not engine.won
    play(engine, "take apple 1 from cabinet 1", "go to cabinet 2", "move apple 1 to cabinet 2")
    assert engine.won


@pytest.mark.parametrize("lamp_first", [True, False])
def test_light_needs_the_thing_in_hand_at_the_lamp(lamp_first: bool) -> None:
    game = replace(KITCHEN, goal=Goal("Apple", toggle_type="DeskLamp"))
    engine = at(*(["go to cabinet 1", "use desklamp 1"] if lamp_first else []), game=game)
    play(engine, "go to countertop 1", "take apple 2 from countertop 1")
    assert not engine.won
    play(engine, "go to cabinet 1", *([] if lamp_first else ["use desklamp 1"]))
    assert engine.won


def test_turn_limit_truncates_and_counts_what_is_not_understood() -> None:
    engine = GameEngine(KITCHEN, max_turns=2)
    assert not engine.step("dance").truncated
    result = engine.step("look")
    assert result.truncated and not result.terminated and engine.turn == 2


def test_a_copy_goes_its_own_way() -> None:
    engine = at("go to countertop 1")
    twin = engine.copy()
    before = engine.admissible()
    play(
        twin,
        "take apple 2 from countertop 1",
        "open cabinet 2",
        "go to microwave 1",
        "heat apple 2 with microwave 1",
    )
    assert engine.admissible() == before
    assert play(engine, "take apple 2 from countertop 1", "examine apple 2") == (
        "There's nothing special about apple 2."
    )


def test_admissible_on_request_only() -> None:
    assert GameEngine(KITCHEN).reset().admissible == ()
    engine = GameEngine(KITCHEN, with_admissible=True)
    assert engine.reset().admissible == engine.admissible() == tuple(sorted(engine.admissible()))
    assert {"help", "inventory", "look", "go to toaster 1"} <= set(engine.admissible())


def test_games_that_do_not_fit_together_are_refused() -> None:
    lost = Object("Pan_bar_1", "Pan", "Shelf_bar_9", "loc_a")
    with pytest.raises(GameError, match=r"test/kitchen.*Pan_bar_1 is in Shelf_bar_9"):
        GameEngine(replace(KITCHEN, objects=(*OBJECTS, lost)))
    with pytest.raises(GameError, match="same id"):
        GameEngine(replace(KITCHEN, objects=(*OBJECTS, OBJECTS[0])))


# --- properties ---


@given(st.lists(st.integers(0, 10_000), max_size=60))
def test_admissible_commands_are_valid_and_repeatable(choices: list[int]) -> None:
    engine, twin = GameEngine(KITCHEN), GameEngine(KITCHEN)
    for choice in choices:
        commands = engine.admissible()
        command = commands[choice % len(commands)]
        result = engine.step(command)
        assert result.valid and result.observation != NOTHING
        assert twin.step(command) == result
    assert engine.admissible() == twin.admissible()


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_whatever_is_not_admissible_is_refused(choices: list[int]) -> None:
    """Of all well-formed commands, exactly the admissible ones are understood."""
    engine = GameEngine(KITCHEN)
    for choice in choices:
        commands = engine.admissible()
        engine.step(commands[choice % len(commands)])
    things, places = engine.tables.name_O, engine.tables.name_R
    names = (*things, *places)
    every = {f"{verb} {name}" for verb in ("go to", "open", "close", "examine", "use") for name in names}
    for verb, word in (
        ("take", "from"),
        ("move", "to"),
        ("heat", "with"),
        ("cool", "with"),
        ("clean", "with"),
    ):
        every |= {f"{verb} {thing} {word} {place}" for thing in things for place in places}
    every |= {f"slice {thing} with {knife}" for thing in things for knife in things}
    understood = {command for command in every if engine.copy().step(command).valid}
    assert understood == set(engine.admissible()) - {"help", "inventory", "look"}


VERBS = ["go", "take", "move", "put", "heat", "slice", "use", "open", "examine", "LOOK", "help me"]
NAMES = ["apple 2", "apple", "2", "countertop 1", "knife 1", "to", "from", "in/on", "with", "", " ", "\n"]
WORDS = st.sampled_from([*VERBS, *NAMES])


@given(st.one_of(st.text(max_size=30), st.lists(WORDS, max_size=6).map(" ".join)), st.booleans())
def test_garbage_does_nothing(text: str, moved: bool) -> None:
    engine = at(*(["go to countertop 1", "take knife 1 from countertop 1"] if moved else []))
    before = engine.admissible()
    allowed = {
        *before,
        *(c.replace("move", "put").replace(" to ", " in/on ") for c in before if c[:4] == "move"),
    }
    result = engine.step(text)
    if text.strip() not in allowed:
        assert (result.observation, result.valid) == (NOTHING, False)
        assert engine.admissible() == before


@given(st.lists(st.integers(0, 10_000), max_size=40), st.integers(0, 3), st.integers(0, 99))
def test_expert_wins_from_any_state(choices: list[int], kind: int, seed: int) -> None:
    goal = (
        KITCHEN.goal,
        Goal("Apple", "Cabinet", count=2),
        Goal("Spoon", toggle_type="DeskLamp"),
        Goal("Apple", "CounterTop", require=frozenset({"cleanable", "isclean"})),
    )[kind]
    engine = GameEngine(replace(KITCHEN, goal=goal))
    for choice in choices:
        commands = engine.admissible()
        engine.step(commands[choice % len(commands)])
    twin = engine.copy()
    solve(engine, rng=random.Random(seed))
    assert engine.won
    assert len(solve(twin)) <= 20 and twin.won


def test_expert_says_when_there_is_no_way() -> None:
    for goal in (
        Goal("Apple", "Bathtub"),
        Goal("Egg", "Cabinet"),
        Goal("Apple", toggle_type="FloorLamp"),
        Goal("Knife", "Cabinet", require=frozenset({"isclean"})),
    ):
        engine = GameEngine(replace(KITCHEN, goal=goal))
        solve(engine)
        assert not engine.won and expert_command(engine) is None


def test_speed_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for with_admissible in (False, True):
        engine, rng = GameEngine(KITCHEN, with_admissible=with_admissible), random.Random(0)
        commands = GameEngine(KITCHEN, with_admissible=True).reset().admissible
        start = time.perf_counter()
        for _ in range(2000):
            result = engine.step(rng.choice(commands))
            commands = result.admissible or commands
        rate = 2000 / (time.perf_counter() - start)
        with capsys.disabled():
            print(f"\nhousehold engine: {rate:,.0f} steps/s, admissible commands: {with_admissible}")
        assert engine.turn == 2000 and rate > 2000  # about a hundredth of what is usual
