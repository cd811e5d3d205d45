"""The structure: imports point one way, no two modules import each other, and what must not load PyTorch does not."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import imprint

PACKAGE = Path(imprint.__file__).parent
# Bottom to top: a room imports only from those before it, and from itself.
ROOMS = (
    *("types", "errors", "support", "retrieval", "models", "skills", "security", "envs", "context", "rollout"),
    *("learning", "measurement", "agent", "recipe", "runs", "methods", "engine", "pretrain", "report", "jobs"),
    *("commands", "cli", "__main__"),
)
TORCH_FREE = (
    *("imprint", "imprint.recipe", "imprint.rollout", "imprint.methods.base", "imprint.methods.loop", "imprint.agent"),
    *("imprint.engine", "imprint.pretrain.recipe", "imprint.learning.losses", "imprint.cli"),
)


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ["imprint", *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a module imports anywhere in it, for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            named = {f"{node.module}.{alias.name}" for alias in node.names} & known.keys()
            found |= named or ({node.module} & known.keys())
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known.keys()
    return found


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_is_known() -> None:
    assert {room(name) for name in modules()} - {""} == set(ROOMS)


def test_imports_point_one_way() -> None:
    known = modules()
    upward = [
        f"{name} imports {other}"
        for name, path in known.items()
        for other in imports(path, known)
        if room(name) and room(other) and ROOMS.index(room(other)) > ROOMS.index(room(name))
    ]
    assert upward == []


def test_no_modules_import_each_other() -> None:
    known = modules()
    graph = {name: imports(path, known) - {name} for name, path in known.items() if name != "imprint"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", TORCH_FREE)
def test_it_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_recipe_is_checked_and_a_method_made_without_torch() -> None:
    code = (
        "import sys; from imprint.recipe import parse_recipe; from imprint.methods.base import *;"
        "r = parse_recipe({'name': 't', 'method': 'imprint', 'transfer': {'weight': 2}});"
        "check_method(r); make_method(r); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
