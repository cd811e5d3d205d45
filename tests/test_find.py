"""Finding skills: BM25 over name, description and body, re-ranking, groups, and the token budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from imprint.cli import app
from imprint.errors import CheckpointError, LibraryError, PolicyError
from imprint.measurement.token_cost import costs, fitting
from imprint.retrieval.ranking import tokens
from imprint.skills.find import Hit, SkillIndex
from imprint.skills.group_file import read_groups, write_groups
from imprint.skills.groups import given_groups, propose_groups
from imprint.skills.library import SkillLibrary, load_library
from imprint.skills.skill import Skill

PAGES = {
    "boil-egg": ("Eggs for breakfast.", "Heat water in a pot, put the egg in, wait six minutes."),
    "fry-egg": ("A pan dish.", "Put butter in a hot pan, break the egg, wait two minutes."),
    "git-rebase": ("Tidy a branch.", "Run git rebase on the branch, squash each commit, push the branch."),
    "git-bisect": ("Find a bad change.", "Run git bisect, mark each commit good or bad on the branch."),
    "read-timetable": ("Trains.", "Find the station, read the train times, note the platform."),
    "buy-ticket": ("Fares.", "Find the station, choose the train, pay for the platform ticket."),
}


def skills(**tasks: str) -> list[Skill]:
    return [
        Skill(name, description, body, metadata={"tasks": tasks[name]} if name in tasks else {})
        for name, (description, body) in PAGES.items()
    ]


def names(hits: Sequence[Hit]) -> list[str]:
    return [hit.skill.name for hit in hits]


def call(*arguments: object, stdin: str | None = None, status: int = 0) -> Result:
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(a) for a in arguments], input=stdin)
    assert result.exit_code == status, (result.output, result.exception)
    return result


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for skill in skills():
        skill.write(tmp_path / "skills")
    return tmp_path / "skills"


# --- words and ranking ---


def test_words_are_small_and_compounds_count_whole_and_in_parts():
    whole = ["git-lfs", "pandas.read_csv"]
    assert tokens("Use git-LFS, pandas.read_csv") == ["use", "git", "lfs", "pandas", "read", "csv", *whole]
    assert tokens("ＡＢ Straße 卵を") == ["ab", "strasse", "卵", "を"]
    assert tokens("-- __ !") == []


@settings(max_examples=50)
@given(st.text())
def test_words_hold_letters_and_digits_and_a_copy_finds_its_page(text: str):
    found = tokens(text)
    assert all(any(c.isalnum() for c in word) and not any(c.isspace() for c in word) for word in found)
    if found:
        twins = [Skill("a", "d", text), *skills()]
        assert "a" in names(SkillIndex(twins, fields=("body",)).find(text, k=len(twins)))


@pytest.mark.parametrize("text", ["a" * 300_000, "a-" * 150_000, "-" * 300_000])
def test_a_page_that_is_one_long_word_costs_no_more_than_its_length(text: str):
    assert len(tokens(text)) <= len(text)  # quadratic time would take hours here


def test_a_word_that_only_the_body_holds_is_found_and_one_that_is_nowhere_is_not():
    index = SkillIndex(skills())
    assert names(index.find("squash")) == ["git-rebase"]
    assert names(SkillIndex(skills(), fields=("name", "description")).find("squash")) == []
    assert index.find("submarine") == [] == index.find("?!")
    assert names(index.find("git-bisect"))[0] == "git-bisect"


def test_the_answer_does_not_depend_on_the_order_given_and_ties_go_by_name():
    twins = [Skill(name, "Same words.", "The same page.") for name in ("b", "c", "a")]
    for order in (twins, twins[::-1]):
        found = SkillIndex([*order, *skills()]).find("same page", k=2)
        assert names(found) == ["a", "b"] and found[0].score == found[1].score > 0


def test_an_index_of_nothing_is_refused():
    for nothing in ([], [Skill("x", "?", "!")]):
        with pytest.raises(LibraryError):
            SkillIndex(nothing, fields=("description", "body"))


class Meaning:
    """Knows that a hen has to do with breakfast; counts what it is given."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def embed(self, texts: Sequence[str]) -> Any:
        self.given += texts
        return np.array([[1.0, 0.0] if "breakfast" in t or "hen" in t else [0.0, 1.0] for t in texts], dtype=np.float32)


def test_an_embedder_changes_the_order_of_what_bm25_finds_and_reads_a_page_once():
    plain = names(SkillIndex(skills()).find("the hen lays; wait two minutes, egg"))
    assert plain[:2] == ["fry-egg", "boil-egg"]
    meaning = Meaning()
    index = SkillIndex(skills(), meaning)
    assert set(names(index.find("the hen lays; wait two minutes, egg"))) == set(plain)
    first = len(meaning.given)
    again = names(index.find("hen, egg, wait"))
    assert again[0] == "boil-egg" and len(meaning.given) == first + 1
    assert index.find("submarine") == [] and len(meaning.given) == first + 1


def test_find_prints_a_table_or_json(library: Path):
    assert "git-rebase" in call("skills", "find", "squash commits on a branch", library).output
    rows = json.loads(call("skills", "find", "egg in a pan", library, "-k", 1, "--json").output)
    assert [row["skill"] for row in rows] == ["fry-egg"] and rows[0]["score"] > 0
    assert "none of the 6" in call("skills", "find", "submarine", library).output
    assert "--rerank" in call("skills", "find", "egg", library, "--endpoint", "http://localhost:1/v1", status=2).output


