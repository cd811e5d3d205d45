"""What a world rests on is asked for before a model is loaded, and whoever waits for a server says so."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from faulty_server import faulty
from imprint.cli import app
from imprint.envs.base import make_ready_world
from imprint.errors import ImprintError, QuestionError, RecipeError, RetrievalError, under
from imprint.jobs.compare import plan
from imprint.recipe import load_recipe
from imprint.retrieval.client import SearchClient
from imprint.runs.run import Run
from imprint.support.progress import Progress

for library in ("httpx", "tenacity"):
    pytest.importorskip(library, reason="imprint[search] is not installed")

NOWHERE = "no-such/model"  # loading it would be another error: it is never come to


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SearchClient, "first_wait", 0.01)


@pytest.fixture
def dead() -> Iterator[str]:
    """An address where nobody listens, and nobody else will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def cli(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def written(folder: Path, **env: object) -> Path:
    recipe = {"name": "s", "method": "grpo", "model": NOWHERE, "skills": "search", "steps": 4}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "env": {"name": "search", **env}}), encoding="utf-8")
    return folder / "recipe.yaml"


def test_every_command_says_that_the_server_is_away_before_it_loads_a_model(dead: str, tmp_path: Path) -> None:
    recipe = written(tmp_path, retriever=dead)
    for command in (
        ("train", recipe, "--out", tmp_path / "run"),
        ("eval", "some/model", "--recipe", recipe),
        ("play", "--recipe", recipe),
        ("play", "--model", "some/model", "--recipe", recipe),
        ("compare", recipe, "--out", tmp_path / "compare"),
    ):
        said = cli(*command)
        assert said.exit_code == 2, said.output
        assert f"{dead}/retrieve: env.retriever: no search server answers: ConnectError" in said.output.replace(
            "\n", ""
        )
        assert "imprint search serve" in said.output
    assert not (tmp_path / "run").exists() and not (tmp_path / "compare").exists()


def test_finished_runs_of_a_comparison_need_no_server(dead: str, tmp_path: Path) -> None:
    recipe = written(tmp_path, retriever=dead)
    with Run.create(tmp_path / "out" / "runs" / "s-s0", load_recipe(recipe, ["seed=0"]).to_yaml()) as run:
        run.set_status("finished", 4)
    assert len(plan([recipe], [0], tmp_path / "out")) == 1
    with pytest.raises(RetrievalError):
        plan([recipe], [0, 1], tmp_path / "out")


def test_the_doctor_asks_in_both_shapes(dead: str) -> None:
    with faulty({"result": []}) as (url, asked):
        said = cli("envs", "doctor", "search", "--retriever", url)
    assert said.exit_code == 0 and "takes `shape: queries`" in said.output and "shape: query`" not in said.output
    assert [sorted(body) for body in asked] == [
        ["query", "return_scores", "topk"],
        ["queries", "return_scores", "topk"],
    ]
    said = cli("envs", "doctor", "search", "--retriever", dead)
    assert said.exit_code == 1 and "no search server answers" in said.output
    assert cli("envs", "doctor", "alfworld", "--retriever", dead).exit_code == 2


def test_a_server_is_asked_as_the_run_will_ask_it() -> None:
    with faulty() as (url, asked):
        make_ready_world("search", retriever=url, shape="queries", topk=7)
    assert asked == [{"queries": ["imprint"], "topk": 7, "return_scores": True}]
    with faulty(422) as (url, _), pytest.raises(RetrievalError, match="refuses with status 422") as caught:
        make_ready_world("search", retriever=url)
    assert caught.value.key == "env.retriever"


def test_one_of_several_servers_is_enough_and_a_busy_one_is_there(dead: str, caplog: pytest.LogCaptureFixture) -> None:
    with faulty(503) as (url, _):
        SearchClient(f"{dead},{url}").check(1)
    assert [f"{place}/retrieve" in said for place, said in zip((url, dead), caplog.messages, strict=True)] == [True] * 2


def test_an_outage_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    with faulty(503, "drop", 502, None, None, 500, None) as (url, _):
        client = SearchClient(url)
        for _ in range(3):
            assert client.search(["a"], 1)
    told = [message.removesuffix(" no") for message in caplog.messages]
    waiting, again = "waiting for the search server", f"the search server {url}/retrieve answers again"
    assert [message.startswith(waiting) for message in told] == [True, False, True, False]
    assert "up to 10 tries: status 503" in told[0] and told[1] == told[3] == again and "status 500" in told[2]
    assert not any("\x1b" in message for message in told)


def test_warnings_are_notes_while_there_is_progress() -> None:
    log, out = logging.getLogger("imprint.some.module"), StringIO()
    with Progress("work", console=Console(file=out, width=200)):
        log.warning("waiting for %s", "Godot")
        log.info("no news")
    log.warning("nobody listens")
    assert out.getvalue() == "note: waiting for Godot\n"
    with Progress("work", quiet=True):
        assert not logging.getLogger("imprint").handlers


def test_folders_that_are_not_there_name_their_key(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="no such folder") as caught:
        make_ready_world("search", retriever=str(tmp_path / "index"))
    assert caught.value.key == "env.retriever" and str(tmp_path / "index") in str(caught.value)
    with pytest.raises(RecipeError) as wrong:
        make_ready_world("search", retriever="http://")
    assert wrong.value.key == "env.retriever"


def test_questions_that_are_not_there_name_their_key(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with faulty() as (url, _):
        with pytest.raises(QuestionError, match="there is no such folder") as caught:
            make_ready_world("search", questions=str(tmp_path / "none"), retriever=url)
        assert caught.value.key == "env.questions" and str(tmp_path / "none") in str(caught.value)
        world = make_ready_world("search", questions=str(tmp_path / "empty"), retriever=url, sets=["nq"])
        with pytest.raises(QuestionError, match="no question set is found") as caught:
            world.tasks("train")
        assert caught.value.key == "env.questions"


def test_an_error_keeps_the_key_that_it_has() -> None:
    for key in (None, "env.sets"):
        with pytest.raises(ImprintError) as caught, under("env.questions"):
            raise QuestionError("is wrong", where="f.jsonl", line=3, key=key, hint="fix it")
        assert caught.value.key == (key or "env.questions")
        assert str(caught.value) == f"f.jsonl:3: {key or 'env.questions'}: is wrong\n  hint: fix it"
