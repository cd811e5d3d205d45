"""SKILL.md folders: every rule, every error with its file, line and fix, hostile pages, and round trips."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprint.errors import CheckpointError, SkillError
from imprint.skills.front import MAX_CHARACTERS, MAX_NESTING, parse_front
from imprint.skills.skill import MAX_BYTES, Skill


def write(tmp_path, text, name="my-skill"):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "SKILL.md").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


HEAD = "---\nname: my-skill\ndescription: d\n"
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
        (HEAD + "metadata:\n  a: {b: c}\n---\nx", 5, "metadata.a", "not text but dict"),
        (HEAD + "metadata:\n  tasks: a\n  tasks: b\n---\nx", 6, "metadata.tasks", "given twice"),
        (HEAD + "compatibility: " + "c" * 501 + "\n---\nx", 4, "compatibility", "501 characters"),
        (HEAD + "compatibility: ''\n---\nx", 4, "compatibility", "is empty"),
        (HEAD + "license:\n---\nx", 4, "license", "is empty"),
        (HEAD + "allowed-tools: [Read]\n---\nx", 4, "allowed-tools", "not text but list"),
        (HEAD + "yes: x\n---\nx", 4, "yes", "unknown key"),
        (HEAD + "? [a]\n: b\n---\nx", 4, None, "not a word"),
        ("---\nname: my-skill\n<<: {description: d}\n---\nx", 3, "<<", "merged maps"),
        (HEAD + 'license: "\\UFFFFFFFF"\n---\nx', 2, None, "broken YAML: Python int too large"),
        (HEAD + "license: a\x07\n---\nx", 4, None, "special characters"),
        ('---\nname: my-skill\ndescription: "a\\eb"\n---\nx', 3, "description", "control character U\\+001B"),
        (HEAD + 'metadata:\n  a: "\\ud800"\n---\nx', 5, "metadata.a", "control character U\\+D800"),
        (HEAD + '"\\e[31m": x\n---\nx', 4, "\\x1b[31m", "unknown key"),
        (HEAD + "license: !!python/object/apply:os.system [id]\n---\nx", 4, None, "tags are not allowed"),
        (f"---\nname: {'n' * 65}\ndescription: d\n---\nx", 2, "name", "65 characters"),
        ("---\nname: my-skill\ndescription: [d]\n---\nx", 3, "description", "not text"),
        ("---\nname: my-skill\ndescription: a: b\n---\nx", 3, None, "broken YAML"),
        ("---\nname: my-skill\ndescription: d\nmetadata: &a {x: *a}\n---\nx", 4, None, "anchors"),
        ("---\nname: my-skill\ndescription: d\n---\n \n", 5, None, "page is empty"),
        ("---\n- a\n---\nx", 2, None, "not keys with values"),
        (b"---\nname: my-skill\ndescription: \xff\n---\nx", 3, None, "not UTF-8"),
        ("---\nname: my-skill\ndescription: d\n---\nx\0", 5, None, "NUL"),
        (b"x" * (MAX_BYTES + 1), None, None, "over 1,000,000 bytes"),
        ("---\n" + "a" * (MAX_CHARACTERS + 1) + "\n---\nx", 2, None, "over 32,000 characters"),
        ("---\nname: my-skill\ndescription: d\n x: [\n---\nx", None, None, "broken YAML"),
    ],
)
def test_every_broken_rule_names_file_line_and_hint(tmp_path, text, line, key, says):
    folder = write(tmp_path, text)
    with pytest.raises(SkillError, match=says) as caught:
        Skill.read(folder)
    error = caught.value
    assert error.where == str(folder / "SKILL.md")
    assert error.key == key
    assert error.hint
    if line is not None:
        assert error.line == line


# Each of these once took seconds, overflowed the stack or grew without bound in a YAML library that was simply called.
HOSTILE = {
    "brackets": "[" * 30_000,
    "brackets after closed ones in a comment": "x #" + "]" * 15_000 + "\nb: " + "[" * 15_000,
    "brackets between comments that close them": "[ #]\n" * 6_000,
    "blocks": "\n" + "- " * 15_000,
    "complex keys": "\n" + "? " * 15_000,
    "indents": "\n" + "".join(" " * (i + 1) + "a:\n" for i in range(240)),
    "doubling aliases": "\n  a: &a [x, x]\n" + "".join(f"  a{i}: &a{i} [*a, *a]\n" for i in range(30)),
    "an endless number": "1" + ":1" * 15_000,
    "a long number": "9" * 30_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_front_matter_is_refused_at_once(tmp_path, name):
    folder = write(tmp_path, HEAD + "metadata: " + HOSTILE[name] + "\n---\nx")
    (problem,) = Skill.check(folder)
    assert problem.line >= 4  # so it was the YAML that was refused, and not the size of it
    assert problem.hint


def test_the_costliest_front_matter_of_the_allowed_size_is_cheap(tmp_path):
    text = HEAD + "metadata: {" + "".join(f"k{i}: v," for i in range(3_500)) + "}\n"
    assert MAX_CHARACTERS * 0.9 < len(text) < MAX_CHARACTERS
    assert len(Skill.read(write(tmp_path, text + "---\nx")).metadata) == 3_500


def test_nesting_is_counted_by_what_is_nested_and_not_by_brackets(tmp_path):
    value = "[" * 200
    assert Skill.read(write(tmp_path, f'---\nname: my-skill\ndescription: "{value}"\n---\nx')).description == value
    for depth, says in ((MAX_NESTING - 2, "not text but list"), (MAX_NESTING, "nested too deeply")):
        (problem,) = Skill.check(write(tmp_path, HEAD + "license: " + "[" * depth + "]" * depth + "\n---\nx"))
        assert says in problem.problem


def test_lines_are_counted_as_editors_do(tmp_path):
    (problem,) = Skill.check(write(tmp_path, '---\nname: my-skill\ndescription: "a\u2028b\x85c"\nauthor: me\n---\nx'))
    assert (problem.key, problem.line) == ("author", 4)


@settings(max_examples=300)
@given(
    front=st.text(st.sampled_from("ab:-[]{}#&*!|>'\"%@`?, \n\t\\0x<~\u2028\x85"), max_size=40) | st.text(max_size=40)
)
def test_no_front_matter_escapes_with_another_error(tmp_path_factory, front):
    try:
        values, lines = parse_front(tmp_path_factory.getbasetemp(), front, first_line=2)
    except SkillError as error:
        assert 2 <= error.line <= 2 + front.count("\n")
    else:
        assert values.keys() <= lines.keys()


def test_all_problems_are_listed_at_once(tmp_path):
    folder = write(tmp_path, "---\nname: Bad\nextra: 1\n---\n")
    assert {problem.key for problem in Skill.check(folder)} == {"name", "extra", "description", None}


def test_every_scalar_is_text(tmp_path):
    front = "---\nname: 123\ndescription: no\nlicense: 2020-99-99\nmetadata:\n  version: 1.0\n  1: ~\n---\nx"
    skill = Skill.read(write(tmp_path, front, name="123"))
    assert (skill.name, skill.description, skill.license) == ("123", "no", "2020-99-99")
    assert skill.metadata == {"version": "1.0", "1": "~"}


def test_names_are_of_any_script_and_compared_in_one_form(tmp_path):
    wide = "\uff41\uff42-\u00e9"  # full-width letters
    skill = Skill.read(
        write(tmp_path, f"---\nname: {wide}\ndescription: d\n---\nx", name="abe\u0301".replace("b", "b-"))
    )
    assert skill.name == "ab-\u00e9"
    assert Skill.read(skill.write(tmp_path / "out")) == skill
    with pytest.raises(SkillError, match="form in which names are compared"):
        Skill(wide, "d", "b").write(tmp_path)


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


def test_a_page_in_small_letters_is_read_and_other_spellings_are_named(tmp_path):
    folder = write(tmp_path, GOOD)
    (folder / "SKILL.md").rename(folder / "skill.md")
    assert Skill.read(folder).name == "my-skill"
    (folder / "skill.md").rename(folder / "Skill.MD")
    with pytest.raises(SkillError, match=r"rename Skill\.MD to SKILL\.md"):
        Skill.read(folder)


def test_a_dead_link_and_a_folder_are_no_pages(tmp_path):
    folder = tmp_path / "my-skill"
    folder.mkdir()
    (folder / "SKILL.md").symlink_to("nowhere")
    with pytest.raises(SkillError, match="leads nowhere"):
        Skill.read(folder)
    (folder / "SKILL.md").unlink()
    (folder / "SKILL.md").mkdir()
    with pytest.raises(SkillError, match="not a file"):
        Skill.read(folder)


def test_a_link_inside_the_folder_is_followed(tmp_path):
    folder = write(tmp_path, GOOD)
    (folder / "SKILL.md").rename(folder / "page.md")
    (folder / "SKILL.md").symlink_to("page.md")
    assert Skill.read(folder).body == "Do it."


def test_a_linked_folder_goes_by_the_name_of_the_link(tmp_path, monkeypatch):
    store = write(tmp_path, GOOD, name="store-4f2a")
    (tmp_path / "my-skill").symlink_to(store)
    assert Skill.read(tmp_path / "my-skill").name == "my-skill"
    monkeypatch.chdir(write(tmp_path, GOOD, name="inner"))
    with pytest.raises(SkillError, match="differs from its folder 'inner'"):
        Skill.read(".")


@pytest.mark.parametrize(
    ("folder", "says"), [("absent", "no such folder"), ("a" * 5000, "cannot be read"), ("a\0b", "cannot be read")]
)
def test_a_path_that_cannot_be_is_a_skill_error(tmp_path, folder, says):
    with pytest.raises(SkillError, match=says):
        Skill.read(tmp_path / folder)


texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60).filter(str.strip)
names = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,3}", fullmatch=True)


@settings(max_examples=60)
@given(
    name=names,
    description=texts,
    body=texts,
    license=st.none() | texts,
    compatibility=st.none() | texts,
    allowed_tools=st.none() | texts,
    metadata=st.dictionaries(st.text(string.ascii_letters, min_size=1, max_size=8), texts, max_size=3),
)
def test_what_is_written_is_read_back(tmp_path_factory, name, description, body, **optional):
    skill = Skill(name, description.strip(), body.strip(), **optional)
    folder = skill.write(tmp_path_factory.mktemp("skills"))
    assert Skill.read(folder) == skill


@pytest.mark.parametrize(
    "value", ["no", "1", "2020-01-01", "*x", "a\n---\nb", "a: b", "# a", "~", "'", "a\u2028b", "a\tb"]
)
def test_values_that_yaml_would_read_otherwise_come_back_as_they_were(tmp_path, value):
    skill = Skill("a", value, "---\nx", license=value, metadata={"tasks": value, value: "x"})
    assert Skill.read(skill.write(tmp_path)) == skill


@pytest.mark.parametrize(
    ("skill", "says"),
    [
        (Skill("../escape", "d", "b"), "not a valid name"),
        (Skill("", "d", "b"), "is empty"),
        (Skill("a", "", "b"), "description: is empty"),
        (Skill("a", "d", " \n"), "page is empty"),
        (Skill("a", "d", "b\0"), "NUL"),
        (Skill("a", "d", "\ud800"), "not UTF-8"),
        (Skill("a", "d\ud800", "b"), "control character"),
        (Skill("a", "d", "b", license=""), "license: is empty"),
        (Skill("a", "d", "b", metadata={"n": 1}), r"metadata\.n: is not text"),
        (Skill("a", "d", "b" * MAX_BYTES), "over 1,000,000 bytes"),
        (Skill("a", "d", "b", metadata={"x": "y" * MAX_CHARACTERS}), "over 32,000 characters"),
    ],
)
def test_a_skill_that_could_not_be_read_back_is_not_written(tmp_path, skill, says):
    with pytest.raises(SkillError, match=says) as caught:
        skill.write(tmp_path)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_writing_replaces_a_page_and_leaves_what_is_beside_it(tmp_path):
    folder = Skill("a", "d", "old").write(tmp_path)
    (folder / "references").mkdir()
    Skill("a", "d", "new").write(tmp_path)
    assert Skill.read(folder).body == "new"
    assert sorted(entry.name for entry in folder.iterdir()) == ["SKILL.md", "references"]


def test_a_place_that_cannot_be_written_is_a_named_error(tmp_path):
    (tmp_path / "a").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot be written"):
        Skill("a", "d", "b").write(tmp_path)


def test_a_hostile_path_does_not_reach_the_terminal():
    message = str(SkillError("bad", where="/tmp/\x1b[31mred", key="a\x07b", hint="fix it"))
    assert "\x1b" not in message
    assert "\x07" not in message
    assert "\\x1b[31mred" in message
