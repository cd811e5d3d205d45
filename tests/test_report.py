"""The report: right numbers, one self-contained page, and untrusted text that stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from imprint.envs.base import goal_text, make_world
from imprint.errors import CheckpointError, ImprintError
from imprint.report.charts import context_chart, gap_chart
from imprint.report.compare_figure import interval_over_seeds
from imprint.report.page import MAX_TASKS, compare_plot, embed_json, render_report, write_report
from imprint.report.panels import Line, Panel, stacked_panels, training_panels
from imprint.report.summary import Summary
from imprint.runs.machine import record_machine
from imprint.runs.run import Record, Run
from imprint.types import Episode, StopReason, Task, Turn

RECIPE = "name: {name}\nmethod: skill0\nmodel: tiny\nseed: 0\nsteps: 20\nenv: {{name: household}}\n"
HOSTILE = "</script><script>alert(1)</script>\u2028{{7*7}}{% raw %}<img src=x onerror=alert(2)>\"'&amp;$x_$\ud800"


class Page(HTMLParser):
    """The elements, attributes and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._script = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "script":
            self._script = True
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._script = self._script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[-1] += data
        else:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]

    @property
    def episodes(self) -> list[dict[str, object]]:
        data: list[dict[str, object]] = json.loads(self.scripts[0])
        return data


def evaluation(step: int, arm: str, successes: int, family: str = "all", **more: object) -> dict[str, object]:
    row = {"step": step, "split": "validation", "arm": arm, "family": family, "episodes": 20}
    return {**row, "successes": successes, "context_tokens": 500.0 if arm == "with" else 200.0, **more}


def decision(step: int, skill: str, action: str, active: bool, helpfulness: float | None) -> dict[str, object]:
    stage, budget = (1, 2) if step < 10 else (2, 0)
    row = {"step": step, "stage": stage, "budget": budget, "skill": skill, "action": action, "active": active}
    return {**row, "helpfulness": helpfulness, "low": None, "high": None, "reason": f"because {skill}"}


def episode(index: int, skills: tuple[str, ...], text: str = "A room.", turns: int = 2) -> Episode:
    turn = Turn("think\ngo", "go", text, 0.0, index % 2 == 0, 100, 0, 1)
    task = Task(f"task-{index}", ("pick", "heat")[index % 3 == 0], "validation")
    return Episode(task, index, skills, text, (turn,) * turns, index % 2 == 0, StopReason.TURN_LIMIT, goal=text)


def make_run(path: Path, text: str = "general", episodes: int = 4) -> Path:
    """A small finished run in which `text` is in every place that others can write to."""
    with Run.create(path, RECIPE.format(name=json.dumps(text, ensure_ascii=True))) as run:
        for step in range(1, 21):
            run.append(
                "metrics",
                [{"step": step, "train/success": step / 20, "env_steps": 100 * step, "loss/kl": None}],
            )
            run.append("timings", [{"step": step, "seconds": 60.0}])
        for step, with_, without in ((0, 8, 2), (10, 12, 8), (20, 16, 15)):
            for arm, successes in (("with", with_), ("without", without)):
                rows = [evaluation(step, arm, successes), evaluation(step, arm, successes, family=text)]
                run.append("evaluations", rows)
                skills = (text,) if arm == "with" else ()
                run.write_episodes(step, arm, [episode(i, skills, text) for i in range(episodes)])
        run.append("curriculum", [decision(0, text, "keep", True, 0.25), decision(0, "pick", "abstain", True, None)])
        run.append("curriculum", [decision(10, text, "withdraw", False, -0.004)])
    return path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = make_run(tmp_path_factory.mktemp("hostile") / "run", HOSTILE)
    return write_report(path).read_text(encoding="utf-8")


def report(path: Path) -> str:
    return write_report(path).read_text(encoding="utf-8")


# Untrusted text


def test_untrusted_text_makes_no_element_and_no_attribute(hostile: str, tmp_path: Path) -> None:
    def shape(html: str) -> list[tuple[str, str]]:
        return [(tag, name) for tag, name, _ in Page(html).attributes]

    assert shape(hostile) == shape(report(make_run(tmp_path / "run")))
    page = Page(hostile)
    assert len(page.scripts) == 2
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "alert" not in page.scripts[1]


