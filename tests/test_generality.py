"""One world or method is no proof of generality: another package's goes through everything, and the core names none."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import imprint
from imprint.cli import app
from imprint.context.chat import ChatContext
from imprint.context.config import ContextConfig
from imprint.envs.base import AnsweringWorld, TeachableWorld, TeachingWorld, World, make_world, own_format
from imprint.jobs.train import train_run
from imprint.methods.base import method_names
from imprint.recipe import parse_recipe
from imprint.runs.run import Run
from imprint.skills.library import load_library
from plugged import Venv, install, outer
from tiny_vision import build_tiny_vision

PROJECT = Path(__file__).parent / "third_party"
PACKAGE = Path(imprint.__file__).parent
FEW = {  # as little as a run can be, with every part of it in use
    "skills": "vending",
    "steps": 4,
    "threads": 1,
    "env": {"name": "vending", "train": 6, "validation": 3, "test": 3, "max_turns": 3},
    "rollout": {"tasks": 3, "group": 2, "max_new_tokens": 6},
    "learner": {"warmup_steps": 1},
    "curriculum": {"stages": 2, "interval": 1},
    "evaluation": {"interval": 2, "tasks": 3, "test_tasks": 3},
    "checkpoint_interval": 2,
}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Venv:
    """A virtual environment in which the other package is installed."""
    return install(PROJECT, tmp_path_factory.mktemp("other") / "venv")


@pytest.fixture(scope="module")
def site(other: Venv) -> Iterator[Path]:
    """What pip installed there, for this process too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(other.site))
        yield other.site


@pytest.fixture(scope="module")
def base(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base policy in the other world's language, made by `imprint pretrain`; two steps, so it can do nothing."""
    folder = tmp_path_factory.mktemp("base")
    recipe = {
        "name": "base",
        "steps": 2,
        "demos": 4,
        "lessons": {"all": 0},
        "show_tasks": 3,
        "threads": 1,
        "env": {"name": "vending", "max_turns": 3},
        "model": {"width": 16, "layers": 1, "heads": 2, "vocab_size": 400, "max_context": 512},
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    cli("pretrain", str(folder / "base.yaml"), "--out", str(folder / "base"), "--quiet")
    return folder / "base"


def cli(*arguments: str, said: str | None = None) -> str:
    result = CliRunner().invoke(app, arguments, input=said)
    assert result.exit_code == 0, result.output
    return result.output


def test_it_is_installed_there_and_not_here(other: Venv) -> None:
    ask = ("-c", "import importlib.metadata as m; print(m.version('imprint-vending'), m.version('imprint'))")
    assert other.run(*ask).stdout.split() == ["1.0", imprint.__version__]
    assert "PackageNotFoundError: No package metadata was found for imprint-vending" in outer(*ask).stderr
    there, here = (python("-m", "imprint", "envs", "list").stdout for python in (other.run, outer))
    assert "household" in there and "vending" in there
    assert "household" in here and "vending" not in here


def test_it_is_listed_and_shown_beside_ours(site: Path) -> None:
    assert re.search(r"vending\W+60\W+12\W+12\W+3\W+5\b", cli("envs", "list"))
    assert "A machine of the old kind" in cli("envs", "show", "vending", "--set", "max_turns=9")
    assert "vending-clever" in cli("skills", "list", "vending")
    assert ": valid" in cli("skills", "validate", "vending", "--env", "vending")


def test_it_is_played_at_a_prompt(site: Path, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"name": "v", "method": "grpo", **FEW}), encoding="utf-8")
    said = cli("play", "--recipe", str(tmp_path / "r.yaml"), "--family", "new", said="?\nskills\ninsert coin\nquit\n")
    assert "press a" in said and "First: insert coin." in said and "It hums." in said


