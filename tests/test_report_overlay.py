"""Several runs: in one page, in a list, and watched while they train."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imprint.cli import app
from imprint.commands.report import follow
from imprint.errors import RecipeError
from imprint.report.listing import find_runs, list_runs
from imprint.report.overlay import render_overlay, write_overlay
from imprint.report.page import render_report
from imprint.runs.run import Run
from imprint.types import StopReason, Trial
from test_report import HOSTILE, Page, evaluation, make_run

RECIPE = (
    "name: n\nmethod: {method}\nseed: {seed}\nsteps: 4\nenv: {{name: {world}, max_turns: {turns}}}\n"
    "learner: {{lr: {lr}}}\n"
)
DEFAULTS = {"method": "grpo", "seed": 0, "lr": 0.1, "world": "household", "turns": 9}


def trial(task: str, success: bool, condition: str = "without", step: int = 4, family: str = "heat") -> dict[str, Any]:
    end = StopReason.SUCCESS if success else StopReason.TURN_LIMIT
    made = Trial(
        *(step, "test", condition, task, family, 0, (), success, float(success), end),
        *(2, 2, 20, 20, 0, 4, 5, 100),
    )
    return made.to_record()


def run_of(path: Path, solved: dict[str, bool], *, state: str = "finished", **recipe: object) -> Run:
    """A run with a test of these tasks, and a metric of its own beside one that all have."""
    values = {**DEFAULTS, **recipe}
    with Run.create(path, RECIPE.format(**values)) as run:
        run.append("metrics", [{"step": s, "train/success": s / 4, f"loss/{path.name}": 1.0} for s in (1, 2, 3, 4)])
        run.append("trials", [trial(task, success) for task, success in solved.items()])
        run.append("evaluations", [evaluation(s, "without", 5 * s) for s in (0, 4)])
        if state:
            run.set_status(state, 4)
    return Run.open(path)


def test_runs_are_compared_on_the_tasks_that_all_have_played(tmp_path: Path) -> None:
    first = run_of(tmp_path / "a", {"t1": False, "t2": True, "t3": False, "only a": True})
    second = run_of(tmp_path / "b", {"t1": True, "t2": True, "t3": True, "t4": False}, method="skill0", lr=0.2)
    text = Page(render_overlay([first, second])).text
    assert "3 tasks that all runs have played (of 4)" in text
    rows = [re.sub(r"\s+", " ", line) for line in re.findall(r"(?:33\.3|100\.0)%[^%]*%[^%]*%[^\n]*", text)]
    assert len(rows) == 2 and rows[0].startswith("33.3%") and "+66.7 [" in rows[1]
    assert "loss/a, loss/b" in text and "success in training" in text
    differing = text[text.index("How their recipes differ") :]
    assert "learner.lr0.10.2" in differing and "methodgrposkill0" in differing  # cells of a row
    assert not any(key in differing for key in ("seed", "max_turns", "name"))


def test_without_a_task_in_common_nothing_is_compared(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / "a", {"t1": True}), run_of(tmp_path / "b", {"t2": True})]
    assert "no task in common" in Page(render_overlay(runs)).text
    old = Run.open(make_run(tmp_path / "old"))  # trials were not recorded then
    assert "no task in common" in Page(render_overlay([runs[0], old])).text


def test_tasks_of_another_world_are_other_tasks_whatever_their_names(tmp_path: Path) -> None:
    solved = {"made/test/0": True, "made/test/1": False}
    runs = [run_of(tmp_path / "a", solved), run_of(tmp_path / "b", solved, world="household, seed: 7")]
    page = render_overlay(runs)
    assert "the runs' worlds differ (env.seed)" in Page(page).text and "paired by task" not in page
    assert "validation tasks" not in page and "success in training" in page
    longer = run_of(tmp_path / "c", solved, turns=30)  # the same tasks, with more time for each
    assert "2 tasks that all runs have played" in Page(render_overlay([runs[0], longer])).text


def test_curves_lie_over_each_other_in_the_runs_colours(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / name, {"t": True}) for name in ("a", "b")]
    html = render_overlay(runs)
    (chart,) = re.findall(r'aria-label="success without skills, validation tasks">(.*?)</svg>', html)
    assert re.findall(r"stroke:var\(--(run\d)\)", chart) == ["run0", "run0", "run1", "run1"]  # a line and its dots each
    assert html == render_overlay(runs)


def test_names_and_values_of_runs_stay_text(tmp_path: Path) -> None:
    name = "</td><script>alert(1)"
    evil = run_of(tmp_path / name.replace("/", "\u2215"), {"t": True}, method=json.dumps(HOSTILE))
    other = run_of(tmp_path / "b", {"t": True})
    page = Page(render_overlay([evil, other]))
    plain = Page(render_overlay([run_of(tmp_path / "c", {"t": True}, method="x"), other]))
    assert [(tag, key) for tag, key, _ in page.attributes] == [(tag, key) for tag, key, _ in plain.attributes]
    assert len(page.scripts) == 2 and "alert" not in page.scripts[1]


def test_runs_of_one_name_are_told_apart_and_none_is_there_twice(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / group / "s0", {"t": True}) for group in ("x", "y")]
    text = Page(write_overlay([run.path for run in runs], tmp_path / "both.html").read_text(encoding="utf-8")).text
    assert "x/s0" in text and "y/s0" in text
    for paths in ([runs[0].path, tmp_path / "x" / "." / "s0"], [runs[0].path] * 9):
        with pytest.raises(RecipeError, match="name each run once"):
            write_overlay(paths, tmp_path / "both.html")


# Watching


def test_a_watched_page_is_written_when_a_record_changes_and_a_last_time_at_the_end(tmp_path: Path) -> None:
    path, written = tmp_path / "run", list[tuple[int | None, str]]()
    run = Run.create(path, RECIPE.format(**DEFAULTS))

    def write(refresh: int | None) -> Path:
        written.append((refresh, Page(render_report(Run.open(path), refresh)).text))
        if len(written) == 2:
            run.set_status("finished", 4)
            run.close()
        return path

    run.set_status("running", 0)
    threading.Timer(0.3, lambda: run.append("metrics", [{"step": 1, "train/success": 0.5}])).start()
    follow([path], write, 0.02)
    assert len(written) == 3 and written[2][0] is None  # at once, after the step, at the end
    assert "it is training now" in written[0][1] and "step 1" in written[1][1]
    assert "not finished" not in written[2][1]


def test_only_a_live_page_loads_itself_anew(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path / "run"))
    live, still = render_report(run, 5), render_report(run)
    assert '<body data-refresh="5">' in live and '<meta http-equiv="refresh" content="5">' in live
    assert "loads itself anew every 5 seconds" in live
    assert "data-refresh" not in still and 'http-equiv="refresh"' not in still


# Listing


def listed(*arguments: object) -> Any:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["runs", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def test_the_runs_of_a_folder_are_listed(tmp_path: Path) -> None:
    run_of(tmp_path / "one", {"t1": True})
    run_of(tmp_path / "deep" / "two", {"t1": True}, state="running")  # its process was killed
    run_of(tmp_path / "broken", {"t1": True})
    (tmp_path / "broken" / "evaluations.jsonl").write_text("{\n{}\n", encoding="utf-8")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.yaml").write_text("name: a recipe of the user\n", encoding="utf-8")
    (tmp_path / ".hidden").mkdir()
    with Run.create(tmp_path / "live", RECIPE.format(**DEFAULTS)) as run:
        run.set_status("running", 0)
        result = listed(tmp_path, "--json")
        assert "evaluations.jsonl:1" in listed(tmp_path).stderr
    document = json.loads(result.stdout)
    assert (document["format"], document["version"]) == ("imprint.runs", 1)
    found = {Path(one["path"]).name: one for one in document["runs"]}
    states = {"one": "finished", "two": "interrupted", "broken": "damaged", "live": "training"}
    assert {name: one["state"] for name, one in found.items()} == states
    one = found["one"]
    assert {key: one[key] for key in ("name", "method", "world", "seed", "step", "steps", "done")} == {
        "name": "n",
        "method": "grpo",
        "world": "household",
        "seed": 0,
        "step": 4,
        "steps": 4,
        "done": 1.0,
    }
    assert one["success"]["with"] is None
    end = one["success"]["without"]
    assert (end["split"], end["step"], end["successes"], end["episodes"], end["rate"]) == ("validation", 4, 20, 20, 1.0)
    assert end["low"] == pytest.approx(0.839, abs=1e-3) and end["high"] == 1.0
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$", one["updated"])
    assert "evaluations.jsonl:1" in found["broken"]["problem"]
    table = listed(tmp_path).stdout
    assert "100.0% [84, 100] validation" in table and "deep/two" in table and "interrupted" in table


def test_a_list_reads_no_trials_and_looks_into_no_run(tmp_path: Path) -> None:
    run = run_of(tmp_path / "one", {"t1": True})
    run_of(run.path / "checkpoints" / "inner", {"t1": True})
    (run.path / "trials.jsonl").write_text("a gigabyte\n", encoding="utf-8")
    assert [one.state for one in list_runs(tmp_path)] == ["finished"]
    assert list(find_runs(run.path)) == [run.path]
    (tmp_path / "empty").mkdir()
    assert listed(tmp_path / "empty").stdout.startswith("no run is in")
    missing = CliRunner().invoke(app, ["runs", str(tmp_path / "nowhere")])
    assert missing.exit_code == 2 and "nowhere" in missing.stderr


def test_a_run_that_has_not_begun_has_done_nothing(tmp_path: Path) -> None:
    Run.create(tmp_path / "new", "name: new\nsteps: 5\n").close()
    (one,) = list_runs(tmp_path)
    assert one.summary is not None
    assert (one.state, one.summary.share_done) == ("not begun", 0.0)
