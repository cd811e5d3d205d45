"""Where skills are found in a tree: depth, order, dot folders, links, and trees that are no place for skills."""

from __future__ import annotations

import pytest

from imprint.errors import LibraryError
from imprint.skills import tree
from imprint.skills.tree import find_skills


def make(root, *folders, name="SKILL.md"):
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / name).write_text("x")


def found(root):
    return [str(path.relative_to(root)) for path in find_skills(root)]


def test_skills_are_found_at_any_depth_in_order(tmp_path):
    make(tmp_path, "b", "a/deep/er/one", ".claude/skills/two")
    make(tmp_path, "small", name="skill.md")
    make(tmp_path, "misspelt", name="Skill.MD")
    (tmp_path / "empty").mkdir()
    assert found(tmp_path) == [".claude/skills/two", "a/deep/er/one", "b", "misspelt", "small"]
    assert find_skills(str(tmp_path / "b")) == [tmp_path / "b"]
    assert find_skills(tmp_path / "empty") == []


def test_what_belongs_to_a_skill_or_to_other_tools_is_not_searched(tmp_path):
    make(tmp_path, "one", "one/examples/inner", ".git/hooks/x", "node_modules/y", "z/__pycache__/z")
    assert found(tmp_path) == ["one"]


def test_linked_folders_are_not_entered(tmp_path):
    make(tmp_path, "outside/secret", "inside/skill")
    root = tmp_path / "inside"
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root)
    assert found(root) == ["skill"]
    (tmp_path / "link").symlink_to(root)
    assert found(tmp_path / "link") == ["skill"]  # the root may be one: it was named


def test_a_dead_link_as_a_page_is_a_skill_to_hear_of(tmp_path):
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / "SKILL.md").symlink_to("nowhere")
    assert found(tmp_path) == ["dead"]


def test_trees_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "MAX_DEPTH", 3)
    make(tmp_path, "1/2/3")
    assert found(tmp_path) == ["1/2/3"]
    make(tmp_path, "other/2/3/4")
    with pytest.raises(LibraryError, match="3 folders deep"):
        find_skills(tmp_path)
    monkeypatch.setattr(tree, "MAX_DEPTH", 4)
    monkeypatch.setattr(tree, "MAX_ENTRIES", 5)
    with pytest.raises(LibraryError, match="over 5 files and folders"):
        find_skills(tmp_path)


def test_what_is_no_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    for name, says in (("file", "is not a folder"), ("absent", "cannot be read"), ("a\0b", "cannot be read")):
        with pytest.raises(LibraryError, match=says):
            find_skills(tmp_path / name)