# --- groups ---


def test_groups_come_from_tasks_then_category_and_the_silent_are_left():
    some = [Skill("a", "d", "b", metadata={"tasks": "t, u", "category": "c"})]
    some += [Skill("b", "d", "b", metadata={"category": " c "}), Skill("e", "d", "b")]
    given_, silent = given_groups(some)
    assert [(group.name, group.skills) for group in given_] == [("c", ("b",)), ("t", ("a",)), ("u", ("a",))]
    assert [skill.name for skill in silent] == ["e"]


def test_what_is_alike_is_proposed_as_a_group():
    pytest.importorskip("sklearn", reason="proposing groups needs imprint[find]")
    found = propose_groups(skills(), 3)
    members = {group.skills for group in found}
    assert members == {("boil-egg", "fry-egg"), ("git-bisect", "git-rebase"), ("buy-ticket", "read-timetable")}
    assert propose_groups(skills()[::-1], 3) == found  # whatever the order
    assert len({group.name for group in found}) == 3 and all(group.terms for group in found)
    taken = [group.name for group in found]
    assert not {group.name for group in propose_groups(skills(), 3, taken)} & set(taken)
    with pytest.raises(LibraryError):
        propose_groups(skills(), 7)


def test_proposed_groups_are_written_on_ones_word_and_then_are_the_tasks(library: Path):
    pytest.importorskip("sklearn", reason="proposing groups needs imprint[find]")
    assert "nothing is written" in call("skills", "groups", library, "--count", 3).output
    assert not (library / "groups.json").exists()
    pages = {path: path.read_bytes() for path in library.glob("*/SKILL.md")}
    call("skills", "groups", library, "--count", 3, "--write")
    loaded = SkillLibrary.load(library)
    assert loaded["fry-egg"].tasks == loaded["boil-egg"].tasks != loaded["git-bisect"].tasks
    assert len({skill.tasks for skill in loaded.skills}) == 3
    assert {path: path.read_bytes() for path in pages} == pages
    assert "Proposed" not in call("skills", "groups", library).output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "not groups"),
        ('{"a": "boil-egg"}', "not groups"),
        ('{"a,b": ["boil-egg"]}', "not groups"),
        ('{"*": ["boil-egg"]}', "not groups"),
        ("[" * 100_000, "cannot be read"),
        ('{"a": ["gone\\u001b"]}', "no skill is called"),
        ('{"a": ["own"]}', "own front matter"),
    ],
)
def test_a_broken_file_of_groups_is_named(library: Path, content: str, words: str):
    Skill("own", "d", "b", metadata={"tasks": "t"}).write(library)
    (library / "groups.json").write_text(content)
    with pytest.raises(LibraryError, match=words) as caught:
        SkillLibrary.load(library)
    assert "groups.json" in str(caught.value) and "\x1b" not in str(caught.value)


GROUPS = st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.lists(st.text(max_size=4), max_size=3))


@settings(max_examples=30)
@given(GROUPS)
def test_groups_that_are_written_are_read_back(tmp_path_factory: pytest.TempPathFactory, groups: dict[str, list[str]]):
    folder = tmp_path_factory.mktemp("groups")
    write_groups(folder, groups)
    assert read_groups(folder) == {name: sorted(members) for name, members in groups.items()}


# --- budget ---


def test_costs_add_up_and_a_prefix_fits():
    found = costs(load_library("household").skills, lambda text: len(text.split()), "plain")
    assert [cost.pages_so_far for cost in found] == list(np.cumsum([cost.page for cost in found]))
    assert all(cost.page > cost.description > 0 for cost in found)
    assert [fitting([3, 5, 9], limit) for limit in (2, 3, 8, 9)] == [0, 1, 2, 3]


def test_budget_counts_as_the_model_does_and_orders_by_helpfulness(tmp_path: Path):
    shown = json.loads(call("skills", "budget", "--share", 0.5, "--json").output)
    assert shown["model"] == "imprint-tiny" and shown["limit"] == 1024 and shown["style"] == "plain"
    assert shown["pages_that_fit"] < shown["descriptions_that_fit"] == 7
    listed = call("skills", "list").output
    for row in shown["skills"]:
        assert any(row["skill"] in line and f" {row['page']} " in line for line in listed.splitlines())
    figures = tmp_path / "figures.json"
    rows = [("household-cool", "all", 0.5), ("household-heat", "all", 0.9), ("household-pick", "x", 1.0)]
    content = [{"skill": name, "family": family, "evidence": {"helpfulness": value}} for name, family, value in rows]
    figures.write_text(json.dumps({"skills": content}))
    order = json.loads(call("skills", "budget", "--helpfulness", figures, "--json").output)["skills"]
    assert [row["skill"] for row in order][:3] == ["household-heat", "household-cool", "household-clean"]
    assert "pages so far" in call("skills", "budget", "--context", 700).output
    figures.write_text('{"skills": [1]}')
    assert "no figures" in call("skills", "budget", "--helpfulness", figures, status=2).output
    with pytest.raises(CheckpointError):
        from imprint.commands.budget import ordered

        ordered((), tmp_path / "nowhere.json")


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path):
    from imprint.models.counting import token_counter

    for name in (str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(PolicyError):
            token_counter(name)


def test_what_looks_like_a_special_token_in_a_page_counts_as_text():
    from imprint.models.counting import token_counter

    assert token_counter("imprint-tiny").count("</s>") > 1
