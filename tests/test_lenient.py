"""Skills as real clients read them."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from typer.testing import CliRunner

from imprint.cli import app
from imprint.errors import LibraryError, SkillError
from imprint.skills.lenient import read_lenient
from imprint.skills.library import load_library
from imprint.skills.skill import EMPTY_PAGE, Skill, broken_name
from imprint.skills.validate.spec import validate
from skill_pages import noise, skills

LOOSE = """---
name: PDF Tools
description: Use this for PDFs: forms, tables.
version: 1.2
allowed-tools: [Read, Bash]
metadata: {tasks: "forms", depth: {a: b}}
---

Fill the form.
"""


def put(parent: Path, name: str, text: str) -> Path:
    (parent / name).mkdir()
    (parent / name / "SKILL.md").write_text(text)
    return parent / name


def test_what_clients_accept_is_read(tmp_path: Path) -> None:
    quoted = LOOSE.replace("Use this for PDFs: forms, tables.", '"Use this for PDFs: forms, tables."')
    folder = put(tmp_path, "pdf", quoted)
    with pytest.raises(SkillError):
        Skill.read(folder)
    skill = read_lenient(folder)
    assert (skill.name, skill.allowed_tools, skill.body) == ("pdf-tools", "Read Bash", "Fill the form.")
    assert skill.description == "Use this for PDFs: forms, tables." and skill.metadata == {"tasks": "forms"}
    assert skill.path == folder


def test_yaml_that_is_none_is_read_line_by_line(tmp_path: Path) -> None:
    skill = read_lenient(put(tmp_path, "pdf", LOOSE))
    assert skill.description == "Use this for PDFs: forms, tables." and skill.name == "pdf-tools"


@pytest.mark.parametrize(
    ("front", "name"), [("", "my-folder"), ("name: '!!'\n", "my-folder"), ("name: [a, b]\n", "a-b"), ("name: É\n", "é")]
)
def test_a_name_is_made_where_there_is_none(tmp_path: Path, front: str, name: str) -> None:
    assert read_lenient(put(tmp_path, "My Folder", f"---\n{front}description: d\n---\nx")).name == name


def test_a_valid_skill_is_read_as_always(tmp_path: Path) -> None:
    folder = put(tmp_path, "a", "---\nname: a\ndescription: d\n---\nx")
    assert read_lenient(folder) == Skill.read(folder)


@pytest.mark.parametrize(
    "text", ["no front matter", "---\nname: a\n---\nx", "---\nname: a\ndescription: d\nx: y\n---\n", "---\n\0"]
)
def test_what_is_no_skill_to_anybody_stays_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(SkillError) as told:
        read_lenient(put(tmp_path, "a", text))
    assert told.value.hint


def holds_no_surprise(folder: Path) -> None:
    accepted = validate(folder, lenient=True).valid
    try:
        skill = read_lenient(folder)
    except SkillError as error:
        assert not accepted or EMPTY_PAGE in error.problem or error.key == "name", error.describe()
        return
    assert accepted or skill == Skill.read(folder)
    assert not broken_name(skill.name) and skill.body
    texts = [skill.name, skill.description, *skill.metadata, *skill.metadata.values(), skill.allowed_tools or ""]
    assert not [c for text in texts for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cs")]


@settings(max_examples=150)
@given(skill=skills())
def test_what_validates_leniently_is_read_and_is_safe(tmp_path_factory: pytest.TempPathFactory, skill) -> None:
    name, data = skill
    folder = tmp_path_factory.getbasetemp() / name
    folder.mkdir()
    try:
        (folder / "SKILL.md").write_bytes(data)
        holds_no_surprise(folder)
    finally:
        shutil.rmtree(folder)


@settings(max_examples=150)
@given(before=noise, after=noise)
def test_noise_is_read_and_is_safe_or_refused(tmp_path_factory: pytest.TempPathFactory, before, after) -> None:
    folder = tmp_path_factory.getbasetemp() / "noisy"
    folder.mkdir()
    try:
        page = f"---\n{before}\nname: a b\ndescription: d\n{after}\n---\nx"
        (folder / "SKILL.md").write_bytes(page.encode("utf-8", "surrogatepass"))
        holds_no_surprise(folder)
    finally:
        shutil.rmtree(folder)


def test_a_library_is_read_leniently_where_it_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path, "pdf", LOOSE)
    with pytest.raises(SkillError):
        load_library(tmp_path)
    assert load_library(tmp_path, lenient=True).names == ("pdf-tools",)
    run = CliRunner(env={"COLUMNS": "160"})
    for command in (["list", str(tmp_path)], ["find", "form", str(tmp_path)], ["budget", str(tmp_path)]):
        assert run.invoke(app, ["skills", *command]).exit_code != 0
        shown = run.invoke(app, ["skills", *command, "--lenient"])
        assert shown.exit_code == 0 and "pdf-tools" in shown.output
    put(tmp_path, "other", LOOSE)
    with pytest.raises(LibraryError, match="two skills"):
        load_library(tmp_path, lenient=True)
