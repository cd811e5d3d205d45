"""`imprint skills validate`: paths, formats, exit codes, and that nothing in a name reaches the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from imprint.cli import app
from test_sarif import check_sarif

ROOT = Path(__file__).parents[1]
GOOD = "---\nname: {name}\ndescription: d\n---\n# Do it\n"


def call(*arguments, status=0):
    result = CliRunner().invoke(app, ["skills", "validate", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


def skill(parent, name, text=GOOD):
    (parent / name).mkdir(parents=True)
    (parent / name / "SKILL.md").write_text(text.replace("{name}", name))
    return parent / name


def test_paths_are_skills_pages_and_trees_each_skill_once(tmp_path):
    one, two = skill(tmp_path, "one"), skill(tmp_path / ".claude" / "skills", "two")
    for paths in ([tmp_path], [one, two], [one / "SKILL.md", two], [tmp_path, one, tmp_path]):
        output = call(*paths).stdout
        assert sorted(output.split()) == ["one:", "two:", "valid", "valid"]
    assert "household-heat: valid" in call().stdout


def test_linked_skills_are_validated_as_training_reads_them(tmp_path):
    library, shared = tmp_path / "library", tmp_path / "shared"
    skill(library, "fine")
    (library / "linked").symlink_to(skill(shared, "linked"))
    (library / "gone").symlink_to("nowhere")
    said = call(library, status=1).output
    assert "fine: valid" in said and "linked: valid" in said
    assert "error[page-missing]" in said and "gone" in said


def test_status_1_is_for_errors_and_with_strict_for_warnings(tmp_path):
    loose = skill(tmp_path, "loose", "---\nname: loose\ndescription: d\neffort: high\n---\nx")
    found = call(loose, status=1)
    assert "error[key-unknown]" in found.stdout and "SKILL.md:4: effort: unknown key" in found.stdout
    assert "1 error and 0 warnings in 1 skill" in found.stderr
    assert "warning[key-unknown]" in call(loose, "--lenient").stdout
    call(loose, "--lenient", "--strict", status=1)
    call(skill(tmp_path, "good"), "--strict")


def test_status_2_is_for_what_cannot_be_read(tmp_path):
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for path in ("absent", "file.txt", "empty"):
        call(tmp_path / path, status=2)
    call("--format", "xml", status=2)


def test_json_holds_every_finding(tmp_path):
    skill(tmp_path, "good")
    skill(tmp_path, "bad", "---\nname: worse\n---\nx")
    out = tmp_path / "out" / "report.json"
    assert call(tmp_path, "--format", "json", "--output", out, status=1).stdout == ""
    report = json.loads(out.read_text())
    assert report["version"] == 1 and report["lenient"] is False
    assert report["summary"] == {"skills": 2, "valid": 1, "errors": 2, "warnings": 0}
    bad, good = report["skills"]
    assert (good["valid"], good["findings"], good["name"]) == (True, [], "good")
    assert {(one["rule"], one["level"], one["line"], one["key"]) for one in bad["findings"]} == {
        ("name-folder", "error", 2, "name"),
        ("description-missing", "error", 1, "description"),
    }
    assert json.loads(call(tmp_path, "--format", "json", status=1).stdout) == report


def test_sarif_is_sound_and_relative_to_the_current_folder(tmp_path, monkeypatch):
    skill(tmp_path, "a b", "---\nname: c\ndescription: d\n---\n[x](../y)")
    monkeypatch.chdir(tmp_path)
    report = json.loads(call(".", "--format", "sarif", status=1).stdout)
    check_sarif(report)
    results = report["runs"][0]["results"]
    assert {result["ruleId"] for result in results} == {"name-folder", "reference-outside"}
    assert {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in results} == {
        "a%20b/SKILL.md"
    }


def test_names_of_files_do_not_reach_the_terminal(tmp_path):
    skill(tmp_path, "x\x1b[31m\nfake: valid", '---\nname: "\\e[0m\\ud800"\ndescription: d\n---\nx')
    output = call(tmp_path, status=1).stdout
    assert "\x1b" not in output and "\nfake" not in output
    json.loads(call(tmp_path, "--format", "json", status=1).stdout.encode())
    check_sarif(json.loads(call(tmp_path, "--format", "sarif", status=1).stdout))


def test_skills_that_do_not_fit_a_world_are_errors(tmp_path):
    page = skill(tmp_path, "a", GOOD.replace("d\n---", 'd\nmetadata:\n  tasks: "dance"\n---'))
    report = json.loads(call(page, "--env", "household", "--format", "json", status=1).stdout)
    assert {one["rule"] for one in report["others"]} == {"env-tasks"}
    call("--env", "household")


def test_the_hook_is_one_that_pre_commit_takes():
    clientlib = pytest.importorskip("pre_commit.clientlib")
    (hook,) = clientlib.load_manifest(ROOT / ".pre-commit-hooks.yaml")
    assert hook["id"] == "imprint-skills-validate"
    assert hook["entry"].split() == ["imprint", "skills", "validate"]
    assert yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())[0]["files"] == r"(^|/)(SKILL|skill)\.md$"


def test_validating_imports_nothing_heavy(tmp_path):
    import subprocess

    code = (
        "import sys; from typer.testing import CliRunner; from imprint.cli import app;"
        f"assert CliRunner().invoke(app, ['skills', 'validate', {str(skill(tmp_path, 'a'))!r}]).exit_code == 0;"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
