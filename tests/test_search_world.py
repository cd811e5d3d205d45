"""Search-QA: what an agent may say, when an answer counts, and the made encyclopedia with its questions."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from imprint.cli import app
from imprint.envs.base import AnsweringWorld, TeachableWorld, TeachingWorld, make_world
from imprint.envs.search.encyclopedia import ALL_VOLUMES, VOLUMES, Encyclopedia
from imprint.envs.search.made import ROUTES, make_questions
from imprint.envs.search.question import CATEGORIES, Question, exact_match, normalize
from imprint.envs.search.random_rules import CLOSED_BOOK, LESSONS, WORDS, make_random_rules
from imprint.envs.search.tags import answer, information, parse_answer, read_action, search, shown
from imprint.envs.search.teacher import Renamed
from imprint.envs.search.world import SearchWorld
from imprint.errors import QuestionError, RecipeError, RetrievalError
from imprint.retrieval.base import Hit, Passage
from imprint.skills.library import SkillLibrary
from imprint.types import Task

TAGS = st.sampled_from(["<search>", "</search>", "<answer>", "</answer>", "<information>", "<think>", "</think>"])
SPEECH = st.lists(st.one_of(TAGS, st.text(max_size=6)), max_size=12).map("".join)
WORD = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)


@pytest.fixture(scope="module")
def world():
    return SearchWorld(things=400, train=80, validation=20, test=40)


@pytest.fixture(scope="module")
def library():
    from importlib import resources
    from pathlib import Path

    return SkillLibrary.load(Path(str(resources.files("imprint.envs.search") / "skills")))


# --- what is said --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "action", "well_formed"),
    [
        ("<search>a b</search>", "<search>a b</search>", True),
        ("I wonder.\n<answer>x</answer>", "<answer>x</answer>", True),
        ("<think>t</think><search>a</search> and then", "<search>a</search>", True),
        ("", "", False),
        ("<search>a", "", False),
        ("search: a", "", False),
        ("<answer>x</answer><search>a</search>", "<search>a</search>", False),  # both
        ("<search>a</search><answer>x</answer>", "<search>a</search>", False),
        ("<search>a</search><search>b</search>", "<search>a</search>", False),  # the first counts
        ("<answer>x</answer><answer>y</answer>", "<answer>x</answer>", False),
        ("<search>a\nb</search>", "<search>a\nb</search>", True),
        ("<Search>a</Search>", "", False),
    ],
)
def test_a_response_has_one_block_of_one_kind(response, action, well_formed):
    assert parse_answer(response) == (action, well_formed)


@given(SPEECH)
def test_any_response_is_read_and_what_it_gives_reads_the_same_again(response):
    action, well_formed = parse_answer(response)
    assert action == "" or action in response
    assert not well_formed or action
    kind, text = read_action(action)
    assert (kind == "") == (text == "")
    again = {"search": search, "answer": answer}
    assert kind == "" or read_action(again[kind](text))[0] == kind


@given(st.lists(WORD, min_size=1, max_size=6).map(" ".join))
def test_what_is_searched_and_answered_arrives(text):
    assert read_action(search(text)) == ("search", text)
    assert read_action(answer(text)) == ("answer", text)


@given(st.lists(SPEECH, max_size=3), st.sampled_from(["text", "json"]))
def test_no_passage_closes_the_block_or_speaks_for_the_agent(contents, form):
    told = information([Hit(Passage(str(n), text), 1.0) for n, text in enumerate(contents)], form)
    assert told.startswith("<information>\n")
    assert told.endswith("\n</information>")
    for tag in ("search", "answer", "think"):
        assert f"<{tag}>" not in told
    assert told.count("<information>") == told.count("</information>") == 1


def test_information_has_the_published_form():
    hits = [Hit(Passage("0", '"A"\nof a'), 2.0), Hit(Passage("1", '"B"\nof b'), 1.0)]
    assert information(hits) == '<information>\nDoc 1: "A"\nof a\nDoc 2: "B"\nof b\n</information>'
    body = information(hits, "json").removeprefix("<information>\n").removesuffix("\n</information>")
    assert json.loads(body) == {"result": 'Doc 1: "A"\nof a\nDoc 2: "B"\nof b'}
    assert "Nothing was found." in information([])


# --- when an answer counts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "right", "counts"),
    [
        ("the Ouse", "Ouse", True),
        ("OUSE.", "the Ouse", True),
        ("a  heron", "heron", True),
        ("New York City", "New York", False),
        ("", "Ouse", False),
        ("theatre", "atre", False),  # articles are words
        ("1,000", "1000", True),
        ("the the", "The The", True),
        ("a", "The The", False),
        ("?", "", False),
    ],
)
def test_an_answer_is_normalised_as_squad_does(said, right, counts):
    assert exact_match(said, Question("q", "?", ("no", right), CATEGORIES[0])) is counts


@given(st.text())
def test_normalising_twice_is_normalising_once(text):
    assert normalize(normalize(text)) == normalize(text)


# --- an episode ----------------------------------------------------------------------------------------------------


class Fixed:
    """A search engine that finds one passage, or breaks."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def search(self, queries, k):
        if self.broken:
            raise RetrievalError("cannot be reached", where="http://localhost:1")
        return [[Hit(Passage("0", "A\nof a"), 1.0)] for _ in queries]


