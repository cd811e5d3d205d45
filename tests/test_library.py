"""Libraries of skills: which skill serves which task, what does not fit, and the seven that come with Imprint."""

from __future__ import annotations

import re

import pytest

from imprint.envs.household.game import FAMILIES
from imprint.errors import LibraryError, SkillError
from imprint.skills.library import SkillLibrary, load_library
from imprint.skills.skill import Skill


def test_the_load_library_serves_every_family_with_short_pages():
    library = load_library("household")
    library.check(FAMILIES)
    assert len(library) == 7
    assert [skill.general for skill in library.skills] == [True] + [False] * 6
    for family in FAMILIES:
        general, own = library.serving(family)
        assert general.general
        assert own.tasks == (family,)
    assert all(95 <= skill.words < 120 for skill in library.skills)
    assert all(skill.license == "Apache-2.0" for skill in library.skills)


# The commands of each family's page in the order of its steps, as the world understands them.
COMMANDS = re.compile(
    r"\b(?:(take) \w+ \d from \w+ \d|(move) \w+ \d to \w+ \d"
    r"|(clean) \w+ \d with sinkbasin \d|(heat) \w+ \d with microwave \d|(cool) \w+ \d with fridge \d"
    r"|(use) desklamp \d)"
)
RECIPES = {
    "pick_and_place_simple": ["take", "move"],
    "look_at_obj_in_light": ["take", "use"],
    "pick_clean_then_place_in_recep": ["take", "clean", "move"],
    "pick_heat_then_place_in_recep": ["take", "heat", "move"],
    "pick_cool_then_place_in_recep": ["take", "cool", "move"],
    "pick_two_obj_and_place": ["take", "move"],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_each_page_gives_its_recipe_in_order_in_the_language_of_the_world(family):
    _, own = load_library("household").serving(family)
    steps = [line for line in own.body.splitlines() if re.match(r"\d\. ", line)]
    assert [int(step.split(".")[0]) for step in steps] == list(range(1, len(steps) + 1))
    commands = list(COMMANDS.finditer("\n".join(steps)))
    assert [command[command.lastindex] for command in commands] == RECIPES[family]
    # The example speaks of one thing from its first step to its last.
    assert len({command[0].split()[1] for command in commands if command[0] != "use desklamp 1"}) == 1


def test_a_library_loads_sorts_and_selects(tmp_path):
    Skill("b", "d", "x", metadata={"tasks": "t"}).write(tmp_path)
    Skill("z-general", "d", "x", metadata={"tasks": "*"}).write(tmp_path)
    Skill("a", "d", "x", metadata={"tasks": "u"}).write(tmp_path)
    library = SkillLibrary.load(tmp_path)
    assert library.names == ("z-general", "a", "b")
    assert [skill.name for skill in library.serving("t")] == ["z-general", "b"]
    with pytest.raises(LibraryError, match="no skill is called 'c'"):
        library["c"]


def test_check_names_tasks_without_skills_and_skills_without_tasks(tmp_path):
    Skill("one", "d", "x", metadata={"tasks": "clen"}).write(tmp_path)
    Skill("two", "d", "x", metadata={"tasks": "x"}).write(tmp_path)
    with pytest.raises(LibraryError) as caught:
        SkillLibrary.load(tmp_path).check(["clean", "heat"])
    message = str(caught.value)
    assert "4 problems" in message
    assert "no skill serves the tasks 'clean'" in message and "no skill serves the tasks 'heat'" in message
    assert "did you mean 'clean'?" in message
    assert f"{tmp_path / 'two' / 'SKILL.md'}:5: metadata.tasks: no task is called 'x'" in message


@pytest.mark.parametrize(
    ("task", "near"),
    [
        ("pick_heat_then_place_in_recip", "pick_heat_then_place_in_recep"),
        ("Pick-Heat-Then-Place-In-Recep", "pick_heat_then_place_in_recep"),
        ("light", "look_at_obj_in_light"),
        ("pick", None),  # five families hold the word
        ("search", None),
    ],
)
def test_a_misspelt_task_names_file_and_key_and_the_nearest_category(tmp_path, task, near):
    Skill("general", "d", "x", metadata={"tasks": "*"}).write(tmp_path)
    folder = Skill("mine", "d", "x", metadata={"tasks": task}).write(tmp_path)
    (folder / "SKILL.md").rename(folder / "skill.md")
    with pytest.raises(LibraryError) as caught:
        SkillLibrary.load(tmp_path).check(FAMILIES)
    assert f"{folder / 'skill.md'}:5: metadata.tasks: no task is called {task!r}" in str(caught.value)
    assert (f"did you mean {near!r}?" in str(caught.value)) if near else ("did you mean" not in str(caught.value))


@pytest.mark.parametrize("name", ["SKILL.md", "Skill.md"])
def test_a_page_that_cannot_be_found_is_not_skipped(tmp_path, name):
    Skill("fine", "d", "x").write(tmp_path)
    (tmp_path / "assets").mkdir()
    assert SkillLibrary.load(tmp_path).names == ("fine",)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).symlink_to("nowhere")
    with pytest.raises(SkillError, match="other"):
        SkillLibrary.load(tmp_path)


def test_a_skill_that_is_a_link_to_nowhere_is_not_skipped(tmp_path):
    Skill("fine", "d", "x").write(tmp_path)
    for name in (".#lock", "notes.md"):
        (tmp_path / name).symlink_to("nowhere")
    assert SkillLibrary.load(tmp_path).names == ("fine",)
    (tmp_path / "other").symlink_to("nowhere")
    with pytest.raises(SkillError, match="other"):
        SkillLibrary.load(tmp_path)


@pytest.mark.parametrize("make", [lambda p: p, lambda p: p / "absent"])
def test_an_empty_or_absent_folder_is_an_error(tmp_path, make):
    with pytest.raises(LibraryError):
        SkillLibrary.load(make(tmp_path))


def test_two_skills_of_one_name_are_an_error():
    skill = Skill("a", "d", "x")
    with pytest.raises(LibraryError, match="two skills are called 'a'"):
        SkillLibrary([skill, skill])
