"""The command line on tiny random models: what it writes and prints, how it resumes, how it says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from imprint import __version__
from imprint.__main__ import main
from imprint.cli import app
from imprint.commands.console import plain
from imprint.commands.playing import parse_seeds
from imprint.errors import RecipeError
from imprint.jobs.train import run_name
from imprint.runs.run import Run
from imprint.support.progress import Progress

FAMILY = "pick_and_place_simple"


def call(*arguments: object, stdin: str | None = None, status: int = 0) -> Result:
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(a) for a in arguments], input=stdin)
    assert result.exit_code == status, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama that knows the words of the household's pages, as a folder."""
    from imprint.models.local.policy import Policy
    from imprint.pretrain.tiny_model import build_tiny
    from imprint.pretrain.tokenizer import train_tokenizer
    from imprint.skills.library import load_library

    folder = tmp_path_factory.mktemp("models") / "random"
    texts = [skill.body for skill in load_library("household").skills]
    tokenizer = train_tokenizer(texts, 700, 2048)
    ends = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}
    built = build_tiny(len(tokenizer), width=32, layers=1, heads=2, max_context=2048, seed=0, **ends)
    Policy(built.eval(), tokenizer, "random").save(folder)
    return folder


def values(model: Path, **more: Any) -> dict[str, Any]:
    return {
        "name": "quick",
        "method": "skill0",
        "model": str(model),
        "steps": 2,
        "env": {"max_turns": 2, "train": 12, "validation": 6, "test": 6},
        "rollout": {"tasks": 2, "group": 2, "max_new_tokens": 4},
        "curriculum": {"stages": 2, "interval": 1},
        "evaluation": {"interval": 2, "tasks": 2, "test_tasks": 6, "keep_episodes": 2},
        "checkpoint_interval": 1,
        "device": "cpu",
        **more,
    }


def write_recipe(folder: Path, model: Path, **more: Any) -> Path:
    path = folder / "recipe.in.yaml"
    path.write_text(yaml.safe_dump(values(model, **more)))
    return path


