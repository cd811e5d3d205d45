"""The same verdict as the reference library, on generated skills and near misses and on pages of the awkward kind.

A few examples here; `python tests/fuzz_skills.py --against-reference` goes on for as long as it is let.
"""

from __future__ import annotations

import shutil
from collections import Counter

import pytest
from hypothesis import example, given, settings

from imprint.skills.validate import validate
from skill_pages import noise, reference_says, skills

HEAD = "---\nname: a\ndescription: d\n"


def compare(root, folder_name, data):
    folder = root / folder_name
    folder.mkdir()
    try:
        (folder / "SKILL.md").write_bytes(data)
        theirs, ours = reference_says(folder), validate(folder)
    finally:
        shutil.rmtree(folder)
    if theirs is not None:  # else it has no verdict: docs/manual/skills.md says what ours is
        assert ours.valid == theirs, [issue.describe() for issue in ours.issues]
    return theirs, ours


@settings(max_examples=120)
@given(skill=skills())
def test_generated_skills_get_the_same_verdict(tmp_path_factory, skill):
    compare(tmp_path_factory.getbasetemp(), *skill)


@settings(max_examples=120)
@given(before=noise, after=noise)
@example("", "license: =\n")
@example("", "\n\t\n")
def test_noise_in_the_front_matter_gets_the_same_verdict(tmp_path_factory, before, after):
    page = f"---\n{before}\nname: a\ndescription: d\n{after}\n---\nx".encode("utf-8", "surrogatepass")
    compare(tmp_path_factory.getbasetemp(), "a", page)


def test_generated_skills_get_both_verdicts(tmp_path_factory):
    seen = Counter()

    @settings(max_examples=200, derandomize=True, database=None)  # a count of random draws would fail now and then
    @given(skill=skills())
    def look(skill):
        theirs, _ = compare(tmp_path_factory.getbasetemp(), *skill)
        seen[theirs] += 1

    look()
    assert seen[True] > 5 and seen[False] > 50, seen


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (HEAD + "---\nx", True),
        (HEAD + "---\n", True),
        ("---\nname: a\ndescription: 3\n---\nx", True),
        (HEAD + "metadata:\n  version: 1.0\n---\nx", True),
        (HEAD + "metadata: x\nlicense:\n  - a\nallowed-tools:\n  a: b\n---\nx", True),
        (HEAD + "metadata:\n  a:\n    b: c\n  d:\n      e: f\n---\nx", False),
        (HEAD + "compatibility:\n---\nx", True),
        (HEAD + "compatibility: =\n---\nx", False),
        (HEAD + "license: a --- b\nauthor: me\n---\nx", True),  # cut at the dashes, so that the author is not seen
        ("---\nname: a\ndescription: 'a --- b'\n---\nx", False),  # cut within the quotes
        ("---name: a\ndescription: d\n---\nx", True),
        ("--- \nname: a\ndescription: d---", True),
        ("\ufeff" + HEAD + "---\nx", False),
        (HEAD.replace("\n", "\r\n") + "---\r\nx", True),
        (HEAD.replace("\n", "\r") + "---\rx", True),
        (HEAD + "<<:\n  author: x\n---\nx", True),
        (HEAD + "'<<':\n  author: x\n---\nx", False),
        (HEAD + ": x\n---\nx", False),
        (HEAD + "? license\n---\nx", True),
        (HEAD + "license: a\n...\n---\nx", True),
        (HEAD + "license: a\n...\n...\n---\nx", False),
        (HEAD + "metadata: {a: b}\n---\nx", False),
        (HEAD + "license:\n\n\t x\n---\nx", True),  # a tab after an empty line
        (HEAD + "license: a\x85b\n---\nx", True),
        (HEAD + "license: |\n  a\n\n\n# c\nmetadata:\n  # x\n  a: b\n---\nx", True),
        (HEAD + "license:\n " + "- " * 150 + "x\n---\nx", True),
    ],
)
def test_awkward_pages_get_the_same_verdict(tmp_path, text, valid):
    _, ours = compare(tmp_path, "a", text.encode())
    assert ours.valid == valid


# The reference stops with a traceback: it has no verdict, and ours is that the skill is invalid.
NO_VERDICT = {
    "not UTF-8": HEAD.encode() + b"---\n\xff",
    "a key that is a list": (HEAD + "? - a\n: b\n---\nx").encode(),
    "an escape that is no character": (HEAD + 'license: "\\UFFFFFFFF"\n---\nx').encode(),
    "two merges": (HEAD + "<<:\n  a: b\n<<:\n  c: d\n---\nx").encode(),
    "deep nesting": (HEAD + "license:\n " + "- " * 300 + "x\n---\nx").encode(),
}


@pytest.mark.parametrize("name", NO_VERDICT)
def test_where_the_reference_has_no_verdict_ours_is_invalid(tmp_path, name):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "SKILL.md").write_bytes(NO_VERDICT[name])
    assert reference_says(folder) is None
    assert not validate(folder).valid


def test_what_the_reference_takes_minutes_for_is_invalid_at_once(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    values = "".join(f"  k{i}: v\n" for i in range(10_001))
    (folder / "SKILL.md").write_text(HEAD + "metadata:\n" + values + "---\nx")
    assert not validate(folder).valid


def test_where_the_reference_stumbles_over_a_comment_ours_goes_by_the_rules(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "SKILL.md").write_text(HEAD + "license:\n\n- # c\n---\nx")
    assert reference_says(folder) is None
    assert validate(folder).valid