def start(world, retriever=None):
    from imprint.envs.search.episode import SearchEpisode

    question = Question("q", "Where is <answer>it</answer>?", ("here", "there"), CATEGORIES[0])
    episode = SearchEpisode(question, retriever or Fixed(), topk=3, max_turns=4, form="text")
    return episode, episode.reset()


def test_an_answer_ends_the_episode_and_is_worth_its_exact_match(world):
    for said, reward in (("There", 1.0), ("nowhere", 0.0)):
        episode, first = start(world)
        assert first.observation == "Question: Where is &lt;answer>it&lt;/answer>?"
        assert not episode.step(search("it")).done
        result = episode.step(answer(said))
        assert (result.reward, result.success, result.terminated, result.valid) == (reward, bool(reward), True, True)


def test_the_fourth_turn_is_the_last_and_nonsense_costs_one(world):
    episode, _ = start(world)
    results = [episode.step(said) for said in (search("a"), "", "<search> </search>", search("a"))]
    assert [result.valid for result in results] == [True, False, False, True]
    assert [result.truncated for result in results] == [False, False, False, True]
    assert not any(result.success or result.reward for result in results)


def test_a_search_engine_that_fails_is_never_what_the_agent_reads(world):
    episode, _ = start(world, Fixed(broken=True))
    with pytest.raises(RetrievalError):
        episode.step(search("a"))


# --- the made encyclopedia -----------------------------------------------------------------------------------------


def test_the_encyclopedia_is_drawn_from_its_seed_alone():
    assert Encyclopedia(3, 100).passages() == Encyclopedia(3, 100).passages()
    assert Encyclopedia(3, 100).passages() != Encyclopedia(4, 100).passages()


def test_the_encyclopedia_has_twenty_thousand_passages_with_names_that_clash_and_second_names():
    encyclopedia = Encyclopedia()
    passages = encyclopedia.passages()
    assert len(passages) == len({passage.id for passage in passages}) == 20_000
    assert len({passage.title for passage in passages}) == 20_000
    assert sum(thing.name in encyclopedia.clashing for thing in encyclopedia.things) > 400
    assert sum(bool(thing.alias) for thing in encyclopedia.things) > 150