@pytest.fixture(scope="module")
def trained(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """(recipe file, run folder, what training printed)."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = write_recipe(folder, model)
    printed = call("train", recipe, "--out", folder / "run", "--quiet").output
    return recipe, folder / "run", printed


# --- train ---


def test_train_prints_its_test_and_writes_the_report(trained: tuple[Path, Path, str]) -> None:
    _, run, printed = trained
    assert "quick: test after 2 steps" in printed
    assert FAMILY.replace("_", " ") in printed and "0.0% [0, 39]" in printed and "6 episodes a condition" in printed
    assert str(run / "report.html") in printed and (run / "report.html").stat().st_size > 1000
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"]) == ("finished", 2)
    rows = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    tests = [row for row in rows if row["split"] == "test" and row["family"] == "all"]
    assert [(row["arm"], row["episodes"]) for row in tests] == [("with", 6), ("without", 6)]
    assert tests[0]["context_tokens"] > tests[1]["context_tokens"] > 0


def test_a_finished_run_is_not_trained_again(trained: tuple[Path, Path, str]) -> None:
    recipe, run, _ = trained
    before = (run / "evaluations.jsonl").read_bytes()
    result = call("train", recipe, "--out", run, "--quiet")
    assert "finished already" in result.stderr and "test after 2 steps" in result.stdout
    assert (run / "evaluations.jsonl").read_bytes() == before


def test_another_recipe_does_not_go_on_with_a_run(trained: tuple[Path, Path, str]) -> None:
    recipe, run, _ = trained
    result = call("train", recipe, "--out", run, "--set", "learner.lr=0.5", status=2)
    assert "learner.lr" in result.stderr and "Traceback" not in result.output


def test_an_interrupted_run_ends_like_one_that_was_not(
    model: Path, trained: tuple[Path, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imprint.methods.loop import Loop

    recipe, whole, _ = trained
    play = Loop.play

    def interrupted(self: Loop, show: Any) -> Any:
        if self.updates == 1:
            raise KeyboardInterrupt
        return play(self, show)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "play", interrupted)
        result = call("train", recipe, "--out", run, "--quiet", status=130)
    assert "the same command resumes after step 1" in result.stderr and str(run) in result.stderr.replace("\n", "")
    assert json.loads((run / "status.json").read_text()) == {"state": "interrupted", "step": 1}
    call("train", recipe, "--out", run, "--quiet")
    for name in ("metrics.jsonl", "evaluations.jsonl", "curriculum.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name


def test_fresh_starts_anew_but_removes_only_runs(model: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, model, method="zero_shot")
    run = tmp_path / "run"
    call("train", recipe, "--out", run, "--quiet")
    call("train", recipe, "--out", run, "--quiet", "--fresh", "--seed", 3)
    assert yaml.safe_load((run / "recipe.yaml").read_text())["seed"] == 3
    (run / "notes.txt").write_text("mine")
    result = call("train", recipe, "--out", run, "--fresh", status=2)
    assert "'notes.txt' was not written by the run" in result.stderr and (run / "evaluations.jsonl").exists()
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("mine")
    call("train", recipe, "--out", home, "--fresh", status=2)
    assert (home / "letter.txt").read_text() == "mine"


def test_the_run_folder_is_named_after_recipe_and_seed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path, model, method="zero_shot", name="../a b")
    monkeypatch.chdir(tmp_path)
    call("train", recipe, "--quiet", "--seed", 4)
    assert (tmp_path / "runs" / run_name("../a b", 4) / "report.html").is_file()


NAMES = st.text(max_size=70) | st.text("aA é\u0301/.-+_실", max_size=5)


@given(first=NAMES, second=NAMES, seeds=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_two_runs_never_have_one_folder(first: str, second: str, seeds: tuple[int, int]) -> None:
    names = [run_name(first, seeds[0]), run_name(second, seeds[1])]
    assert len(set(names)) == len({(first, seeds[0]), (second, seeds[1])})
    assert all(Path(name).name == name and len(name.encode()) < 250 and name[0] not in ".-" for name in names)


def test_names_that_can_be_folders_stay() -> None:
    names = ("demo", "a_b.c-1", "実験", "naïve")
    assert [run_name(name, 0) for name in names] == [f"{name}-s0" for name in names]
    assert run_name("a b", 0).startswith("a-b+")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("imprint.engine.local.LocalEngine.__init__", "stopped before anything was written"),
        ("imprint.methods.loop.Loop.play", "stopped before the first checkpoint"),
    ],
)
def test_a_run_that_is_stopped_early_says_what_is_left(
    place: str, words: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    recipe = write_recipe(tmp_path, model)
    with monkeypatch.context() as patch:
        patch.setattr(place, stop)
        result = call("train", recipe, "--out", tmp_path / "run", status=130)
    said = result.stderr.replace("\n", " ")
    assert words in said and "resumes" not in said
    assert ("quick: " in said and "2 steps; everything is written to" in said) is ("checkpoint" in words)


def test_an_interruption_while_the_command_line_is_loaded_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loading(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "imprint.cli", Loading("imprint.cli"))
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130


def test_a_log_has_each_line_whole(capsys: pytest.CaptureFixture[str]) -> None:
    line = "everything is written to " + "a folder/" * 30
    with Progress("job") as progress:
        progress.note(line)
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize(("name", "words"), [("mine-s0", "runs/mine-s0"), ("demo", "--recipe demo")])
def test_names_of_runs_and_recipes_are_not_looked_for_on_the_hub(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Run.create("runs/mine-s0", "name: mine\n").close()
    assert words in call("eval", name, status=2).stderr


def test_a_run_does_not_begin_at_a_link_that_leads_nowhere(model: Path, tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    said = call("train", write_recipe(tmp_path, model), "--out", tmp_path / "run", status=2).stderr
    assert "a link that leads nowhere" in said.replace("\n", " ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("rollout.tsks=3", ["rollout.tsks", "did you mean 'tasks'"]),
        ("rollout.group=1", ["rollout.group", "compares the episodes", "set it to 2"]),
        ("method=skil0", ["method", "skil0", "zero_shot"]),
        ("env.siez=small", ["env.siez", "did you mean 'size'"]),
        ("env.name=moon", ["env.name", "household"]),
        ("evaluation.tasks=7", ["7 validation tasks", "there are 6"]),
        ("steps=[", ["steps", "YAML"]),
        ("steps", ["--set", "key.subkey=value"]),
    ],
)
def test_a_wrong_recipe_names_the_key_and_leaves_nothing(
    change: str, words: list[str], model: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, model)
    result = call("train", recipe, "--out", tmp_path / "run", "--set", change, status=2)
    for word in [*words, "hint:"]:
        assert word in result.stderr
    assert "Traceback" not in result.output and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("env.max_turns=-3", "env.max_turns"),
        ("env.max_turns=2.5", "env.max_turns"),
        ("env.seed=abc", "env.seed"),
        ("env.games=5", "env.games"),
        ("env.families=pick", "env.families"),
        ("learner.betas=[2,3]", "learner.betas"),
        ("learner.lr=.inf", "learner.lr"),
        ("device=tpu", "device"),
        ("threads=100000", "threads"),
    ],
)
def test_a_wrong_value_names_its_key(model: Path, tmp_path: Path, change: str, key: str) -> None:
    recipe = write_recipe(tmp_path, model)
    refused = call("train", recipe, "--out", tmp_path / "run", "--set", change, status=2)
    assert key in refused.output and "hint:" in refused.output
    assert not (tmp_path / "run").exists()


def test_what_comes_to_light_at_the_first_episode_leaves_no_run_behind(model: Path, tmp_path: Path) -> None:
    page = tmp_path / "skills" / "long" / "SKILL.md"
    page.parent.mkdir(parents=True)
    front = "---\nname: long\ndescription: Long.\nmetadata:\n  tasks: '*'\n---\n"
    page.write_text(front + "open the red door\n" * 2000)
    recipe = write_recipe(tmp_path, model, skills=str(tmp_path / "skills"))
    refused = call("train", recipe, "--out", tmp_path / "run", "--quiet", status=2)
    assert "exceeds the context" in refused.output and not (tmp_path / "run").exists()


def test_a_damaged_state_is_named(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[1], run)
    state = sorted(run.glob("checkpoints/*/state.json"))[-1]
    state.write_text(state.read_text()[:40])
    refused = call("eval", run, "--quiet", status=2)
    assert "state.json" in refused.output and "hint:" in refused.output


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "twice.yaml"
    recipe.write_text("name: a\nmethod: grpo\nsteps: 1\nlearner:\n  lr: 1.0e-3\nsteps: 5\n")
    refused = call("train", recipe, status=2)
    assert "twice.yaml:6" in refused.output and "'steps' is given twice" in refused.output


def test_missing_files_are_named(tmp_path: Path) -> None:
    assert "nowhere.yaml" in call("train", tmp_path / "nowhere.yaml", status=2).stderr
    for arguments in (["report", tmp_path / "norun"], ["eval", tmp_path / "norun"]):
        result = call(*arguments, status=2)
        assert "norun" in result.stderr and "hint:" in result.stderr


# --- eval, report, play ---


def test_json_is_one_document_on_stdout_and_nothing_else(
    trained: tuple[Path, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imprint.envs.household.world import HouseholdWorld

    _, run, _ = trained

    def document(*arguments: object) -> dict[str, Any]:
        result = call(*arguments, "--json")
        found: dict[str, Any] = json.loads(result.stdout)  # notes and progress are on stderr
        assert found["version"] == 1
        return found

    worlds = document("envs", "list")
    assert worlds["format"] == "imprint.envs"
    (household,) = [one for one in worlds["envs"] if one["name"] == "household"]
    assert household["tasks"]["test"] > 0 and FAMILY in household["families"] and household["max_turns"] > 0
    assert all(one["problem"] or one["tasks"] for one in worlds["envs"])
    skills = document("skills", "list")
    general = {one["name"]: one for one in skills["skills"]}["household-general"]
    assert (skills["format"], skills["library"], general["tasks"]) == ("imprint.skills", "household", ["*"])
    assert general["tokens"] > general["words"] > 0 and general["description"]
    for more in ([], ["--seeds", "0,1"]):
        figures = document("eval", run, "--tasks", 4, *more, "--out", tmp_path / "file.json")
        assert figures["format"] == "imprint.eval" and figures["step"] == 2 and figures["recipe"]["name"] == "quick"
        assert {row["arm"]: row["episodes"] for row in figures["outcomes"] if row["family"] == "all"} == {
            "with": 4,
            "without": 4,
        }
        assert figures == json.loads((tmp_path / "file.json").read_text())
    assert [one["path"] for one in document("runs", run)["runs"]] == [str(run)]
    make = HouseholdWorld.__init__

    def noisy(self: HouseholdWorld, *arguments: Any, **options: Any) -> None:
        print("pygame says hello")  # as libraries of other worlds do
        make(self, *arguments, **options)

    monkeypatch.setattr(HouseholdWorld, "__init__", noisy)
    assert "hello" in call("envs", "list").stdout and "envs" in document("envs", "list")


def test_eval_measures_a_runs_newest_checkpoint(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    _, run, _ = trained
    file = tmp_path / "figures.json"
    result = call("eval", run, "--out", file, "--quiet")
    assert "quick at step 2 on test" in result.output and "McNemar" in result.output
    figures = json.loads(file.read_text())
    kept = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    tests = [row for row in kept if row["split"] == "test"]
    assert figures["outcomes"] == tests  # the same tasks, seeds and weights as the test of the training
    assert figures["difference"]["n"] == 6


def test_eval_takes_skills_as_conditions_and_sets_them_against_none(model: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, model, method="zero_shot")
    options = ["--recipe", recipe, "--tasks", 6, "--quiet", "--out", tmp_path / "found.json"]
    printed = call("eval", model, "--condition", "without, household-heat", *options).stdout
    assert "household-heat - without: " in printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["arm"] for row in found["outcomes"] if row["family"] == "all"] == ["household-heat", "without"]
    assert found["recipe"]["method"] == "zero_shot"
    for wrong in ("with,with", "none", ""):
        refused = call("eval", model, "--condition", wrong, *options, status=2).stderr
        assert "--condition" in refused and "household-heat" in refused


def test_eval_through_the_gate_shows_all_ways_side_by_side(
    model: Path, trained: tuple[Path, Path, str], tmp_path: Path
) -> None:
    recipe, run, _ = trained
    file = tmp_path / "gate.json"
    options = ["--recipe", recipe, "--gate", "--tasks", 2, "--seeds", "0,1", "--quiet", "--set"]
    assert "no gated+" in call("eval", model, *options, "env.max_turns=2").stderr  # which is not enough to solve any
    options += ["env.max_turns=12"]
    result = call("eval", model, *options, "--withdrawn", run, "--out", file)
    ways = ("never", "always", "gated by confidence", "gated+ by confidence", "oracle gate", "withdrawn")
    assert all(way in result.output for way in ways) and "drawn at random" in result.output
    rows = [row for row in json.loads(file.read_text())["outcomes"] if row["family"] == "all"]
    assert [(row["seed"], row["arm"]) for row in rows] == [(seed, way) for seed in (0, 1) for way in ways]
    for seed in (0, 1):
        never, always, _, _, oracle, _ = (row for row in rows if row["seed"] == seed)
        read = [row["context_tokens"] * row["turns"] for row in (never, always, oracle)]
        assert never["successes"] == 0  # so the oracle sends every task on, and both attempts are paid
        assert oracle["successes"] == always["successes"] and oracle["tried_again"] == [1.0, 0.0]
        assert read[2] == pytest.approx(read[0] + read[1])
    assert "add --adaptive" in call("eval", model, "--withdrawn", run, status=2).stderr
    assert "does not go with --condition" in call("eval", model, "--gate", "--arm", "with", status=2).stderr


def test_eval_of_a_model_folder_on_a_folder_of_games(model: Path, tmp_path: Path) -> None:
    call("envs", "make", "household", tmp_path / "games", "--split", "validation", "--games", 3)
    file = tmp_path / "figures.json"
    options = ["--games", tmp_path / "games", "--split", "validation", "--arm", "without"]
    more = ["--set", "env.max_turns=2", "--set", "rollout.max_new_tokens=4", "--out", file, "--quiet"]
    result = call("eval", model, *options, *more)
    assert "3 episodes a condition" in result.output and "McNemar" not in result.output
    rows = json.loads(file.read_text())["outcomes"]
    assert {row["arm"] for row in rows} == {"without"} and rows[0]["episodes"] == 3


def test_some_of_a_folders_games_are_of_all_families(model: Path, tmp_path: Path) -> None:
    """A folder's games are sorted by family, so its first six would be of two or three."""
    call("envs", "make", "household", tmp_path / "games", "--split", "test", "--games", 12)
    file = tmp_path / "figures.json"
    options = ["--games", tmp_path / "games", "--split", "test", "--arm", "without", "--out", file, "--quiet"]
    quick = ["--set", "env.max_turns=1", "--set", "rollout.max_new_tokens=2"]
    call("eval", model, *options, *quick, "--tasks", 6)
    families = [row for row in json.loads(file.read_text())["outcomes"] if row["family"] != "all"]
    assert [row["episodes"] for row in families] == [1] * 6
    assert "there are 12" in call("eval", model, *options, "--tasks", 13, status=2).stderr


def test_a_narrow_terminal_keeps_the_names(trained: tuple[Path, Path, str]) -> None:
    recipe, run, _ = trained
    result = CliRunner(env={"COLUMNS": "60"}).invoke(app, ["train", str(recipe), "--out", str(run), "--quiet"])
    assert "pick and place" in result.output


def test_recorded_figures_stay_with_the_run_once_for_each_arm(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[1], run)
    call("envs", "make", "household", tmp_path / "games", "--split", "test", "--games", 2)
    games = ["--games", tmp_path / "games", "--split", "test", "--quiet", "--record"]
    for arm in ("both", "with"):
        call("eval", run, *games, "--arm", arm)
    rows = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    real = [row for row in rows if row["split"] == "real" and row["family"] == "all"]
    assert [row["arm"] for row in real] == ["without", "with"]
    trained_on = json.loads((run / "status.json").read_text())["env_steps"]
    assert {row["env_steps"] for row in real} == {trained_on} != {0}


def test_record_needs_a_run_and_games(model: Path, trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    call("envs", "make", "household", tmp_path, "--split", "test", "--games", 1)
    assert "--record" in call("eval", model, "--games", tmp_path, "--record", status=2).stderr
    assert "add --games" in call("eval", trained[1], "--record", status=2).stderr


def test_compare_trains_at_several_numbers_of_environment_steps(model: Path, tmp_path: Path) -> None:
    few = {"env_steps": 16, "evaluation": {"interval": 2, "tasks": 2, "test_tasks": 2}}
    recipe = write_recipe(tmp_path, model, **few)
    command = ("compare", recipe, "--seeds", "0", "--out", tmp_path / "out", "--env-steps", "8", "--quiet")
    printed = call(*command).output
    assert "Sample efficiency" in printed and "as in its recipe" in printed
    compared, short = (
        json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("compare", "efficiency")
    )
    assert {row["budget"] for row in short} == {8} and all(8 <= row["env_steps"] < 16 for row in short)
    assert set(short[0]) == {*compared[0], "budget"} and compared[0]["env_steps"] >= 16
    assert compared[0]["optimizer_steps"] >= 0 and compared[0]["seconds"] > 0
    before = (tmp_path / "out" / "efficiency.json").read_bytes()
    call(*command)  # everything is finished
    assert (tmp_path / "out" / "efficiency.json").read_bytes() == before
    assert "--env-steps" in call(*command[:-2], "none", status=2).output


def test_compare_plays_real_games_with_the_policies_it_made(model: Path, tmp_path: Path) -> None:
    call("envs", "make", "household", tmp_path / "games", "--split", "validation", "--games", 6)
    (tmp_path / "games" / "validation").rename(tmp_path / "games" / "valid_seen")
    recipe = write_recipe(tmp_path, model, method="zero_shot", steps=0)
    command = ("compare", recipe, "--seeds", "0", "--out", tmp_path / "out", "--games", tmp_path / "games", "--quiet")
    assert "Methods, real games" in call(*command).output
    rows = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert {(row["split"], row["episodes"]) for row in rows if row["family"] == "all"} == {("test", 6), ("real", 6)}
    log = tmp_path / "out" / "runs" / "quick-s0.log"
    before = log.read_bytes()
    call(*command)
    assert log.read_bytes() == before  # nothing was played again
    refused = call("compare", recipe, "--seeds", "0", "--games", tmp_path / "nowhere", status=2)
    assert "--games" in refused.output


def test_report_prints_its_path(trained: tuple[Path, Path, str]) -> None:
    assert call("report", trained[1]).stdout.strip() == str(trained[1] / "report.html")


def test_play_yourself(trained: tuple[Path, Path, str]) -> None:
    options = ["--family", FAMILY, "--set", "env.max_turns=3"]
    result = call("play", *options, stdin="?\nskills\n\nlook\nsing a song\ninventory\n")
    assert "Your task is to" in result.output and "# household-general" in result.output
    assert "go to" in result.output and "Nothing happens" in result.output
    assert "not solved in 3 turns" in result.output
    assert "left after 0 turns" in call("play", *options, stdin="quit\n").output
    assert "left after 0 turns" in call("play", *options, stdin="").output


def test_a_won_game_is_told() -> None:
    from imprint.envs.household.maker import make_game

    walkthrough = make_game("test", 4).walkthrough
    result = call("play", "--task", "made/test/4", stdin="\n".join(walkthrough) + "\n")
    assert f"\nsolved in {len(walkthrough)} turns" in result.output


def test_where_pictures_cannot_be_kept_nothing_is_played(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    watch = ("play", "--model", "imprint-tiny", "--auto", "--show-image")
    told = call(*watch, tmp_path / "file", "--set", "context.history=image", status=2)
    assert "--show-image" in told.stderr and "name a new folder" in told.stderr
    for options in ((), ("--no-skills", "--set", "context.skills=image")):
        told = call(*watch, tmp_path / "new", *options, status=2)
        assert "--show-image: there are no pictures in the context" in told.stderr and not told.stdout
        assert not (tmp_path / "new").exists()
    assert "--model" in call("play", "--show-image", tmp_path / "new", status=2).stderr  # nobody sees any


def test_watch_a_run_play(trained: tuple[Path, Path, str]) -> None:
    result = call("play", "--model", trained[1], "--task", "made/test/3", "--auto")
    assert "household-general" in result.output and "read " in result.output and "in 2 turns" in result.output
    stepped = call("play", "--model", trained[1], "--no-skills", stdin="\nq\n").output
    assert "no skill" in stepped and "1. read" in stepped and "2. read" not in stepped


def test_play_names_tasks_that_exist() -> None:
    assert "made/test/0" in call("play", "--task", "nothing", status=2).stderr
    assert FAMILY in call("play", "--family", "dance", status=2).stderr


# --- pretrain, skills, envs, the whole ---


def test_pretrain_hands_its_recipe_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imprint.pretrain import train as pretrain
    from imprint.pretrain.lessons import Kept

    given: list[Any] = []

    class Made:
        parameters = 1234

    def train_base(recipe: pretrain.PretrainRecipe, library: Any, out: Path, progress: Any) -> tuple[Made, Kept]:
        given.append((recipe.name, recipe.steps, recipe.model.width, len(library), out))
        return Made(), Kept(4, 0.72)

    monkeypatch.setattr(pretrain, "train_base", train_base)
    recipe = tmp_path / "base.yaml"
    recipe.write_text("name: base\nsteps: 9\n")
    options = ["--out", tmp_path / "base", "--set", "model.width=32", "--quiet"]
    said = call("pretrain", recipe, *options).output
    assert "1,234 weights, of step 4 of 9 (72% success with skills)" in said
    assert f"model: {tmp_path / 'base'}" in said
    assert given == [("base", 9, 32, 7, tmp_path / "base")]
    assert "did you mean 'width'" in call("pretrain", recipe, *options, "--set", "model.widht=3", status=2).stderr


@pytest.mark.parametrize("saves", [True, False])
def test_pre_training_that_is_stopped_says_what_is_left(
    saves: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(recipe: Any, library: Any, out: Path, progress: Any) -> None:
        if saves:
            out.mkdir()
            (out / "config.json").write_text("{}", encoding="utf-8")
        raise KeyboardInterrupt

    monkeypatch.setattr("imprint.pretrain.train.train_base", stopped)
    said = call("pretrain", "pretrain/imprint-tiny", "--out", tmp_path / "base", "--quiet", status=130).stderr
    assert ("the policy saved so far is in" in said, "nothing was saved" in said) == (saves, not saves)


def test_skills_list_and_show_ours() -> None:
    listed = call("skills", "list").output
    assert "household-heat" in listed and "pick_heat_then_place_in_recep" in listed and "all" in listed
    assert "# household-heat" in call("skills", "show", "household-heat").output
    assert "household-heat" in call("skills", "show", "heat", status=2).stderr


def test_skills_validate_tells_every_problem(tmp_path: Path) -> None:
    assert "household-heat: valid" in call("skills", "validate").output
    for name, text in {
        "good": '---\nname: good\ndescription: Does.\nmetadata:\n  tasks: "*"\n---\nA page.\n',
        "bad": "---\nname: Worse\n---\nA page.\n",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "SKILL.md").write_text(text)
    result = call("skills", "validate", tmp_path, status=1)
    assert "good: valid" in result.output
    assert "SKILL.md:2" in result.output and "description" in result.output
    call("skills", "validate", tmp_path / "good")
    call("skills", "validate", tmp_path / "nowhere", status=2)


def test_skills_validate_knows_the_tasks_of_a_world(tmp_path: Path) -> None:
    assert "household-heat: valid" in call("skills", "validate", "--env", "household").output
    source = Path(__file__).parents[1] / "src/imprint/envs/household/skills/household-heat"
    shutil.copytree(source, tmp_path / "lib" / "household-heat")
    assert call("skills", "validate", tmp_path / "lib").exit_code == 0
    refused = call("skills", "validate", tmp_path / "lib", "--env", "household", status=1)
    assert "no skill serves the tasks 'pick_and_place_simple'" in refused.output


def test_envs_list_show_and_make(tmp_path: Path) -> None:
    listed = call("envs", "list").output
    assert "household" in listed and "1200" in listed
    shown = call("envs", "show", "--split", "validation", "--set", "validation=8").output
    assert "8 tasks in validation" in shown and "Your task is to" in shown
    call("envs", "make", "household", tmp_path, "--split", "test", "--games", 2)
    assert len(list(tmp_path.glob("test/*/*/game.tw-pddl"))) == 2
    assert "household" in call("envs", "make", "moon", tmp_path, status=2).stderr


def test_help_lists_the_commands_in_their_order_and_each_has_an_example() -> None:
    names = ("train", "eval", "compare", "report", "play", "skills", "envs", "pretrain")
    listed = call("--help").output
    places = [listed.index(f"│ {name} ") for name in names]
    assert places == sorted(places)
    for name in names:
        assert "Example" in call(name, "--help").output, name
    assert call("--version").output.strip() == f"imprint {__version__}"


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, imprint.cli; print([m for m in ('torch','transformers','matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "[]"


def test_seeds_are_lists_and_ranges() -> None:
    assert parse_seeds("0,2, 5-7") == [0, 2, 5, 6, 7]
    for wrong in ("", "a", "3-1", "1,,2"):
        with pytest.raises(RecipeError, match="--seeds"):
            parse_seeds(wrong)


def test_untrusted_text_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[2Jb\rc\n\td\x9b") == "a\ufffd[2Jb\ufffdc\n\td\ufffd"


@pytest.mark.parametrize(("store", "words"), [(None, "nothing is kept"), (Path("s.jsonl"), "resumes: .* in s.jsonl")])
def test_a_stopped_evaluation_says_what_is_kept(store: Path | None, words: str) -> None:
    from imprint.commands.playing import playing

    engine: Any = SimpleNamespace(meter=None, kept_in=store)
    with pytest.raises(KeyboardInterrupt, match=words), playing(engine, "eval", 2, quiet=True):
        raise KeyboardInterrupt