def test_untrusted_text_is_shown_as_it_is(hostile: str) -> None:
    page = Page(hostile)
    shown = HOSTILE.replace("\ud800", "?")
    assert f"{shown} · Imprint" in page.text  # the title; nothing was evaluated as a template
    assert any(shown in tip for tip in page.values("data-tip"))
    assert page.episodes[0]["pairs"][0]["with"]["first"] == HOSTILE  # type: ignore[index]
    assert page.episodes[0]["pairs"][0]["goal"] == HOSTILE  # type: ignore[index]


def test_embedded_json_cannot_end_its_script() -> None:
    text = embed_json({"a": HOSTILE, "<": "\u2029<!--"})
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": HOSTILE, "<": "\u2029<!--"}


def test_only_the_pages_own_script_may_run(hostile: str) -> None:
    page = Page(hostile)
    policy = next(value for value in page.values("content") if "default-src" in value)
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert "innerHTML" not in page.scripts[1]


def test_the_page_needs_nothing_else(hostile: str) -> None:
    page = Page(hostile)
    links = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
    assert links  # the markers of the charts
    assert all(value.startswith("#") for value in links)
    style = re.search(r"<style>(.*?)</style>", hostile, re.S)
    assert style
    assert not re.search(r"url\(|@import|https?:", style[1])


# Numbers


def test_the_headline_says_what_the_rows_say(tmp_path: Path) -> None:
    text = Page(report(make_run(tmp_path / "run"))).text
    assert "Without any skill in its context the policy solves 75% of validation tasks (10% at step 0)." in text
    assert "With its skills it solves 80%." in text
    assert "A turn reads 200 tokens instead of 500." in text
    assert "With minus without: +30 points at step 0 and +5 points at step 20." in text
    for card in ("+65 pts", "−60%", "2,000", "20 min", "95%: 53% to 89%"):
        assert card in text
    assert "not finished" not in text


