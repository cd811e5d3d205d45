"""What `validate` finds beside the reference's verdict, where it differs on purpose, and pages that mean harm."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz_skills import confined, run_one
from imprint.skills.validate.rules import LENIENT, RULES
from imprint.skills.validate.spec import MAX_FILE, same_names, validate
from imprint.skills.validate.strict import MAX_CHARACTERS, MAX_NESTING, MAX_VALUES
from skill_pages import reference_says

HEAD = "---\nname: a\ndescription: d\n"
GOOD = HEAD + "---\n# Do it\n"


def skill(tmp_path, text=GOOD, name="a"):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "SKILL.md").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def told(folder, **options):
    return [(one.level, one.rule, one.line, one.key) for one in validate(folder, **options).issues]


def test_a_good_skill_has_no_findings(tmp_path):
    report = validate(skill(tmp_path))
    assert (report.valid, report.name, report.issues) == (True, "a", ())


@pytest.mark.parametrize(
    ("text", "rule", "line", "key"),
    [
        ("x", "front-missing", 1, None),
        (HEAD, "front-missing", 1, None),
        ("\ufeff" + GOOD, "front-missing", 1, None),
        (HEAD + "license: a: b\n---\nx", "front-yaml", 4, None),
        (HEAD + "metadata: {a: b}\n---\nx", "front-yaml", 4, None),
        (HEAD + "license: &a b\n---\nx", "front-yaml", 4, None),
        (HEAD + "license: !!str b\n---\nx", "front-yaml", 4, None),
        (HEAD + "name: a\n---\nx", "front-yaml", 4, None),
        ("---\n- a\n---\nx", "front-yaml", 1, None),
        (HEAD + "author: me\n---\nx", "key-unknown", 4, "author"),
        ("---\ndescription: d\n---\nx", "name-missing", 1, "name"),
        ("---\nname:\ndescription: d\n---\nx", "name-missing", 2, "name"),
        ("---\nname:\n  - a\ndescription: d\n---\nx", "name-missing", 2, "name"),
        ("---\nname: b\ndescription: d\n---\nx", "name-folder", 2, "name"),
        ("---\nname: a\n---\nx", "description-missing", 1, "description"),
        ("---\nname: a\ndescription: ' '\n---\nx", "description-missing", 3, "description"),
        (f"---\nname: a\ndescription: {'d' * 1025}\n---\nx", "description-long", 3, "description"),
        (HEAD + f"compatibility: {'c' * 501}\n---\nx", "compatibility-format", 4, "compatibility"),
        (HEAD + "compatibility:\n  - a\n---\nx", "compatibility-format", 4, "compatibility"),
        (HEAD.encode() + b"---\n\n\xff", "page-unreadable", 6, None),
    ],
)
def test_every_error_has_its_rule_line_and_key(tmp_path, text, rule, line, key):
    errors = validate(skill(tmp_path, text)).errors
    assert [(one.rule, one.line, one.key) for one in errors] == [(rule, line, key)]
    assert errors[0].hint


@pytest.mark.parametrize(
    ("text", "rule", "line"),
    [
        (HEAD + "---\n \n", "body-empty", 4),
        (HEAD + "---\n" + "x\n" * 501, "body-long", 4),
        (HEAD + "---\n" + "word " * 4_100, "body-long", 4),
        (HEAD + "license:\n---\nx", "value-format", 4),
        (HEAD + "metadata: x\n---\nx", "value-format", 4),
        (HEAD + "metadata:\n  a: b\n  c:\n    d: e\n---\nx", "value-format", 6),
        (HEAD + "allowed-tools:\n  - Read\n---\nx", "value-format", 4),
        (HEAD + "license: a --- b\n---\nx", "front-dashes", 4),
        (GOOD.replace("\n", "\r\n"), "encoding", 1),
        (GOOD + "\x1b[31m", "control-character", 6),
        (GOOD + "\nx\u202ey", "invisible-character", 7),
        (GOOD + "[x](no/such.md)", "reference-missing", 6),
        (GOOD + "[x](../b/SKILL.md#part)", "reference-outside", 6),
        (GOOD + "![x](/etc/passwd)", "reference-outside", 6),
        (GOOD + "[x](%2e%2e/b)", "reference-outside", 6),
        (GOOD + "\0", "control-character", 6),
    ],
)
def test_every_warning_has_its_rule_and_line_and_leaves_the_skill_valid(tmp_path, text, rule, line):
    report = validate(skill(tmp_path, text))
    assert report.valid
    assert (rule, line) in [(one.rule, one.line) for one in report.warnings]


def test_references_are_looked_up_in_the_folder(tmp_path):
    body = (
        "[a](references/a.md) [b](<b.md>) [web](https://x.y/z) [#](#part) [t]({base}/x) `scripts/run.sh` assets/none\n"
    )
    body += (
        "```\n[c](missing.md) scripts/missing.sh\n```\n`scripts/gone.py` references/x/deep.md [up](references/../b.md)"
    )
    folder = skill(tmp_path, GOOD + body)
    (folder / "references" / "x").mkdir(parents=True)
    (folder / "scripts").mkdir()
    for name in ("references/a.md", "references/x/deep.md", "b.md", "scripts/run.sh"):
        (folder / name).write_text("x")
    found = {(one.rule, one.line, one.problem.split("'")[1]) for one in validate(folder).issues}
    assert found == {  # not assets/none: the skill has no assets, so that they are its user's
        ("reference-missing", 10, "scripts/gone.py"),
        ("reference-deep", 10, "references/x/deep.md"),
    }


def test_links_are_told_and_none_is_followed_out(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    folder = skill(tmp_path, GOOD + "[k](out/key) [in](near.md) [round](round)")
    for name, target in (("out", "../secret"), ("near.md", "SKILL.md"), ("dead", "nowhere"), ("round", "round")):
        (folder / name).symlink_to(target)
    (folder / "absolute").symlink_to(tmp_path / "secret")
    with confined(folder):
        found = validate(folder).issues
    assert {(one.rule, one.file.name) for one in found} == {
        ("reference-outside", "SKILL.md"),
        ("reference-missing", "SKILL.md"),
        ("link-outside", "out"),
        ("link-outside", "absolute"),
        ("link", "near.md"),
        ("link", "dead"),
        ("link", "round"),
    }


def test_names_given_twice_are_told_at_the_later_one(tmp_path):
    (tmp_path / "x").mkdir()
    one, other = validate(skill(tmp_path)), validate(skill(tmp_path / "x"))
    reports = same_names([one, other])
    assert [[issue.rule for issue in report.issues] for report in reports] == [[], ["name-twice"]]


def test_what_imprint_would_not_read_is_told(tmp_path):
    folder = skill(tmp_path, HEAD + 'license: "a\\eb"\n---\nx')
    (issue,) = validate(folder).issues
    assert (issue.level, issue.rule, issue.key) == ("warning", "imprint-refuses", "license")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (HEAD + "argument-hint: '[file]'\neffort: high\n---\nx", "key-unknown"),
        ("---\nname: My Skill\ndescription: d\n---\nx", "name-format"),
        ("---\nname: b\ndescription: d\n---\nx", "name-folder"),
        ("---\ndescription: d\n---\nx", "name-missing"),
        ("---\nname: a\ndescription: Use when: always\n---\nx", "front-yaml"),
        ("---\nname: a\ndescription: 'a --- b'\n---\nx", "front-dashes"),
        ("---\nname: a\ndescription: d\nallowed-tools: [Read, Write]\nmetadata: {a: 1}\n---\nx", "front-yaml"),
        (f"---\nname: a\ndescription: {'d' * 1025}\n---\nx", "description-long"),
        ("\ufeff" + GOOD, "encoding"),
    ],
)
def test_lenient_takes_what_clients_take_with_a_warning(tmp_path, text, rule):
    folder = skill(tmp_path, text)
    assert not validate(folder).valid
    report = validate(folder, lenient=True)
    assert report.valid
    assert rule in {one.rule for one in report.warnings}


@pytest.mark.parametrize("text", ["x", HEAD, "---\nname: a\n---\nx", "---\nno keys\n---\nx", "---\nname: a: b\n---\nx"])
def test_lenient_still_wants_front_matter_and_a_description(tmp_path, text):
    assert not validate(skill(tmp_path, text), lenient=True).valid


# What docs/manual/skills.md lists: the reference has a verdict, and ours differs on purpose.
def test_difference_a_link_out_of_the_folder_is_not_read(tmp_path):
    folder = skill(tmp_path)
    (folder / "SKILL.md").rename(tmp_path / "elsewhere")
    (folder / "SKILL.md").symlink_to(tmp_path / "elsewhere")
    with confined(folder):
        assert told(folder) == [("error", "page-unreadable", None, None)]
    assert reference_says(folder)


def test_difference_limits_where_the_reference_goes_on_for_seconds_or_minutes(tmp_path):
    large = skill(tmp_path, GOOD.encode() + b"x" * MAX_FILE)
    assert told(large) == [("error", "page-unreadable", None, None)]
    for text in (
        HEAD + "license: " + "x" * MAX_CHARACTERS + "\n---\nx",
        HEAD + "metadata:\n" + "".join(f" k{i}: v\n" for i in range(MAX_VALUES)) + "---\nx",
        HEAD + "license:\n " + "- " * MAX_NESTING + "x\n---\nx",
    ):
        (error,) = validate(skill(tmp_path, text)).errors
        assert error.rule == "front-limit"


def test_difference_a_bare_dot_goes_by_the_name_of_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(skill(tmp_path))
    assert validate(".").valid
    assert not reference_says(type(tmp_path)("."))


def test_a_page_that_is_no_file_is_not_waited_for(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    os.mkfifo(folder / "SKILL.md")
    assert told(folder) == [("error", "page-unreadable", None, None)]
    (folder / "SKILL.md").unlink()
    (folder / "SKILL.md").mkdir()
    assert told(folder) == [("error", "page-unreadable", None, None)]


def test_a_dead_link_counts_as_no_page_and_other_spellings_are_named(tmp_path):
    folder = skill(tmp_path)
    (folder / "SKILL.md").rename(folder / "skill.md")
    (folder / "SKILL.md").symlink_to("nowhere")
    assert validate(folder).valid == reference_says(folder) is True
    (folder / "SKILL.md").unlink()
    (folder / "skill.md").rename(folder / "Skill.md")
    (issue,) = validate(folder).issues
    assert (issue.rule, issue.hint) == ("page-missing", "rename Skill.md to SKILL.md")


@pytest.mark.parametrize("path", ["absent", "a" * 5_000, "a\0b", "f" * 300])
def test_a_path_that_cannot_be_is_a_finding(tmp_path, path):
    assert next(one.rule for one in validate(tmp_path / path).errors).startswith("page-")


HOSTILE = {
    "10 MB of front matter": HEAD.encode() + b"license: " + b"x " * 5_000_000 + b"\n---\nx",
    "a YAML bomb": HEAD.encode()
    + b"metadata:\n  a: &a [x, x]\n"
    + b"".join(b"  b%d: &b%d [*a, *a]\n" % (i, i) for i in range(30)),
    "NUL bytes": HEAD.encode() + b"license: \0\0\n---\n" + b"\0" * 100_000,
    "only NUL bytes": b"\0" * 1_000_000,
    "deep lists": HEAD.encode() + b"license: " + b"[" * 100_000 + b"\n---\nx",
    "deep blocks": HEAD.encode() + b"license:\n " + b"- " * 90_000 + b"\n---\nx",
    "deep complex keys": HEAD.encode() + b"? " * 90_000 + b"\n---\nx",
    "many dashes": b"---" * 1_000_000,
    "lines of dashes": b"---\n" + b" ---x\n" * 300_000,
    "many links": GOOD.encode() + b"[x](../x) " * 100_000,
    "open brackets": GOOD.encode() + b"](" * 300_000,
    "paths": GOOD.encode() + b"scripts/" * 300_000,
    "fences": GOOD.encode() + b"```\n" * 100_000,
    "unknown keys": HEAD.encode() + b"".join(b"k%d: v\n" % i for i in range(4_000)) + b"---\nx",
    "comments": HEAD.encode() + b"#\n" * 90_000 + b"---\nx",
    "blank lines": HEAD.encode() + b"\n\t" * 90_000 + b"---\nx",
    "a long name": b"---\nname: " + b"\xef\xb7\xba" * 60_000 + b"\ndescription: d\n---\nx",
    "escapes in a name": b'---\nname: "\\e[31m\\u202e"\ndescription: d\n---\nx',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_means_harm_is_told_at_once(tmp_path, name):
    folder = skill(tmp_path, HOSTILE[name])
    (folder / "scripts").mkdir()
    start = time.thread_time()
    with confined(folder):
        report = validate(folder)
        validate(folder, lenient=True)
    assert time.thread_time() - start < 30  # a hang, and not a slow machine
    assert len(report.issues) <= 100
    assert report.issues or name == "paths"
    for issue in report.issues:
        assert all(c.isprintable() or c == "\n" for c in issue.describe())
        assert len(issue.problem) < 400


@settings(max_examples=80)
@given(data=st.binary(max_size=60))
@example(data=b"\x06" + b"../..\n/etc\nSKILL.md")
@example(data=b"\x06" + b"\xff" * 300 + b"\n" + b"a" * 4_000)
@example(data=b"\x07\x1b[31m\n\xffname")
@example(data=b"\x04../../etc/passwd")
def test_no_skill_crashes_hangs_or_leads_out(tmp_path_factory, data):
    run_one(data, tmp_path_factory.getbasetemp())


def test_rules_are_told_apart_and_lenient_ones_are_errors():
    assert all(rule.id == id and rule.short and rule.help for id, rule in RULES.items())
    assert all(RULES[id].level == "error" for id in LENIENT)
