"""SARIF: what code scanning services require of a report, held against reports with awkward names and texts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprint.support.sarif import Result, Rule, sarif, uri

LEVELS = {"none", "note", "warning", "error"}
RULE = Rule("name-folder", "NameFolder", "The name differs from the folder.", "Give both the same name.")


def check_sarif(report):
    """The requirements of GitHub's code scanning (and of the format, for what we write)."""
    text = json.dumps(report, ensure_ascii=False)
    assert json.loads(text.encode("utf-8")) == report  # so it holds no half characters
    assert report["version"] == "2.1.0"
    assert report["$schema"].startswith("https://")
    (run,) = report["runs"]
    assert set(run) == {"tool", "columnKind", "results"}
    driver = run["tool"]["driver"]
    assert driver["name"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids))
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in LEVELS
        assert len(rule["name"]) <= 255
        for key in ("shortDescription", "fullDescription", "help"):
            assert 0 < len(rule[key]["text"]) <= (1024 if key != "help" else 10_000)
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in LEVELS
        assert result["message"]["text"]
        (place,) = (location["physicalLocation"] for location in result["locations"])
        split = urlsplit(place["artifactLocation"]["uri"])
        assert split.scheme in ("", "file")
        assert split.path and not split.query and not split.fragment
        assert split.path.isascii() and " " not in split.path and ".." not in split.path.split("/")
        assert place["region"]["startLine"] >= 1


def test_a_report_has_what_services_require():
    found = Result("name-folder", "error", "differs", "a/SKILL.md", 2)
    report = sarif("imprint skills validate", "1.2", [RULE], [found])
    assert report["runs"][0]["tool"]["driver"]["version"] == "1.2"
    check_sarif(report)
    (result,) = report["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "a/SKILL.md"},
        "region": {"startLine": 2},
    }
    check_sarif(sarif("imprint", "1.2", [], []))


def test_properties_and_other_levels_are_kept():
    rule = Rule("x", "X", "s", "h", "note", {"security-severity": "8.0", "tags": ["security"]})
    report = sarif("imprint", "1.2", [RULE, rule], [Result("x", "error", "m", "f")])
    check_sarif(report)
    assert report["runs"][0]["tool"]["driver"]["rules"][1]["properties"]["security-severity"] == "8.0"
    assert report["runs"][0]["results"][0]["level"] == "error"


def test_a_result_needs_its_rule_and_rules_are_told_apart():
    with pytest.raises(ValueError, match="no rule"):
        sarif("imprint", "1.2", [RULE], [Result("other", "error", "m", "f")])
    with pytest.raises(ValueError, match="share"):
        sarif("imprint", "1.2", [RULE, RULE], [])


@settings(max_examples=200)
@given(
    name=st.binary(min_size=1, max_size=12).map(os.fsdecode).filter(lambda name: not {"/", "\0"} & set(name)),
    message=st.text(st.characters(), min_size=1, max_size=20),
    line=st.integers(-2, 10),
)
def test_any_name_and_text_make_a_sound_report_and_the_name_comes_back(name, message, line):
    base = Path("/base")
    found = uri(base / "skills" / name / "SKILL.md", base)
    check_sarif(sarif("imprint", "1.2", [RULE], [Result("name-folder", "warning", message, found, line)]))
    if name not in (".", ".."):
        assert os.fsencode(unquote(found, errors="surrogateescape")) == b"skills/" + os.fsencode(name) + b"/SKILL.md"


def test_paths_are_relative_to_the_current_folder_where_they_can_be(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert uri(Path("a b/c:d/SKILL.md")) == "a%20b/c%3Ad/SKILL.md"
    assert uri(tmp_path / "here" / "x") == "x"
    outside = uri(Path("../there"))
    assert outside.startswith("file:///") and outside.endswith("/there") and ".." not in outside