def test_a_run_that_could_learn_nothing_says_so_and_boasts_of_no_saving(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with Run.create(path, RECIPE.format(name="flat")) as run:
        flat = {"train/success": 0.0, "train/flat_groups": 1.0, "env_steps": 100}
        run.append("metrics", [{"step": step, **flat} for step in range(1, 21)])
        for step in (0, 20):
            run.append("evaluations", [evaluation(step, arm, 0) for arm in ("with", "without")])
    page = Page(report(path))
    assert "Nothing could be learned in each of the 20 training steps" in page.text
    assert "instead of 500" not in page.text and "−60%" not in page.text
    with Run.create(path, (path / "recipe.yaml").read_text(), resume=True) as run:
        taught = {"train/success": 0.5, "train/flat_groups": 0.5, "loss/samples": 8}
        run.append("metrics", [{"step": step, **taught} for step in range(21, 41)])
    assert "Nothing could be learned" not in Page(report(path)).text


def test_the_headline_prefers_a_test_that_was_played_last(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    with Run.create(path, (path / "recipe.yaml").read_text(), resume=True) as run:
        run.append("evaluations", [evaluation(0, "without", 19, split="test")])
        head = Summary.of(run).headline("without")
        assert head and (head.end.split, head.end.step) == ("validation", 20)
        run.append("evaluations", [evaluation(20, "without", 5, split="test")])
        head = Summary.of(run).headline("without")
        assert head and head.start
        assert (head.end.split, head.end.successes, head.start.split, head.start.successes) == (
            "test",
            5,
            "test",
            19,
        )
        run.drop("evaluations", lambda row: row["split"] == "test" and row["step"] == 0)
        head = Summary.of(run).headline("without")
        assert head and head.start
        assert (head.end.split, head.start.split) == ("test", "validation")
        rise = Summary.of(run).rise("without")
        assert rise and [(one.split, one.step) for one in rise] == [("validation", 0), ("validation", 20)]
    assert "10% to 75% of 20 validation tasks" in Page(report(path)).text


def test_a_repeated_evaluation_counts_once_and_the_last_one_counts(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    with Run.create(path, (path / "recipe.yaml").read_text(), resume=True) as run:
        run.append("evaluations", [evaluation(20, "without", 1)])
        curve = Summary.of(run).curve("validation", "without")
    assert [(e.step, e.successes) for e in curve] == [(0, 2), (10, 8), (20, 1)]


def test_the_skill_map_shows_decisions_and_what_stayed(tmp_path: Path) -> None:
    html = report(make_run(tmp_path / "run"))
    cells = re.findall(r'class="cell ([^"]*)" data-tip="([^"]*)"><i[^>]*></i><b>([^<]*)</b>', html)
    seen = [(classes.split(), text) for classes, _, text in cells]
    assert seen == [
        (["active", "plus", "strong"], "+25"),
        (["gone", "minus", "left"], "0"),  # −0.4 points, withdrawn
        (["active", "unknown"], "?"),
        (["active", "unknown"], ""),  # no decision at step 10: stays where it was
    ]
    assert "withdraw: because general" in cells[1][1]
    assert "stage 2 · at most 1" in html and "stage 3 · at most 0" in html


def test_stages_begin_where_the_budget_changes_whatever_was_decided(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path / "run"))
    assert Summary.of(run).stages == [(0, 1, 2), (6, 2, 1), (12, 3, 0)]  # 20 steps: stages of 6, 6 and 8
    run.recipe["env_steps"] = 1000  # 100 a step: twice as fast
    assert Summary.of(run).stages == [(0, 1, 2), (3, 2, 1), (6, 3, 0)]


def test_the_same_records_give_the_same_page(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    assert render_report(Run.open(path)) == render_report(Run.open(path))


# Training metrics


def log(path: Path, rows: list[dict[str, object]], record: Record = "metrics") -> Path:
    with Run.create(path, RECIPE.format(name="a")) as run:
        run.append(record, rows)
    return path


@pytest.mark.parametrize("name", ["loss/clip_fraction", "grad_norm", "train/invalid", "another/metric", "a</b>"])
def test_every_metric_that_is_logged_has_a_panel(tmp_path: Path, name: str) -> None:
    path = log(tmp_path / "run", [{"step": 1, name: 0.25}, {"step": 2, name: 0.75}])
    (panel,) = training_panels({"a": Summary.of(Run.open(path))}, ["without"])
    assert [(line.steps, line.values) for line in panel.lines] == [([1, 2], [0.25, 0.75])]
    text = Page(report(path)).text
    assert panel.title in text and panel.note in text
    assert panel.form == "{:.3g}" or "75%" in text


def test_the_policy_loss_and_what_cannot_be_learned_from_are_explained(tmp_path: Path) -> None:
    row = {"step": 1, "loss/policy": -0.01, "train/flat_groups": 0.5, "train/zero_advantage_groups": 0.25}
    text = Page(report(log(tmp_path / "run", [row]))).text
    assert "It does not measure progress" in text and "−advantage × ratio" in text
    assert "groups without advantage · 25%" in text and "flat groups · 50%" in text


def test_a_panels_axes_by_hand() -> None:
    line = Line("a", "without", [0, 10], [0.5, 1.0])
    panel = Panel("loss", (line,))
    assert panel.bounds == (0.5, 1.0) and panel.ends == ("1", "0.5") and panel.last_step == 10
    assert 'd="M0.0 90.0 L300.0 0.0"' in panel.svg()
    assert Panel("share", (line,), form="{:.0%}", top=1.0).bounds == (0.0, 1.0)
    assert Panel("constant", (Line("a", "b", [1, 2], [3.0, 3.0]),)).bounds == (0.0, 3.0)
    assert Panel("nothing", (Line("a", "b", [1], [0.0]),)).bounds == (0.0, 1.0)
    stacked = Panel("s", (line, Line("b", "with", [0, 10], [0.5, 0.0])), stacked=True, top=1.0)
    assert [path.split('"')[3] for path in re.findall(r"<path[^>]*>", stacked.svg())] == [
        "M0.0 45.0 L300.0 0.0 L300.0 90.0 L0.0 90.0Z",
        "M0.0 0.0 L300.0 0.0 L300.0 0.0 L0.0 45.0Z",
    ]


def test_stop_reasons_and_the_split_of_time_are_stacked(tmp_path: Path) -> None:
    path = log(tmp_path / "run", [{"step": 1, "stop/success": 0.25, "stop/turn_limit": 0.75, "stop/failure": 0.0}])
    with Run.create(path, RECIPE.format(name="a"), resume=True) as run:
        run.append("timings", [{"step": 1, "rollout": 3.0, "update": 2.0, "seconds": 6.0}, {"step": 2, "seconds": 1.0}])
    why, when = stacked_panels(Summary.of(Run.open(path)))
    assert [(line.name, line.values) for line in why.lines] == [("success", [0.25]), ("turn limit", [0.75])]
    parts = [("rollout", [3.0]), ("update", [2.0]), ("evaluation and the rest", [1.0])]
    assert [(line.name, line.values) for line in when.lines] == parts


def test_an_axis_of_steps_has_whole_numbers(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", RECIPE.format(name="a")) as run:
        for step in (0, 1, 2):
            run.append("evaluations", [evaluation(step, "without", 4)])
    for chart in (gap_chart, context_chart):
        svg = chart(Summary.of(Run.open(tmp_path / "run")))
        assert svg and not re.search(r">\d+\.\d+</text>", svg)
        assert re.search(r">2</text>", svg)


def test_the_machine_is_told(tmp_path: Path) -> None:
    path = log(tmp_path / "run", [])
    record_machine(path, "cpu", 0)
    text = Page(report(path)).text
    assert "device cpu" in text and "torch " in text and "cores " in text


# Runs that are not whole


def test_a_run_without_any_record(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", RECIPE.format(name="a")) as run:
        run.set_status("running", 0)
        assert "this run is not finished, it is training now" in Page(render_report(Run.open(run.path))).text
    text = Page(report(tmp_path / "run")).text
    assert "Nothing has been evaluated yet." in text
    assert "step 0, 0% of the training: this run is not finished, it was interrupted" in text
    assert "No episodes were kept." in text


def test_a_run_with_one_arm_and_one_evaluation(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", "method: grpo\n") as run:
        row = evaluation(0, "without", 4)
        del row["context_tokens"]
        run.append("evaluations", [row, evaluation(0, "without", 0, family="pick", episodes=0)])
        run.write_episodes(0, "without", [episode(1, ())])
    page = Page(report(tmp_path / "run"))
    assert "the policy solves 20% of validation tasks." in page.text
    assert "With its skills" not in page.text
    assert "What stayed in the context" not in page.text
    assert "No context tokens recorded." in page.text
    assert page.episodes[0]["pairs"][0]["with"] is None  # type: ignore[index]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"successes": 21}, "21 successes of 20 episodes"),
        ({"arm": "../both"}, "arm is '../both'"),
        ({"episodes": "20"}, "episodes is '20', which is no int"),
    ],
)
def test_an_impossible_row_is_named(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with Run.create(tmp_path / "run", RECIPE.format(name="a")) as run:
        run.append("evaluations", [{**evaluation(0, "with", 3), **row}])
    with pytest.raises(CheckpointError, match=rf"evaluations\.jsonl:1: a row is no evaluation: .*{message}"):
        write_report(tmp_path / "run")


def test_the_episodes_shown_are_capped_and_it_says_so(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", episodes=90)
    with Run.create(path, (path / "recipe.yaml").read_text(), resume=True) as run:
        for step in (2, 4, 6):
            run.write_episodes(step, "with", [])
        run.write_episodes(20, "without", [episode(1, (), "x" * 5000, turns=70)])
    page = Page(report(path))
    assert [(e["step"], e["total"], len(e["pairs"])) for e in page.episodes] == [  # type: ignore[arg-type]
        (0, 90, MAX_TASKS),
        (6, 0, 0),
        (20, 90, MAX_TASKS),
    ]
    families = [pair["family"] for pair in page.episodes[0]["pairs"]]  # type: ignore[attr-defined]
    assert families.count("heat") == families.count("pick") == MAX_TASKS // 2
    assert f"at most {MAX_TASKS} tasks of each" in page.text
    long = next(p["without"] for p in page.episodes[2]["pairs"] if p["task"] == "task-1")  # type: ignore[attr-defined]
    assert (len(long["turns"]), long["left"]) == (60, 10)
    assert long["first"].endswith("… (3,000 characters more)")


def test_a_task_is_called_what_its_world_says_and_a_run_that_is_older_by_its_ids(tmp_path: Path) -> None:
    room = "You are in a room.\n\nYour task is to: put a  mug\nin the sink."
    assert goal_text(make_world("household"), room) == "put a mug in the sink."
    assert goal_text(make_world("search"), "Question: who\nwas it?") == "Question: who was it?"
    path = make_run(tmp_path / "run", "x" * 300)
    assert Page(report(path)).episodes[0]["pairs"][0]["goal"] == "x" * 200 + "… (100 characters more)"  # type: ignore[index]
    for file in (path / "episodes").iterdir():
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        bare = [{key: value for key, value in row.items() if key != "goal"} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in bare), encoding="utf-8")
    assert {pair["goal"] for pair in Page(report(path)).episodes[0]["pairs"]} == {""}  # type: ignore[attr-defined]


# Comparing methods


def comparison(seeds: int = 3) -> list[dict[str, object]]:
    return [
        {
            "method": m,
            "seed": s,
            "split": "test",
            "family": "all",
            "arm": a,
            "episodes": 10,
            "successes": s + 5,
        }
        for m in ("grpo", "<skill0> $x_$")
        for s in range(seeds)
        for a in ("with", "without")
    ]


def test_intervals_over_seeds_by_hand() -> None:
    mean, low, high = interval_over_seeds([4, 6], [10, 10])
    assert mean == pytest.approx(0.5)
    assert (low, high) == (0.0, 1.0)  # 0.5 ± 12.706 * 0.1, cut
    mean, low, high = interval_over_seeds([5, 6, 7], [10, 10, 10])
    assert (low, high) == pytest.approx((0.6 - 4.302653 * 0.1 / 3**0.5, 0.6 + 4.302653 * 0.1 / 3**0.5))
    assert interval_over_seeds([0], [10])[2] == pytest.approx(0.2775, abs=1e-4)  # one seed: Wilson


def test_compare_plot_draws_both_files_the_same_each_time(tmp_path: Path) -> None:
    png, svg = compare_plot(comparison(), tmp_path / "new" / "figure.png")
    assert png.read_bytes().startswith(b"\x89PNG")
    first = svg.read_bytes()
    assert first.startswith(b"<?xml")
    assert compare_plot(comparison(), tmp_path / "new" / "figure")[1].read_bytes() == first


def test_compare_plot_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImprintError, match="no row of the split 'real'"):
        compare_plot(comparison(), tmp_path / "figure", split="real")
    with pytest.raises(ImprintError, match="lacks 'arm'"):
        compare_plot([{"method": "a", "split": "test", "family": "all", "episodes": 1}], tmp_path / "figure")


def test_evaluations_are_made_of_trials_and_a_damaged_trial_is_named(tmp_path: Path) -> None:
    from imprint.report.records import run_evaluations
    from imprint.types import StopReason, Trial

    def trial(number: int, success: bool, condition: str = "without", split: str = "test") -> dict[str, Any]:
        made = Trial(
            2,
            split,
            condition,
            f"t{number}",
            "heat",
            number,
            (),
            success,
            float(success),
            StopReason.SUCCESS,
            2,
            2,
            10,
            10,
            0,
            4,
            5,
        )
        return made.to_record()

    with Run.create(tmp_path / "run", "name: t\n") as run:
        run.append("trials", [trial(1, True), trial(2, False), trial(3, True, "active", "evidence")])
        old = {"step": 0, "split": "test", "arm": "with", "family": "all", "episodes": 1, "successes": 1}
        run.append("evaluations", [old])
        rows = run_evaluations(run)
        assert [(row.step, row.arm, row.family) for row in rows] == [
            (0, "with", "all"),  # an older version wrote it: it has no trials
            (2, "without", "all"),
            (2, "without", "heat"),
        ]
        assert (rows[1].successes, rows[1].episodes, rows[1].context_tokens) == (1, 2, 5.0)
        run.append("trials", [{"step": 3}])
        with pytest.raises(CheckpointError, match=r"trials\.jsonl:4: a row is no trial"):
            run_evaluations(run)
