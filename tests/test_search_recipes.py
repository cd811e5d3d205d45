"""Search-QA from a recipe: the published settings on small data of the published form, and a server that dies."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from conftest import ROOT
from imprint.envs.base import make_world
from imprint.envs.search.question import CATEGORIES
from imprint.envs.search.world import SearchWorld
from imprint.jobs.train import train_run
from imprint.recipe import load_recipe
from imprint.retrieval.base import Passage
from imprint.retrieval.bm25 import Bm25
from imprint.retrieval.client import SearchClient
from imprint.runs.run import Run
from imprint.skills.library import load_library
from imprint.types import StepResult
from tiny_vision import build_tiny_vision

RECIPES = sorted((ROOT / "recipes" / "search" / "published").glob("*.yaml"))


def write_corpus(passages: list[Passage], file: Path) -> Path:
    rows = [json.dumps({"id": passage.id, "contents": passage.contents}) for passage in passages]
    file.write_text("\n".join(rows), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Question sets in FlashRAG's layout, of questions of our own."""
    folder = tmp_path_factory.mktemp("questions")
    kinds = {"nq": (None,), "hotpotqa": ("bridge", "comparison"), "popqa": (None,)}
    for name, types in kinds.items():
        for split, count in (("train", 16), ("dev" if name == "hotpotqa" else "test", 4)):
            if name == "popqa" and split == "train":
                continue
            rows = [
                {"id": f"{split}_{n}", "question": f"what is {name} {split} {n}?", "golden_answers": [f"thing {n}"]}
                | ({"metadata": {"type": types[n % len(types)]}} if types[0] else {})
                for n in range(count)
            ]
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    passages = [Passage(str(n), f'"Thing {n}"\nwhat thing {n} is') for n in range(20)]
    Bm25.build(write_corpus(passages, folder / "corpus.jsonl"), folder / "index")
    return folder / "index"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vision(tmp_path_factory.mktemp("models") / "qwen")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_published_recipe_starts_on_data_of_the_published_form(
    path: Path, data: Path, index: Path, model: Path, tmp_path: Path
) -> None:
    changes = [
        f"env.questions={data}",
        f"env.retriever={index}",
        "env.shape=null",
        f"model={model}",
        "device=cpu",
        "threads=1",
    ]
    changes += ["env.validation=8", "rollout.tasks=2", "rollout.group=2", "rollout.max_new_tokens=6", "steps=3"]
    changes += ["curriculum.interval=1", "evaluation.tasks=4", "evaluation.test_tasks=4", "checkpoint_interval=3"]
    recipe = load_recipe(path, [*changes, "learner.precision=float32"])
    world = make_world(recipe.env.name, **recipe.env.options)
    library = load_library(recipe.skills)
    library.check(world.categories)
    assert len(library) == 5
    for split in ("train", "validation", "test"):
        assert {task.category for task in world.tasks(split)} <= set(CATEGORIES)
    assert {task.category for task in world.tasks("test")} == set(CATEGORIES)
    assert train_run(recipe, tmp_path / "run", quiet=True)
    assert Run.open(tmp_path / "run").status()["state"] == "finished"


def test_a_chat_model_is_told_the_format_of_this_world(model: Path, index: Path, data: Path) -> None:
    from imprint.context.config import ContextConfig
    from imprint.context.prompt import Context
    from imprint.envs.base import own_format
    from imprint.models.local.policy import Policy

    world = make_world("search", questions=str(data), retriever=str(index))
    context = Context(Policy.load(model), ContextConfig(style="chat"), *own_format(world))
    prompt = context.policy.decode(list(context.start((), StepResult("Question: who?")).ids))
    assert "<search>your query</search>" in prompt and "<action>" not in prompt
    assert context.parse("hm. <search>a</search>") == ("<search>a</search>", True)


def test_episodes_go_on_when_their_server_is_killed_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("fastapi", "uvicorn", "httpx", "tenacity", "prometheus_client"):
        pytest.importorskip(library, reason="imprint[search] is not installed")
    from search_served import SearchServer

    monkeypatch.setattr(SearchClient, "first_wait", 0.2)
    sizes = {"things": 200, "train": 20, "validation": 20, "test": 40}
    made = SearchWorld(**sizes)
    Bm25.build(write_corpus(made.encyclopedia.passages(), tmp_path / "corpus.jsonl"), tmp_path / "index")
    with SearchServer(tmp_path / "index") as server:
        served = SearchWorld(retriever=server.url, **sizes)
        half = threading.Event()

        def restart() -> None:
            half.wait(60)
            server.kill()
            server.start()

        fate = threading.Thread(target=restart)
        fate.start()
        found = []
        for number, task in enumerate(served.tasks("test")):
            if number == 20:
                half.set()
            found.append(served.exemplar(task))
        fate.join(60)
    assert found == [made.exemplar(task) for task in made.tasks("test")]