def test_every_task_has_a_category_and_a_skill_and_no_thing_is_asked_about_in_two_splits(world, library):
    assert all(isinstance(world, kind) for kind in (TeachingWorld, AnsweringWorld, TeachableWorld))
    library.check(world.categories)
    asked: dict[str, set[str]] = {}
    for split in ("train", "validation", "test"):
        tasks = world.tasks(split)
        assert len(tasks) == len({task.id for task in tasks}) == world.counts[split]
        assert Counter(task.category for task in tasks) == dict.fromkeys(CATEGORIES, len(tasks) // 4)
        asked[split] = {normalize(world.question(task).text) for task in tasks}
    assert not asked["train"] & asked["test"]
    assert not asked["train"] & asked["validation"]
    made = {
        split: {thing.number for one in some_questions(world, split, 20) for thing in one.subjects} for split in asked
    }
    assert not made["train"] & made["test"]
    assert not made["validation"] & (made["train"] | made["test"])


def test_one_who_knows_the_way_answers_every_question(world):
    for split in ("train", "validation", "test"):
        for task in world.tasks(split):
            exemplar = world.exemplar(task)
            assert exemplar is not None and exemplar.steps
            assert len(exemplar.steps) == len(ROUTES[task.category].volumes) + 1


def some_questions(world, split, count):
    """Questions as they are drawn, without a look at whether they can be answered."""
    return make_questions(world.encyclopedia, split, count, 0, lambda made: True)


def test_another_question_is_drawn_for_one_that_may_not_be_asked(world):
    refused = []

    def asked_again(made):
        if len(refused) == 3 or made.route.pick:
            return True
        refused.append(made)
        return False

    asked = make_questions(world.encyclopedia, "test", 16, 0, asked_again)
    assert len(refused) == 3 and not {one.subjects for one in refused} & {one.subjects for one in asked}
    assert [one.question.id for one in asked] == [f"made/test/{index}" for index in range(16)]
    assert [one.question.category for one in asked] == list(CATEGORIES) * 4


def test_what_is_asked_does_not_depend_on_how_it_is_played():
    few = {"things": 400, "train": 40}
    texts = [
        [world.question(task).text for task in world.tasks("train")]
        for world in (SearchWorld(**few), SearchWorld(**few, topk=1, max_turns=2, information="json"))
    ]
    assert texts[0] == texts[1]


def test_the_name_alone_finds_only_talk(world):
    found = 0
    for one in some_questions(world, "test", 40):
        (hits,) = world.engine.search([one.called[0]], world.topk)
        found += any(hit.passage.id == f"{one.subjects[0].number}/{one.route.volumes[0]}" for hit in hits)
    assert found <= 4


def test_too_few_things_are_an_error_that_names_the_key():
    with pytest.raises(RecipeError, match=r"raise env\.things") as caught:
        SearchWorld(things=40, train=400).tasks("train")
    assert caught.value.key == "env.train"


def test_a_question_that_does_not_exist_is_an_error(world):
    for name, split in (("made/test/9999999", "test"), ("made/test/-1", "test"), ("made/dev/0", "dev")):
        with pytest.raises(QuestionError, match=f"no question '{name}' in '{split}'"):
            world.environment().reset(Task(name, CATEGORIES[0], split), 0)
    said = CliRunner().invoke(app, ["play", "--task", "made/test/9999999", "--set", "env.name=search"])
    assert said.exit_code == 2 and "no task of 'test' is called 'made/test/9999999'" in said.output
    assert "try: made/test/0" in said.output


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"sets": ["nq"]}, "sets"),
        ({"train_sets": ["nq", "hotpotqa"]}, "train_sets"),
        ({"limit": 5}, "limit"),
        ({"shape": "query"}, "shape"),
        ({"questions": "data", "retriever": "an/index", "shape": "queries"}, "shape"),
        ({"questions": "data", "retriever": "http://localhost:1", "things": 2500}, "things"),
        ({"questions": "data", "retriever": "http://localhost:1", "train": 9}, "train"),
        ({"questions": "data", "retriever": "http://localhost:1", "test": 9}, "test"),
    ],
)
def test_an_option_that_changes_nothing_is_refused(options, key):
    with pytest.raises(RecipeError) as caught:
        make_world("search", **options)
    assert caught.value.key == f"env.{key}" and "leave it out, or set env." in caught.value.hint


def test_options_that_go_together_are_taken():
    for options in (
        {"shape": None, "sets": None, "limit": None, "things": None},
        {"retriever": "http://localhost:1", "shape": "query", "things": 300},
        {"questions": "data", "retriever": "an/index", "sets": ["nq"], "limit": {"nq": 5}, "validation": 3},
    ):
        make_world("search", **options)


def test_published_questions_need_a_search_engine():
    with pytest.raises(RecipeError, match="imprint search build"):
        SearchWorld(questions="somewhere")


# --- random rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lesson", ["orders", "numbers", "comparing-numbers", "reading", *LESSONS])
def test_the_scripted_teacher_follows_the_skill_text(world, lesson):
    demos = [world.demonstration(seed, lesson=lesson) for seed in range(60)]
    found = [demo for demo in demos if demo is not None]
    assert len(found) >= 55
    for demo in found:
        assert demo.success
        own = "\n".join(page.body for page in demo.pages)
        actions = [read_action(said) for said, _, weight in demo.turns if weight]
        searched = [text.rpartition(" ")[2] for kind, text in actions if kind == "search"]
        assert not demo.pages or all(word in own for word in searched[: 1 if lesson != "orders" else None])


def test_a_volume_never_has_its_real_name(world):
    encyclopedia, _ = world._encyclopedias[0]
    for seed in range(300):
        rules = make_random_rules(seed, encyclopedia, LESSONS["full"])
        assert set(rules.words) == set(ALL_VOLUMES)
        assert len(set(rules.words.values())) == len(ALL_VOLUMES)
        assert set(rules.words.values()) <= set(WORDS)
        assert not any(volume == word for volume, word in rules.words.items())
    for route, words in CLOSED_BOOK.values():
        assert all(volume != word for volume, word in zip(route.volumes, words, strict=True))


def test_the_drawn_names_find_and_the_real_ones_do_not(world):
    encyclopedia, engine = world._encyclopedias[0]
    words = {volume: f"w{place}" for place, volume in enumerate(ALL_VOLUMES)}
    renamed = Renamed(engine, encyclopedia, words)
    thing = next(one for one in encyclopedia.things if one.name not in encyclopedia.clashing and not one.alias)
    for volume in VOLUMES:
        own, real, alone = renamed.search([f"{thing.name} {words[volume]}", f"{thing.name} {volume}", thing.name], 3)
        assert any(hit.passage.title == thing.title(words[volume]) for hit in own)
        assert real == alone


def test_shown_text_keeps_its_words():
    assert shown("a < b, <i>c</i>") == "a < b, <i>c</i>"
    assert shown("</ANSWER >") == "&lt;/ANSWER >"