def test_the_whole_command_line_works_with_it(base: Path, other: Venv, site: Path, tmp_path: Path) -> None:
    recipe = {"name": "vending", "method": "imprint", "model": str(base), **FEW}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    run = tmp_path / "run"
    trained = other.run("-m", "imprint", "train", str(tmp_path / "recipe.yaml"), "--out", str(run), "--quiet")
    assert trained.returncode == 0, trained.stderr
    found = Run.open(run)
    assert found.status()["state"] == "finished"
    assert {row["family"] for row in found.rows("evaluations") if row["split"] == "test"} == {
        "all",
        "old",
        "new",
        "clever",
    }
    decided = found.rows("curriculum")
    assert {row["skill"] for row in decided} == set(load_library("vending").names)
    assert not any(row["active"] for row in decided if row["stage"] == 2)  # the last stage has withdrawn all of them
    assert json.loads((run / "trust.json").read_text(encoding="utf-8"))["skills"][0]["skill"] == "vending-general"

    page = Path(cli("report", str(run)).strip().splitlines()[-1]).read_text(encoding="utf-8")
    assert '"goal":"A machine of the' in page and "vending-clever" in page
    assert "clever" in cli("eval", str(run), "--arm", "both", "--tasks", "3", "--quiet")
    watched = cli("play", "--model", str(run), "--auto", "--family", "old")
    assert "vending-general, vending-old" in watched and "solved" in watched


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision-language policy with random weights."""
    return build_tiny_vision(tmp_path_factory.mktemp("models") / "seeing", chat=False)


def test_its_method_trains_with_a_setting_of_its_own(base: Path, other: Venv, site: Path, tmp_path: Path) -> None:
    few = {key: value for key, value in FEW.items() if key != "curriculum"}
    recipe = {"name": "f", "method": "fading", "model": str(base), **few, "fading": {"start": 0.75}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    command = ("-m", "imprint", "train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run"), "--quiet")
    trained = other.run(*command)
    assert trained.returncode == 0, trained.stderr
    assert "finished already" in other.run(*command).stderr
    stored = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8"))
    assert stored["fading"] == {"start": 0.75} and "curriculum" not in stored
    state = json.loads((tmp_path / "run" / "checkpoints" / "step-000004" / "state.json").read_text(encoding="utf-8"))
    assert 0 < state["readers"] < 24
    keys = other.run("-m", "imprint", "train", "--keys").stdout
    assert "fading.start: 1.0" in keys and "(method: fading)" in keys
    wrong = other.run(*command, "--set", "fading.strat=1")
    assert wrong.returncode == 2 and "fading.strat: unknown key" in wrong.stderr and "'start'" in wrong.stderr
    elsewhere = outer("-m", "imprint", "train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "no"))
    assert "fading: unknown key" in elsewhere.stderr  # where the package is not installed


def test_its_command_is_one_of_ours(other: Venv) -> None:
    assert "Say what a drink costs" in other.run("-m", "imprint", "--help").stdout
    assert other.run("-m", "imprint", "vend", "tea").stdout == "tea: one coin\n"
    wrong = other.run("-m", "imprint", "vend", "cocoa")
    assert wrong.returncode == 2 and "error: DRINK: there is no 'cocoa'" in wrong.stderr


@pytest.mark.parametrize("method", [name for name in method_names() if name != "imprint"])
def test_every_method_runs_in_it(base: Path, seeing: Path, tmp_path: Path, method: str) -> None:
    few = {**FEW, "steps": 2, "skic": {"exemplars": 1}} if method == "skic" else {**FEW, "steps": 2}
    if method == "pipeline":
        few |= {"pipeline": {"stages": [{"method": one, "share": 0.5} for one in ("skillrl", "grpo")]}}
    if method == "agentocr":
        few |= {"context": {"history": "image"}}
    recipe = parse_recipe({"name": method, "method": method, "model": str(seeing if "context" in few else base), **few})
    assert train_run(recipe, tmp_path / "run", quiet=True)
    assert Run.open(tmp_path / "run").status()["state"] == "finished"


def test_what_a_world_may_bring_along_is_used(site: Path) -> None:
    world = make_world("vending")
    for kind in (World, TeachingWorld, AnsweringWorld, TeachableWorld):
        assert isinstance(world, kind)
    context = ChatContext(ContextConfig(), *own_format(world))
    task = world.tasks("train")[0]
    opening = context.start(load_library("vending").serving(task.category), world.environment().reset(task, 0))
    assert "You stand before a vending machine.\nA machine of the old kind" in opening
    assert context.parse("I think [[press a]]") == ("press a", True)
    assert context.parse("<action>press a</action>") == ("", False)


def test_skills_and_history_can_be_drawn_in_it(seeing: Path, tmp_path: Path) -> None:
    drawn = {"context": {"skills": "image", "history": "image"}}
    recipe = parse_recipe({"name": "drawn", "method": "skill0", "model": str(seeing), **FEW, "steps": 3, **drawn})
    assert train_run(recipe, tmp_path / "run", quiet=True)


# What the core may not know


FOLDERS = (
    *("support", "retrieval", "models", "security", "context", "rollout", "learning", "measurement", "runs", "methods"),
    *("engine", "pretrain", "report", "jobs"),
)
COMMANDS = ("train", "report", "play", "seeds", "adaptive")  # those that are the same in any world
# The defaults of a recipe (world and skills of the demo), and the names of the commands (`search` serves any corpus).
ALLOWED = ("recipe.py", "cli.py", "jobs/api.py")
SHARED = tuple(f"imprint.envs.{name}" for name in ("base", "answers", "checked", "stepping"))  # of all worlds
COMMON = {"search", "library"}  # ordinary words: they name a world where they are all that a text says


def own_worlds() -> set[str]:
    """The names of our worlds, and of what they are known by."""
    project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    return {*project["project"]["entry-points"]["imprint.envs"], "alfworld"}


def core() -> list[Path]:
    """The modules that serve any world."""
    assert all((PACKAGE / folder).is_dir() for folder in FOLDERS)  # a folder that has moved would not be checked
    found = list(PACKAGE.glob("*.py"))
    found += [path for folder in FOLDERS for path in (PACKAGE / folder).rglob("*.py")]
    found = [path for path in found if path.relative_to(PACKAGE).as_posix() not in ALLOWED]
    return [*found, PACKAGE / "envs" / "base.py", *(PACKAGE / "commands" / f"{name}.py" for name in COMMANDS)]


def docstrings(tree: ast.AST) -> set[int]:
    """The ids of the nodes that are docstrings."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    return {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}


