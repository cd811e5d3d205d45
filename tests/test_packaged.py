"""What `pip install imprint` brings: recipes by name, the policies that they start from, and a page for the index."""

from __future__ import annotations

import re
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner

from conftest import ROOT
from imprint.cli import app
from imprint.commands.recipes import about
from imprint.errors import RecipeError
from imprint.pretrain import recipe as pretrain_recipe
from imprint.recipe import load_recipe
from imprint.support.packaged import recipe_file, recipe_names
from plugged import build_wheel, install_wheel

NAMES = sorted(
    path.relative_to(ROOT / "recipes").with_suffix("").as_posix() for path in (ROOT / "recipes").rglob("*.yaml")
)
FEW = ("steps=1", "threads=1", "rollout.tasks=1", "rollout.group=2", "env.max_turns=2", "env.train=6")
FEW = (*FEW, "env.validation=6", "env.test=6", "evaluation.tasks=1", "evaluation.test_tasks=1", "imitation.rounds=1")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(file.read(name).decode("utf-8"))


def test_a_checkout_has_its_recipes_by_name() -> None:
    assert recipe_names() == NAMES
    assert recipe_file("demo") == ROOT / "recipes" / "demo.yaml"
    assert load_recipe("household/imprint") == load_recipe(ROOT / "recipes" / "household" / "imprint.yaml")
    assert pretrain_recipe.load_recipe(Path("pretrain/search"))[0].name == "search"


def test_a_path_that_exists_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_text("name: mine\n", encoding="utf-8")
    assert load_recipe("demo").name == "mine"
    (tmp_path / "household").mkdir()
    assert load_recipe("household/imprint").name == "imprint"


def test_a_folder_is_no_recipe_and_hides_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("demo", "mine"):  # `--out demo`, or `imprint init demo`
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "recipe.yaml").write_text("name: x\n", encoding="utf-8")
    assert load_recipe("demo").method == "closed_book"
    with pytest.raises(RecipeError, match="mine: is a folder") as caught:
        load_recipe("mine")
    assert str(Path("mine/recipe.yaml")) in str(caught.value.hint)


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("dmeo", "'demo'"),
        ("recipes/demo.yaml", "'demo'"),
        ("household/imprnt.yaml", "'household/imprint'"),
        ("x", "check"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(
    given: str, near: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=re.escape(given)) as caught:
        load_recipe(given)
    assert near in str(caught.value.hint) and "`imprint recipes` lists them" in str(caught.value.hint)


def test_the_command_lists_them_and_prints_one() -> None:
    listed = CliRunner().invoke(app, ["recipes"], env={"COLUMNS": "200"}).output
    assert all(name in listed for name in NAMES)
    shown = CliRunner().invoke(app, ["recipes", "demo"]).output
    assert shown.strip() == (ROOT / "recipes" / "demo.yaml").read_text(encoding="utf-8").strip()


def test_the_first_sentence_and_the_needs_of_a_recipe_are_listed() -> None:
    text = "# What it is,\n# in words. More of it.\n# Needs: a server\nname: x\n# Needs: nothing\n"
    assert about(text) == ("What it is, in words", "a server")
    assert about("name: x\n") == ("", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_it_needs_beside_the_package(name: str) -> None:
    what, needs = about(recipe_file(name).read_text(encoding="utf-8"))
    assert what
    if name.startswith("pretrain/"):
        init = pretrain_recipe.load_recipe(Path(name))[0].init
        assert bool(needs) == (init not in (None, "imprint-tiny"))
        return
    recipe = load_recipe(name)
    wanted = {
        "hub": recipe.model.startswith("Qwen/"),
        "server with OpenAI's API": recipe.endpoint is not None,
        "imprint envs doctor alfworld": recipe.env.options.get("games") == "alfworld",
        "imprint envs doctor search": "questions" in recipe.env.options,
    }
    assert {key: key in needs for key in wanted} == wanted


def test_the_wheel_holds_every_recipe_and_the_policies_and_skills_that_they_name(wheel: Path) -> None:
    with ZipFile(wheel) as file:
        files = set(file.namelist())
    assert {f"imprint/recipes/{name}.yaml" for name in NAMES} <= files
    assert {f"imprint/recipes/alfworld/skills/{name}/SKILL.md" for name in ("clean", "cool", "heat")} <= files
    assert {
        f"imprint/results/{name}/base/model.safetensors" for name in ("alfworld", "household-vision", "search")
    } <= files


def test_the_page_of_the_index_has_urls_and_no_relative_links(metadata: Message) -> None:
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL") or [])
    assert {"Repository", "Documentation", "Changelog", "Issues"} <= urls.keys()
    text = metadata.get_payload()
    assert isinstance(text, str) and text.startswith("# Imprint")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 20
    assert [link for link in links if not link.startswith(f"{urls['Repository']}/")] == []
    assert f"{urls['Repository']}/raw/main/results/household/compare.png" in links
    for link in links:
        path = re.sub(r"^/(blob|raw)/main/|#.*", "", link.removeprefix(urls["Repository"]))
        assert (ROOT / path).exists(), link


def test_installed_apart_from_the_checkout_it_trains_by_name(wheel: Path, tmp_path: Path) -> None:
    there = install_wheel(wheel, tmp_path / "venv")
    found = there.run("-c", "import imprint; print(imprint.__file__)").stdout
    assert Path(found.strip()).is_relative_to(there.site)
    changes = [part for change in FEW for part in ("--set", change)]
    done = there.run("-m", "imprint", "train", "demo", "--quiet", *changes, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "demo-s0" / "report.html").is_file()
    show = (
        "from imprint.recipe import load_recipe as load; r = load({!r}); r.refuse_missing(); print(r.model, r.skills)"
    )
    for name, model in (("search/imprint", "search"), ("alfworld/tiny/imprint", "alfworld")):
        shown = there.run("-c", show.format(name), folder=tmp_path)
        assert shown.stdout.split()[0] == str(there.site / "imprint" / "results" / model / "base"), shown.stderr
    shown = there.run("-c", show.format("alfworld/grpo-3b"), folder=tmp_path)
    assert shown.stdout.split()[1] == str(there.site / "imprint" / "recipes" / "alfworld" / "skills"), shown.stderr
    wrong = there.run("-m", "imprint", "train", "dmeo", folder=tmp_path)
    assert wrong.returncode == 2 and "did you mean the packaged recipe 'demo'?" in wrong.stderr
