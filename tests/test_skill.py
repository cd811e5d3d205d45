"""SKILL.md folders and libraries: every rule, every error with its file, line and mend, and round trips."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprint.envs.household.game import FAMILIES
from imprint.errors import LibraryError, SkillError
from imprint.skills.library import SkillLibrary, household_library
from imprint.skills.skill import MAX_BYTES, Skill


def write(tmp_path, text, name="my-skill"):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "SKILL.md").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


GOOD = '---\nname: my-skill\ndescription: Does it.\nmetadata:\n  tasks: "a, b"\n---\n\nDo it.\n'


def test_a_good_skill_is_read(tmp_path):
    skill = Skill.read(write(tmp_path, GOOD))
    assert (skill.name, skill.description, skill.body) == ("my-skill", "Does it.", "Do it.")
    assert skill.tasks == ("a", "b")
    assert not skill.general
    assert skill.serves("a")
    assert not skill.serves("c")


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("no front matter", 1, None, "does not start with front matter"),
        ("---\nname: my-skill\n", 1, None, "no end"),
        ("---\nname: other\ndescription: d\n---\nx", 2, "name", "differs from its folder"),
        ("---\nname: My-Skill\ndescription: d\n---\nx", 2, "name", "not a valid name"),
        ("---\nname: a--b\ndescription: d\n---\nx", 2, "name", "not a valid name"),
        ("---\ndescription: d\n---\nx", 1, "name", "is missing"),
        ("---\nname: my-skill\n---\nx", 1, "description", "is missing"),
        (f"---\nname: my-skill\ndescription: {'d' * 1025}\n---\nx", 3, "description", "1025 characters"),
        ("---\nname: my-skill\ndescription: d\nauthor: me\n---\nx", 4, "author", "unknown key"),
        ("---\nname: my-skill\ndescription: d\nname: my-skill\n---\nx", 4, "name", "given twice"),
        ("---\nname: my-skill\ndescription: d\nmetadata: [1]\n---\nx", 4, "metadata", "map of string"),
        ("---\nname: my-skill\ndescription: d\nmetadata: {n: 1}\n---\nx", 4, "metadata", "map of string"),
        ("---\nname: my-skill\ndescription: 3\n---\nx", 3, "description", "not text"),
        ("---\nname: my-skill\ndescription: a: b\n---\nx", 3, None, "broken YAML"),
        ("---\nname: my-skill\ndescription: d\nmetadata: &a {x: *a}\n---\nx", 4, None, "anchors"),
        ("---\nname: my-skill\ndescription: d\n---\n \n", None, None, "page is empty"),
        ("---\n- a\n---\nx", 2, None, "not keys with values"),
        (b"---\nname: my-skill\ndescription: \xff\n---\nx", 3, None, "not UTF-8"),
        ("---\nname: my-skill\ndescription: d\n---\nx\0", 5, None, "NUL"),
        (b"x" * (MAX_BYTES + 1), None, None, "over 1,000,000 bytes"),
        ("---\n" + "[" * 50_000 + "\n---\nx", 2, None, "nested too deeply"),
        ("---\nname: my-skill\ndescription: d\n x: [\n---\nx", None, None, "broken YAML"),
    ],
)
def test_every_broken_rule_names_file_line_and_mend(tmp_path, text, line, key, says):
    folder = write(tmp_path, text)
    with pytest.raises(SkillError, match=says) as caught:
        Skill.read(folder)
    error = caught.value
    assert error.where == str(folder / "SKILL.md")
    assert error.key == key
    assert error.mend
    if line is not None:
        assert error.line == line


def test_all_problems_are_listed_at_once(tmp_path):
    folder = write(tmp_path, "---\nname: Bad\nextra: 1\n---\n")
    assert {problem.key for problem in Skill.check(folder)} == {"name", "extra", "description", None}


def test_a_value_with_dashes_does_not_end_the_front_matter(tmp_path):
    skill = Skill.read(write(tmp_path, '---\nname: my-skill\ndescription: "a --- b"\n---\nx\n---\ny\n'))
    assert skill.description == "a --- b"
    assert skill.body == "x\n---\ny"


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path):
    folder = write(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert Skill.read(folder).body == "Do it."


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(GOOD)
    folder = tmp_path / "my-skill"
    folder.mkdir()
    (folder / "SKILL.md").symlink_to(secret)
    with pytest.raises(SkillError, match="leads out"):
        Skill.read(folder)


def test_a_folder_without_a_page_is_an_error(tmp_path):
    with pytest.raises(SkillError, match=r"no SKILL\.md"):
        Skill.read(tmp_path)


texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60).filter(str.strip)
names = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,3}", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(
    name=names,
    description=texts,
    body=texts,
    license=st.none() | texts,
    metadata=st.dictionaries(st.text(string.ascii_letters, min_size=1, max_size=8), texts, max_size=3),
)
def test_what_is_written_is_read_back(tmp_path_factory, name, description, body, license, metadata):
    skill = Skill(name, description.strip(), body.strip(), license=license, metadata=metadata)
    folder = skill.write(tmp_path_factory.mktemp("skills"))
    assert Skill.read(folder) == skill


def test_a_skill_that_breaks_a_rule_is_not_written(tmp_path):
    with pytest.raises(SkillError, match="not a valid name"):
        Skill("../escape", "d", "b").write(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- libraries ---


def test_the_household_library_serves_every_family_with_short_pages():
    library = household_library()
    library.check(FAMILIES)
    assert len(library) == 7
    assert [skill.general for skill in library.skills] == [True] + [False] * 6
    for family in FAMILIES:
        general, own = library.serving(family)
        assert general.general
        assert own.tasks == (family,)
    assert all(skill.words < 120 for skill in library.skills)


def test_a_library_loads_sorts_and_selects(tmp_path):
    Skill("b", "d", "x", metadata={"tasks": "t"}).write(tmp_path)
    Skill("z-general", "d", "x", metadata={"tasks": "*"}).write(tmp_path)
    Skill("a", "d", "x", metadata={"tasks": "u"}).write(tmp_path)
    library = SkillLibrary.load(tmp_path)
    assert library.names == ("z-general", "a", "b")
    assert [skill.name for skill in library.serving("t")] == ["z-general", "b"]
    assert library.without("a").names == ("z-general", "b")
    assert library.only(["b"]).names == ("b",)
    with pytest.raises(LibraryError, match="no skill is called 'c'"):
        library["c"]


def test_check_names_tasks_without_skills_and_skills_without_tasks(tmp_path):
    Skill("one", "d", "x", metadata={"tasks": "clen"}).write(tmp_path)
    Skill("two", "d", "x").write(tmp_path)
    with pytest.raises(LibraryError) as caught:
        SkillLibrary.load(tmp_path).check(["clean", "heat"])
    message = str(caught.value)
    assert "no skill serves the tasks 'heat'" in message
    assert "did you mean 'clean'?" in message
    assert str(tmp_path / "two" / "SKILL.md") in message
    assert "does not say" in message


@pytest.mark.parametrize("make", [lambda p: p, lambda p: p / "absent"])
def test_an_empty_or_absent_folder_is_an_error(tmp_path, make):
    with pytest.raises(LibraryError):
        SkillLibrary.load(make(tmp_path))


def test_two_skills_of_one_name_are_an_error():
    skill = Skill("a", "d", "x")
    with pytest.raises(LibraryError, match="two skills are called 'a'"):
        SkillLibrary([skill, skill])
