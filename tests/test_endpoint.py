"""A model behind an endpoint: what a server's answers mean, what is counted, and what is asked again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from imprint.cli import app
from imprint.context.chat import ChatContext
from imprint.context.config import ContextConfig
from imprint.engine.served import EndpointEngine
from imprint.envs.household.world import HouseholdWorld
from imprint.errors import CheckpointError, ImprintError, PolicyError, RecipeError
from imprint.methods.in_context.exemplars import draw_exemplars
from imprint.models.sampling import Sampling
from imprint.models.served.endpoint import Endpoint
from imprint.recipe import parse_recipe
from imprint.rollout.base import Request
from imprint.rollout.chat import SILENCE, ChatRollout
from imprint.rollout.store import EpisodeStore
from imprint.skills.library import load_library
from imprint.types import Episode, StopReason
from served import OPTIONS, ExpertServer

HEAT = "pick_heat_then_place_in_recep"
NEEDS = {HEAT: "household-heat"}  # the expert cannot heat without the page
LIBRARY = load_library("household")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "first_wait", 0.01)


def values(server: ExpertServer, folder: Path, **endpoint: Any) -> dict[str, Any]:
    section = {"base_url": server.url, "store": str(folder / "store"), **endpoint}
    return {
        "name": "asked",
        "method": "zero_shot",
        "model": "expert",
        "steps": 0,
        "env": OPTIONS,
        "evaluation": {"tasks": 6, "test_tasks": 12},
        "endpoint": section,
    }


def rollout_of(server: ExpertServer, folder: Path, **endpoint: Any) -> ChatRollout:
    rollout = EndpointEngine(parse_recipe(values(server, folder, **endpoint))).rollout
    assert isinstance(rollout, ChatRollout)
    return rollout


def play(rollout: ChatRollout, *, count: int = 12, pages: bool = True, temperature: float = 0.4) -> list[Episode]:
    tasks = rollout.world.tasks("test")[:count]
    requests = [Request(task, 7, LIBRARY.serving(task.category) if pages else ()) for task in tasks]
    return rollout.play(requests, Sampling(temperature, 64))


def call(*arguments: object, status: int = 0) -> Result:
    result = CliRunner(env={"COLUMNS": "140"}).invoke(app, [str(a) for a in arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result


def recipe_file(server: ExpertServer, folder: Path, **more: Any) -> Path:
    path = folder / "asked.yaml"
    path.write_text(yaml.safe_dump({**values(server, folder), **more}))
    return path


# --- episodes ---


def test_an_expert_behind_a_server_solves_every_game_and_its_tokens_are_counted(server, tmp_path):
    server.set()
    prices = {"price_input": 2.0, "price_output": 10.0, "price_cached": 0.5}
    rollout = rollout_of(server, tmp_path, **prices)
    told: list[int] = []
    tasks = rollout.world.tasks("test")
    episodes = rollout.play([Request(task, 7, ()) for task in tasks], Sampling(0.4, 64), told.append)
    assert [episode.task for episode in episodes] == list(tasks)
    assert all(episode.success and episode.stop is StopReason.SUCCESS for episode in episodes)
    assert all(turn.valid for episode in episodes for turn in episode.turns)
    assert sorted(told) == sorted(len(episode.turns) for episode in episodes)
    billed, spent = server.asked(), rollout.endpoint.meter.spent
    assert spent.requests == len(billed) == sum(told)
    assert spent.prompt_tokens == sum(row["read"] for row in billed)
    assert spent.prompt_tokens == sum(turn.context_tokens for episode in episodes for turn in episode.turns)
    assert spent.completion_tokens == sum(row["said"] for row in billed)
    assert spent.completion_tokens == sum(episode.answered_tokens for episode in episodes)
    assert spent.cached_tokens == sum(row["read"] // 2 for row in billed)
    fresh = spent.prompt_tokens - spent.cached_tokens
    expected = (2.0 * fresh + 0.5 * spent.cached_tokens + 10.0 * spent.completion_tokens) / 1e6
    assert spent.cost(rollout.endpoint.config) == pytest.approx(expected)
    assert (spent.retries, spent.estimated, spent.empty, spent.cut) == (0, 0, 0, 0)


def test_a_conversation_is_the_page_and_the_task_then_answers_and_observations_in_turn(server, tmp_path):
    server.set()
    rollout = rollout_of(server, tmp_path)
    (episode,) = play(rollout, count=1)
    longest = max((row["messages"] for row in server.asked()), key=len)
    assert [said["role"] for said in longest] == ["user", "assistant"] * (len(episode.turns) - 1) + ["user"]
    assert longest[0]["content"].startswith("## Skill: household-general\n")
    assert episode.first_observation in longest[0]["content"]
    for turn, answer, following in zip(episode.turns, longest[1::2], longest[2::2], strict=False):
        assert answer["content"] == turn.response
        assert following["content"] == turn.observation


def test_exemplars_follow_the_pages_in_the_first_message_and_make_another_episode(server, tmp_path):
    server.set(needs=NEEDS)
    rollout = rollout_of(server, tmp_path)
    task = next(task for task in rollout.world.tasks("test") if task.category == HEAT)
    drawn = draw_exemplars(rollout.world, LIBRARY, rollout.world.tasks("train"), HEAT, 1, 0)
    request = Request(task, 7, LIBRARY.serving(HEAT))
    for exemplars in (drawn, ()):
        (episode,) = rollout.play([replace(request, exemplars=exemplars)], Sampling(0.4, 64))
        assert episode.success
    assert len(rollout.store) == 2
    shown, bare = (row["messages"][0]["content"] for row in server.asked() if len(row["messages"]) == 1)
    before, exemplar, after = shown.partition("## Example\n" + drawn[0].first_observation)
    assert exemplar and before + after.partition("You act in a text world")[2] == bare.replace(
        "You act in a text world", "", 1
    )
    said = [f"I use the skill {step.skill}.</think><action>{step.command}</action>" for step in drawn[0].steps]
    assert [line in after for line in said] == [True] * len(said)
    rollout.play([request], Sampling(0.4, 64))  # from the store
    assert rollout.endpoint.meter.reused_episodes == 1


@pytest.mark.parametrize("method", ["skic", "adaptmi"])
def test_methods_that_only_measure_take_a_served_model(server, tmp_path, method):
    server.set(needs=NEEDS)
    file = recipe_file(server, tmp_path, method=method, skic={"exemplars": 1}, gate={"scorer": "validity"})
    call("train", file, "--out", tmp_path / "run", "--quiet")
    rows = [json.loads(line) for line in (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()]
    found = {row["arm"]: row["successes"] for row in rows if row["family"] == "all"}
    shown = {"exemplars": 12} if method == "skic" else {"adaptive": 10}
    assert found == shown | {"without": 10}  # to look, as it does, is a valid command


def test_what_goes_wrong_on_the_way_changes_no_episode(server, tmp_path):
    server.set()
    untroubled = play(rollout_of(server, tmp_path / "a"), count=6)
    faults = {"2": "429", "3": "500", "5": "drop", "7": "malformed", "9": "no_choices", "11": "500", "12": "slow"}
    server.set(faults=faults)
    rollout = rollout_of(server, tmp_path / "b", timeout=1.5, concurrency=3)
    assert play(rollout, count=6) == untroubled
    spent = rollout.endpoint.meter.spent
    assert spent.retries == len(faults)
    assert spent.requests == sum(len(episode.turns) for episode in untroubled)


def test_a_server_that_is_killed_and_started_again_in_mid_run_changes_no_episode(server, tmp_path):
    server.set()
    untroubled = play(rollout_of(server, tmp_path / "a"), count=6)
    with ExpertServer(tmp_path, faults={"20": "die"}) as mortal:

        def nurse() -> None:
            assert mortal.process is not None
            assert mortal.process.wait(60) == 9
            mortal.start()

        helper = threading.Thread(target=nurse)
        helper.start()
        rollout = rollout_of(mortal, tmp_path / "b", retries=14)
        episodes = play(rollout, count=6)
        helper.join()
    assert episodes == untroubled
    assert rollout.endpoint.meter.spent.retries > 0


@pytest.mark.parametrize(
    ("fault", "response", "spoken"),
    [
        ("empty", "", SILENCE),
        ("filter", "", SILENCE),
        ("refusal", "I cannot help with kitchens.", "I cannot help with kitchens."),
        ("cut", "<think>Let me think about", "<think>Let me think about"),
    ],
)
def test_an_answer_without_a_command_is_an_invalid_turn_and_the_episode_goes_on(
    server, tmp_path, fault, response, spoken
):
    server.set(faults={"1": fault})
    rollout = rollout_of(server, tmp_path)
    (episode,) = play(rollout, count=1)
    first = episode.turns[0]
    assert (first.response, first.action, first.valid) == (response, "", False)
    assert episode.success and all(turn.valid for turn in episode.turns[1:])
    assert server.asked()[-1]["messages"][1]["content"] == spoken
    spent = rollout.endpoint.meter.spent
    assert (spent.empty, spent.cut) == (int(fault in ("empty", "filter")), int(fault == "cut"))


def test_thoughts_that_the_server_keeps_apart_are_part_of_the_answer(server, tmp_path):
    server.set(always="thoughts_apart")
    (episode,) = play(rollout_of(server, tmp_path), count=1)
    assert episode.success and all(turn.valid for turn in episode.turns)
    assert episode.turns[0].response.startswith("<think>Next.</think><action>")
    assert server.asked()[-1]["messages"][1]["content"].startswith("<action>")


def test_without_a_count_from_the_server_tokens_are_estimated_and_that_is_said(server, tmp_path):
    server.set(usage=False)
    rollout = rollout_of(server, tmp_path)
    (episode,) = play(rollout, count=1)
    opening = server.asked()[0]["messages"][0]["content"]
    assert episode.turns[0].context_tokens == -(-len(opening) // 4)
    assert rollout.endpoint.meter.spent.estimated == len(episode.turns)
    assert "estimated" in rollout.endpoint.meter.sentences()


def test_a_full_context_ends_the_episode_and_one_that_never_fits_is_an_error(server, tmp_path):
    server.set()
    (whole,) = play(rollout_of(server, tmp_path / "a"), count=1)
    server.set(fits=whole.turns[2].context_tokens)
    (cut,) = play(rollout_of(server, tmp_path / "b"), count=1)
    assert cut.stop is StopReason.CONTEXT_LIMIT and not cut.success
    assert cut.turns == whole.turns[:3]
    assert play(rollout_of(server, tmp_path / "b"), count=1) == [cut]  # from the store
    server.set(fits=10)
    with pytest.raises(PolicyError, match=r"does not fit the model's context.*maximum context length is 10 tokens"):
        play(rollout_of(server, tmp_path / "c"), count=1)


# --- errors ---


def refusal(server: ExpertServer, folder: Path, **endpoint: Any) -> str:
    rollout = rollout_of(server, folder, **endpoint)
    with pytest.raises(PolicyError) as caught:
        play(rollout, count=3)
    assert len(EpisodeStore(folder / "store", server.url, "expert")) == 0
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"always": "500"}, r"no answer after 3 tries: status 500: out of memory"),
        ({"always": "drop"}, r"no answer after 3 tries: RemoteProtocolError"),
        ({"always": "malformed"}, r"no answer after 3 tries: the answer is not a chat completion"),
        ({"always": "400"}, r"endpoint.extra: .*status 400\): unknown parameter: seed\n  hint: .*seed: null"),
        ({"always": "quota"}, r"quota is used up: You exceeded your quota"),
        ({"always": "later"}, r"asks to wait 86,400 s"),
        ({"wrong_model": "other-7b"}, r"model: the server does not serve 'expert' here(.|\n)*\(other-7b\)"),
        ({"key": "right"}, r"endpoint.api_key_env: the server refuses the key(.|\n)*--set endpoint.api_key_env=NAME"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value.values()),
)
def test_what_cannot_be_fixed_by_trying_again_is_an_error_and_no_episode(server, tmp_path, settings, told):
    server.set(**settings)
    assert re.search(told, refusal(server, tmp_path, retries=2))


def test_a_server_that_is_not_there_is_an_error_at_once(tmp_path):
    absent = ExpertServer.__new__(ExpertServer)
    absent.port = 9
    text = refusal(absent, tmp_path)
    assert "http://127.0.0.1:9/v1: endpoint.base_url: the server cannot be reached" in text


def test_the_key_is_sent_and_never_shown(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-secret-123")
    server.set(key="sk-secret-123")
    path = recipe_file(server, tmp_path)
    options = ["--set", "endpoint.api_key_env=SOME_KEY", "--out", tmp_path / "run"]
    call("train", path, *options)
    assert server.asked()
    server.set(key="another")
    result = call("train", path, *options, "--fresh", "--set", "endpoint.store=" + str(tmp_path / "s2"), status=2)
    assert "refuses the key" in result.output and "***" in result.output
    assert "sk-secret" not in result.output
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        assert b"sk-secret" not in file.read_bytes(), file
    monkeypatch.delenv("SOME_KEY")
    assert "SOME_KEY is not set" in call("train", path, *options, "--fresh", status=2).output


@pytest.mark.parametrize("method", ["skill0", "grpo", "imprint", "skillrl"])
def test_a_method_that_trains_is_refused_before_anything_is_done(server, tmp_path, method):
    server.set()
    path = recipe_file(server, tmp_path, method=method, steps=3)
    (tmp_path / "run").mkdir()
    for command in (
        ("train", path, "--out", tmp_path / "run"),
        ("train", path, "--out", tmp_path / "run", "--fresh"),
        ("compare", path, "--out", tmp_path / "all", "--seeds", "0"),
    ):
        result = call(*command, status=2)
        assert "a model behind an endpoint cannot be trained" in result.output.replace("\n", " ")
    assert not server.asked() and not list((tmp_path / "run").iterdir()) and not (tmp_path / "all").exists()


# --- nothing is paid twice ---


def test_finished_episodes_are_not_asked_for_again_and_need_no_server(server, tmp_path):
    server.set()
    first = rollout_of(server, tmp_path)
    episodes = play(first)
    asked = len(server.asked())
    with ExpertServer(tmp_path) as gone:
        gone.kill()
        again = rollout_of(gone, tmp_path)
        again.store = EpisodeStore(tmp_path / "store", server.url, "expert")
        object.__setattr__(again.endpoint, "config", first.endpoint.config)
    assert play(again) == episodes
    assert len(server.asked()) == asked
    assert again.endpoint.meter.spent.requests == 0
    assert again.endpoint.meter.reused_episodes == 12
    assert again.endpoint.meter.reused == first.endpoint.meter.spent


def test_whatever_decides_an_episode_makes_another_one_of_it(server, tmp_path):
    def asks(world: HouseholdWorld | None = None, seed: int = 7, temperature: float = 0.4, **change: Any) -> bool:
        rollout = rollout_of(server, tmp_path, **change.get("endpoint", {}))
        rollout.world = world or rollout.world
        page = replace(LIBRARY["household-general"], **change.get("page", {}))
        task = rollout.world.tasks("test")[0]
        rollout.play([Request(task, seed, (page,))], Sampling(temperature, change.get("longest", 64)))
        return rollout.endpoint.meter.spent.requests > 0

    server.set()
    assert asks() and not asks()
    assert not asks(endpoint={"concurrency": 1, "retries": 1, "timeout": 9})
    for change in (
        {"seed": 8},
        {"temperature": 0.5},
        {"longest": 65},
        {"page": {"body": "Look around."}},
        {"endpoint": {"extra": {"top_p": 0.9}}},
        {"world": HouseholdWorld(**{**OPTIONS, "max_turns": 25})},
    ):
        assert asks(**change), change
        assert not asks(**change), change


def test_an_episode_of_a_world_that_answers_otherwise_now_does_not_count(server, tmp_path):
    server.set()
    (episode,) = play(rollout_of(server, tmp_path), count=1)
    path = rollout_of(server, tmp_path).store.path
    forged = json.loads(path.read_text())
    forged["episode"]["turns"][-1]["observation"] = "You win a million."
    path.write_text(json.dumps(forged) + "\n")
    rollout = rollout_of(server, tmp_path)
    assert play(rollout, count=1) == [episode]
    assert rollout.endpoint.meter.spent.requests == len(episode.turns)
    assert rollout.endpoint.meter.stale == 1 and "has changed" in rollout.endpoint.meter.sentences()


def test_a_half_written_last_line_is_told_and_played_again(server, tmp_path):
    server.set()
    episodes = play(rollout_of(server, tmp_path), count=3)
    path = rollout_of(server, tmp_path).store.path
    path.write_bytes(path.read_bytes()[:-30])
    rollout = rollout_of(server, tmp_path)
    assert "cut off by a crash" in rollout.endpoint.meter.sentences()
    assert play(rollout, count=3) == episodes
    assert rollout.endpoint.meter.reused_episodes == 2
    again = rollout_of(server, tmp_path)
    assert again.store.note == "" and len(again.store) == 3


def test_a_line_damaged_elsewhere_is_an_error_that_names_it(server, tmp_path):
    server.set()
    play(rollout_of(server, tmp_path), count=2)
    path = rollout_of(server, tmp_path).store.path
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0][:50], *lines[1:]]) + "\n")
    with pytest.raises(CheckpointError, match=r":1: this line is not a JSON object"):
        rollout_of(server, tmp_path)
    row = json.loads(lines[1])
    del row["episode"]["turns"]
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(CheckpointError, match="is not an episode"):
        play(rollout_of(server, tmp_path), count=2)


def test_ctrl_c_loses_only_what_was_not_finished(server, tmp_path):
    server.set()
    path = recipe_file(server, tmp_path)
    command = [sys.executable, "-m", "imprint.cli", "eval", "expert", "--recipe", str(path), "--arm", "with"]
    slow = {str(number): "slow" for number in range(40, 200)}
    server.set(faults=slow)
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )
    assert process.stderr is not None
    for line in process.stderr:
        if " of 12" in line:  # some episode is finished
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130 and "Traceback" not in said
    store = rollout_of(server, tmp_path).store
    finished = [json.loads(line)["episode"] for line in store.path.read_text().splitlines()]
    assert 0 < len(finished) < 12
    context = ChatContext(ContextConfig())
    world = HouseholdWorld(**OPTIONS)
    openings = set()
    for record in finished:
        episode = Episode.from_record(record)
        first = world.environment().reset(episode.task, 0)
        openings.add(context.start([LIBRARY[name] for name in episode.skills], first))
    server.set()
    output = tmp_path / "figures.json"
    call("eval", "expert", "--recipe", path, "--arm", "with", "--out", output)
    asked = server.asked()
    assert asked and not openings & {row["messages"][0]["content"] for row in asked}
    assert max(Counter(row["id"] for row in asked).values()) == 1
    usage = json.loads(output.read_text())["usage"]
    assert usage["reused_episodes"] == len(finished) and usage["requests"] == len(asked)


def test_two_processes_may_keep_their_episodes_in_one_file(server, tmp_path):
    server.set()
    (episode,) = play(rollout_of(server, tmp_path / "a"), count=1)
    program = (
        "import sys, json; from imprint.rollout.store import EpisodeStore; from imprint.types import Episode;"
        "from imprint.models.served.usage import Usage; name, record = sys.argv[1], json.loads(sys.argv[2]);"
        "store = EpisodeStore(sys.argv[3], 'u', 'm');"
        "[store.add(f'{name}{n}', Episode.from_record(record), Usage(requests=n)) for n in range(60)]"
    )
    record = json.dumps(episode.to_record())
    writers = [
        subprocess.Popen([sys.executable, "-c", program, name, record, str(tmp_path / "s")], env=os.environ)
        for name in ("a", "b")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    store = EpisodeStore(tmp_path / "s", "u", "m")
    assert len(store) == 120
    found = store.get("b59")
    assert found is not None and found[0] == episode and found[1].requests == 59


# --- commands ---


def test_eval_at_an_endpoint_prints_and_writes_success_and_use(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server.set(needs=NEEDS)
    options = [part for key, value in OPTIONS.items() for part in ("--set", f"env.{key}={value}")]
    prices = ["--set", "endpoint.price_input=1", "--set", "endpoint.price_output=2"]
    result = call("eval", "expert", "--endpoint", server.url, *options, *prices, "--tasks", 12, "--out", "f.json")
    content = json.loads(Path("f.json").read_text())
    cells = {(row["family"], row["arm"]): row["successes"] for row in content["outcomes"]}
    assert cells["all", "with"] == 12 and cells["all", "without"] == 10 and cells[HEAT, "without"] == 0
    assert content["difference"]["gained"] == 2 and content["difference"]["lost"] == 0
    billed = server.asked()
    cost = (sum(row["read"] for row in billed) + 2 * sum(row["said"] for row in billed)) / 1e6
    assert content["usage"]["requests"] == len(billed) and content["usage"]["cost"] == pytest.approx(cost)
    assert f"asked: {len(billed)} requests" in result.stderr and "100.0%" in result.stdout
    assert list((tmp_path / "runs" / "episodes").glob("expert-*.jsonl"))
    more = ["--tasks", 12, "--arm", "with", "--seeds", "0,1", "--out", "s.json", "--quiet"]
    call("eval", "expert", "--endpoint", server.url, *options, *prices, *more)
    usage = json.loads(Path("s.json").read_text())["usage"]
    assert usage["requests"] == len(server.asked()) - len(billed) and usage["reused_episodes"] == 12  # those of seed 0


def test_a_served_name_may_be_that_of_a_folder_and_a_run_folder_is_evaluated_at_its_endpoint(
    server, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    server.set()
    (tmp_path / "expert").mkdir()
    (tmp_path / "expert" / "recipe.yaml").write_text("name: other\n")
    path = recipe_file(server, tmp_path)
    call("train", path, "--out", "run", "--quiet")
    asked = len(server.asked())
    call("eval", "expert", "--recipe", path, "--quiet")
    call("eval", "run", "--quiet")
    assert len(server.asked()) == asked
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["endpoint/requests"] == asked and metrics[-1]["endpoint/cost"] is None


@pytest.mark.slow
def test_compare_takes_recipes_with_an_endpoint_and_other_seeds_are_other_episodes(server, tmp_path):
    server.set(needs=NEEDS)
    path = recipe_file(server, tmp_path, evaluation={"tasks": 6, "test_tasks": 6})
    call("compare", path, "--out", tmp_path / "all", "--seeds", "0,1", "--quiet")
    rows = json.loads((tmp_path / "all" / "compare.json").read_text())
    successes = {(row["seed"], row["arm"]): row["successes"] for row in rows if row["family"] == "all"}
    assert successes == {(0, "with"): 6, (1, "with"): 6, (0, "without"): 5, (1, "without"): 5}
    assert max(Counter(row["id"] for row in server.asked()).values()) == 1


def test_helpfulness_finds_the_page_without_which_the_model_fails(server, tmp_path):
    server.set(needs=NEEDS)
    path = recipe_file(server, tmp_path, env={**OPTIONS, "families": [HEAT, "pick_and_place_simple"]})
    server_tasks = {**OPTIONS, "families": [HEAT, "pick_and_place_simple"]}
    with ExpertServer(tmp_path, options=server_tasks, needs=NEEDS) as two:
        content = yaml.safe_load(path.read_text())
        content["endpoint"] |= {"base_url": two.url, "price_input": 1.0, "price_output": 1.0}
        content["skills"] = str(two_skills(tmp_path / "skills"))
        path.write_text(yaml.safe_dump(content))
        output = tmp_path / "worth.json"
        options = ["--recipe", path, "--split", "test", "--tasks", 12, "--seeds", "0-1", "--out", output]
        printed = call("skills", "helpfulness", "expert", *options).stdout
        asked = two.asked()
        found = json.loads(output.read_text())
        skill = {row["skill"]: row for row in found["skills"] if row["family"] == "all"}
        heat, general = skill["household-heat"], skill["household-general"]
        assert heat["evidence"]["n"] == 12 and heat["evidence"]["helpfulness"] == 1.0
        assert heat["verdict"] == "helps" and general["verdict"] == "no evidence"
        assert general["evidence"]["n"] == 24 and general["evidence"]["helpfulness"] == 0.0
        # The server counts words: the page's are what it adds to each prompt.
        pages = {name: len(text.split()) for name, text in pages_of(tmp_path / "skills").items()}
        assert heat["page_tokens"] == pages["household-heat"]
        assert general["page_tokens"] == pages["household-general"]
        turns = sum(row["read"] for row in asked)
        assert found["usage"]["prompt_tokens"] == turns
        assert general["episode_cost"] == pytest.approx((general["episode_tokens"] + general["answered_tokens"]) / 1e6)
        families = {row["family"] for row in found["skills"] if row["skill"] == "household-general"}
        assert families == {"all", HEAT, "pick_and_place_simple"}
        assert "helps" in printed and "By family" in printed
        # Each task: both pages, and each alone (a task of the other family: the general page, and none), twice.
        assert len({row["messages"][0]["content"] for row in asked}) == 6 * 3 + 6 * 2
        call("skills", "helpfulness", "expert", *options, "--quiet")
        assert len(two.asked()) == len(asked)


def two_skills(folder: Path) -> Path:
    for name in ("household-general", "household-heat"):
        page = LIBRARY[name]
        tasks = "*" if page.general else HEAT
        target = folder / name
        target.mkdir(parents=True)
        front = f"---\nname: {name}\ndescription: A page.\nmetadata:\n  tasks: '{tasks}'\n---\n"
        (target / "SKILL.md").write_text(front + page.body)
    return folder


def pages_of(folder: Path) -> dict[str, str]:
    from imprint.context.pages import load_templates, render_pages
    from imprint.skills.library import load_library

    return {skill.name: render_pages(load_templates("chat"), [skill]) for skill in load_library(folder).skills}


def test_an_error_is_an_imprint_error_even_when_many_episodes_fail_at_once(server, tmp_path):
    server.set(always="400")
    with pytest.raises(ImprintError, match="status 400"):
        play(rollout_of(server, tmp_path, concurrency=12))


def test_a_transcript_is_not_for_an_endpoint(server, tmp_path):
    with pytest.raises(RecipeError, match="takes a conversation"):
        EndpointEngine(parse_recipe({**values(server, tmp_path), "context": {"style": "plain"}}))


def test_the_limits_are_asked_before_every_request_retries_too(server, tmp_path, monkeypatch):
    import aiolimiter

    asked: list[tuple[float, float, float]] = []

    class Limiter:
        def __init__(self, max_rate: float, time_period: float = 60) -> None:
            self.max_rate, self.time_period = max_rate, time_period

        async def acquire(self, amount: float = 1) -> None:
            asked.append((self.max_rate, self.time_period, amount))

    monkeypatch.setattr(aiolimiter, "AsyncLimiter", Limiter)
    server.set(faults={"1": "500"})
    rollout = rollout_of(server, tmp_path, requests_per_minute=30, tokens_per_minute=400)
    (episode,) = play(rollout, count=1, pages=False)
    tries = len(episode.turns) + 1
    assert [one for one in asked if one[0] == 1] == [(1, 2.0, 1)] * tries  # one every two seconds
    tokens = [amount for rate, _, amount in asked if rate == 400]
    opening = len(server.asked()[0]["messages"][0]["content"])
    assert tokens[:2] == [min(400, opening / 4 + 64)] * 2  # the prompt and the longest answer
    assert len(tokens) == tries and max(tokens) <= 400  # more than the bucket holds could never be had