def mentions(path: Path, worlds: set[str]) -> list[str]:
    """Where a module imports a world, or names one in its code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spoken, found = docstrings(tree), list[str]()
    distinct = re.compile(rf"\b(?:{'|'.join(sorted(worlds - COMMON))})\b", re.IGNORECASE)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            words = " ".join(name for name in names if name.startswith("imprint.envs.") and name not in SHARED)
            found += [f"{path.name}:{node.lineno}: imports {words}"] if words else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken:
            named = [node.value] if node.value in worlds else distinct.findall(node.value)
            found += [f"{path.name}:{node.lineno}: says {word}" for word in named]
    return found


@pytest.mark.parametrize("path", core(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_the_core_knows_no_world(path: Path) -> None:
    assert mentions(path, own_worlds()) == []


# What stands below `methods` knows no method, and no run, engine or command either.

BELOW_METHODS = (
    *("support", "retrieval", "models", "skills", "security", "envs", "context", "rollout", "learning", "measurement"),
    "runs",
)
ABOVE = ("methods", "engine", "pretrain", "report", "jobs", "commands", "cli")
WORDS = {"imprint"}  # the package's own name
NAMED_ALIKE = {  # what has a method's name without being it
    "envs/household/random_rules.py": {"closed_book"},  # a lesson of the base policy
    "learning/losses/__init__.py": {"grpo"},  # the loss
    "measurement/training_metrics.py": {"curriculum"},  # in a metric's name, which files of all methods hold
    "runs/folder.py": {"curriculum"},  # a record, likewise
    "security/scan/shell_code.py": {"pipeline"},  # of a shell
    "security/scan/shell_commands.py": {"transfer"},  # of files
}


def own_methods() -> set[str]:
    """The names of our methods, and of the sections they bring."""
    from imprint.methods.base import method_spec

    return {*method_names(), *(section for name in method_names() for section in method_spec(name).sections)}


def below_methods() -> list[Path]:
    """The modules that a method is built from."""
    assert all((PACKAGE / folder).is_dir() for folder in BELOW_METHODS)
    found = [PACKAGE / name for name in ("types.py", "errors.py", "agent.py", "recipe.py")]
    found += [path for folder in BELOW_METHODS for path in (PACKAGE / folder).rglob("*.py")]
    return found


def method_mentions(path: Path, methods: set[str]) -> list[str]:
    """Where a module imports what stands above it, or names a method or its section in its code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spoken, found = docstrings(tree), list[str]()
    named = re.compile(rf"\b(?:{'|'.join(sorted(methods - WORDS))})\b")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            above = [name for name in names if re.match(rf"imprint\.(?:{'|'.join(ABOVE)})\b", name)]
            found += [f"{path.name}:{node.lineno}: imports {name}" for name in above]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken:
            words = [node.value] if node.value in methods - WORDS else named.findall(node.value)
            found += [f"{path.name}:{node.lineno}: says {word}" for word in words]
    return found


@pytest.mark.parametrize("path", below_methods(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_what_methods_are_built_from_knows_no_method(path: Path) -> None:
    alike = NAMED_ALIKE.get(path.relative_to(PACKAGE).as_posix(), set())
    assert method_mentions(path, own_methods() - alike) == []


def test_that_check_sees_imports_and_names(tmp_path: Path) -> None:
    code = '"""grpo"""\nfrom imprint.methods.loop import Loop\nif name == "skill0" or key == "transfer.weight":\n    x'
    (tmp_path / "m.py").write_text(code, encoding="utf-8")
    assert method_mentions(tmp_path / "m.py", {"grpo", "skill0", "transfer"}) == [
        "m.py:2: imports imprint.methods.loop",
        "m.py:3: says skill0",
        "m.py:3: says transfer",
    ]


@pytest.mark.parametrize("folder", ["report", "context"])
def test_the_pages_and_prompts_of_the_core_know_no_world(folder: str) -> None:
    files = [path for path in (PACKAGE / folder / "templates").rglob("*") if path.is_file()]
    spoken = re.compile(rf"\b(?:{'|'.join(own_worlds() - COMMON)}|your task is to)\b", re.IGNORECASE)
    assert files and not [path.name for path in files if spoken.search(path.read_text(encoding="utf-8"))]


def test_the_check_itself_sees_imports_and_names(tmp_path: Path) -> None:
    code = '"""household"""\nfrom imprint.envs.household.game import X\nif world.name == "household":\n    pass\n'
    (tmp_path / "m.py").write_text(code, encoding="utf-8")
    assert mentions(tmp_path / "m.py", {"household"}) == [
        "m.py:2: imports imprint.envs.household.game",
        "m.py:3: says household",
    ]
