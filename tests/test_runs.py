"""Runs on disk: nothing half-written is ever read, and a resumed run ends as an unbroken one does."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprint.errors import CheckpointError, ImprintError, RecipeError
from imprint.runs.metrics import MetricsWriter
from imprint.runs.run import RECORDS, Run, recipe_differences
from imprint.runs.trackers import Trackers
from imprint.support import files
from imprint.support.files import append_jsonl, atomic_folder, atomic_write, clean_leftovers, read_jsonl
from imprint.types import Episode, StopReason, Task, Turn

RECIPE = "name: a\nmethod: skill0\nsteps: 8\nenv:\n  name: household\n  max_turns: 30\n"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(folder: Path) -> dict[str, bytes]:
    """Every record of a run, by name."""
    found = [path for path in folder.rglob("*.jsonl") if "tensorboard" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(found)}


def fill_disk(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
    """Make every `os.write` fail with "no space left" once `after` bytes have been written."""
    write, room = os.write, [after]

    def full(handle: int, data: bytes) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(handle, bytes(data)[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(files.os, "write", full)


def episode(task: str = "t", text: str = "You see a mug.", skills: tuple[str, ...] = ()) -> Episode:
    turn = Turn("take mug", "take mug", text, 1.0, True, 12, 0, 2)
    return Episode(Task(task, "pick", "validation"), 3, skills, text, (turn,), True, StopReason.SUCCESS)


# Atomic files and folders


def test_atomic_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    atomic_write(path, "old")
    atomic_write(path, "nëw")
    assert path.read_bytes() == "nëw".encode()
    assert names(path.parent) == ["file.txt"]


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    atomic_write(path, "old")
    fill_disk(monkeypatch, after=3)
    with pytest.raises(CheckpointError, match=r"file\.txt: the disk is full(.|\n)*hint: free some space"):
        atomic_write(path, "a longer text")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_atomic_folder_replaces_the_whole_folder(tmp_path: Path) -> None:
    path = tmp_path / "step-000001"
    for name in ("first", "second"):
        with atomic_folder(path) as folder:
            (folder / name).write_text(name)
    assert names(path) == ["second"]
    assert names(tmp_path) == ["step-000001"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("x"), None),
        (OSError(errno.EACCES, "denied"), "denied"),
        (OSError(errno.ENOSPC, "full"), "the disk is full"),
        (RuntimeError(f"while serializing: {os.strerror(errno.ENOSPC)} (28)"), "the disk is full"),
    ],
)
def test_a_failed_folder_leaves_the_old_one(tmp_path: Path, error: Exception, message: str | None) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as folder:
        (folder / "a").write_text("old")
    with (
        pytest.raises(CheckpointError if message else KeyError, match=message),
        atomic_folder(path) as folder,
    ):
        (folder / "a").write_text("new")
        raise error
    assert (path / "a").read_text() == "old"
    assert names(tmp_path) == ["folder"]


KILLED = """
import os, sys
from pathlib import Path
from imprint.support import files
path = Path(sys.argv[1])
real = Path.rename
def rename(self, target):
    if sys.argv[2] == "between" and ".tmp-" in self.name:
        os._exit(9)
    return real(self, target)
Path.rename = rename
with files.atomic_folder(path) as folder:
    (folder / "a").write_text("new")
    if sys.argv[2] == "inside":
        os._exit(9)
"""


@pytest.mark.parametrize("moment", ["inside", "between"])
def test_a_killed_writer_does_no_harm(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as folder:
        (folder / "a").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), moment], check=False)
    assert done.returncode == 9
    assert len(names(tmp_path)) == 2  # something was left behind
    clean_leftovers(tmp_path)
    assert names(tmp_path) == ["folder"]
    assert (path / "a").read_text() == "old"


def test_cleaning_leaves_other_hidden_files_alone(tmp_path: Path) -> None:
    for name in (".lock", ".a.tmp-x1", ".b.tmp-x2", ".git.old-notes.txt", "a.tmp-x"):
        (tmp_path / name).write_text("")
    assert clean_leftovers(tmp_path, "a") == [".a.tmp-x1"]
    assert clean_leftovers(tmp_path) == [".b.tmp-x2"]
    assert names(tmp_path) == [".git.old-notes.txt", ".lock", "a.tmp-x"]


# JSONL

values = st.one_of(
    st.integers(-99, 99), st.text(max_size=8), st.none(), st.floats(allow_nan=False, allow_infinity=False)
)
rows_of = st.lists(st.dictionaries(st.text(max_size=4), values, max_size=3), max_size=5)


@given(rows=rows_of, cut=st.floats(0, 1))
def test_a_file_cut_anywhere_reads_as_its_first_rows_and_can_be_appended_to(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], cut: float
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
    append_jsonl(path, rows)
    assert read_jsonl(path) == rows
    whole = path.read_bytes()
    path.write_bytes(whole[: round(cut * len(whole))])
    left = read_jsonl(path)
    assert left == rows[: len(left)]
    assert len(left) >= path.read_bytes().count(b"\n")
    append_jsonl(path, [{"next": 1}])
    assert read_jsonl(path) == [*left, {"next": 1}]


@pytest.mark.parametrize("broken", [b'{"a": 1', b"[1]", b"", b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_a_broken_line_is_named(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 0}\n' + broken + b"\n" + b'{"a": 2}\n')
    with pytest.raises(CheckpointError, match=r"rows\.jsonl:2: this line is not a JSON object") as caught:
        read_jsonl(path)
    assert caught.value.line == 2


def test_a_broken_last_line_with_a_line_end_was_not_cut_and_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 0}\n{"a":\n')
    with pytest.raises(CheckpointError, match=":2"):
        read_jsonl(path)


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(ImprintError, match="cannot be written as JSON"):
        append_jsonl(path, [{"a": 1}, {"a": math.nan}])
    assert not path.exists()


def test_a_full_disk_leaves_a_jsonl_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [{"a": 1}])
    before = path.read_bytes()
    fill_disk(monkeypatch, after=5)
    with pytest.raises(CheckpointError, match="the disk is full"):
        append_jsonl(path, [{"a": 2}])
    assert path.read_bytes() == before


def test_a_missing_file_is_an_error_unless_it_may_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.jsonl"):
        read_jsonl(tmp_path / "nothing.jsonl")
    assert read_jsonl(tmp_path / "nothing.jsonl", missing_ok=True) == []


# Runs


def test_a_run_is_not_overwritten_but_resumed(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", RECIPE).close()
    with pytest.raises(CheckpointError, match="a run is already here"):
        Run.create(tmp_path / "run", RECIPE)
    same = "# a comment\n" + RECIPE.replace("  max_turns: 30\n", "  max_turns:   30\n")
    with Run.create(tmp_path / "run", same, resume=True) as run:
        assert run.recipe_text == RECIPE
        assert run.recipe["env"]["max_turns"] == 30


def test_resume_starts_a_run_where_there_is_none(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", RECIPE, resume=True):
        assert (tmp_path / "run" / "recipe.yaml").read_text() == RECIPE


def test_another_recipe_is_refused_and_the_keys_are_named(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", RECIPE).close()
    other = RECIPE.replace("steps: 8", "steps: 9").replace("max_turns: 30", "games: real")
    with pytest.raises(CheckpointError) as caught:
        Run.create(tmp_path / "run", other, resume=True)
    message = str(caught.value)
    for line in (
        "env.games: absent here, 'real' given",
        "env.max_turns: 30 here, absent given",
        "steps: 8 here, 9 given",
    ):
        assert line in message
    Run.create(tmp_path / "run", RECIPE, resume=True).close()  # the failed attempt gave the lock back


def test_differences_see_empty_sections() -> None:
    assert recipe_differences({"a": {}}, {"a": {"b": 1}}) == [
        "a: {} here, absent given",
        "a.b: absent here, 1 given",
    ]


@pytest.mark.parametrize("text", ["- a\n", "a: [1\n", ""])
def test_a_recipe_is_a_yaml_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        Run.create(tmp_path / "run", text)
    assert not (tmp_path / "run").exists()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", RECIPE):
        with pytest.raises(CheckpointError, match=rf"another process \(pid {os.getpid()}\) is writing"):
            Run.create(tmp_path / "run", RECIPE, resume=True)
        assert Run.open(tmp_path / "run").rows("metrics") == []  # readers need no lock
    Run.create(tmp_path / "run", RECIPE, resume=True).close()


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(CheckpointError, match="holds no run"):
        Run.create(tmp_path, RECIPE)
    with pytest.raises(CheckpointError, match="no run here"):
        Run.open(tmp_path)
    assert names(tmp_path) == ["thesis.tex"]


def test_a_reader_does_not_write(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", RECIPE).close()
    run = Run.open(tmp_path / "run")
    for attempt in (
        lambda: run.append("metrics", [{"step": 1}]),
        lambda: run.write_episodes(1, "with", []),
        lambda: run.truncate_to(0),
        lambda: run.set_status("running", 1),
        lambda: run.drop("metrics", lambda row: True),
    ):
        with pytest.raises(CheckpointError, match="reading only"):
            attempt()


def test_a_row_without_a_step_is_refused(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", RECIPE) as run:
        with pytest.raises(CheckpointError, match="no whole number `step`"):
            run.append("metrics", [{"step": 1}, {"step": None}])
        assert run.rows("metrics") == []


def test_episodes_come_back_as_they_were(tmp_path: Path) -> None:
    hard = episode(text="half a pair \ud800, a line\u2028end and </script>", skills=("general",))
    with Run.create(tmp_path / "run", RECIPE) as run:
        run.write_episodes(10, "with", [hard])
        run.write_episodes(10, "without", [episode(), episode("u")])
        run.write_episodes(10, "without", [episode("v")])  # a repeated evaluation replaces
    run = Run.open(tmp_path / "run")
    assert run.episode_steps() == [10]
    assert [Episode.from_record(record) for record in run.episode_records(10, "with")] == [hard]
    assert [record["task"]["id"] for record in run.episode_records(10, "without")] == ["v"]
    assert run.episode_records(20, "with") == []


def play(run: Run, first: int, last: int, checkpoints: int = 4) -> None:
    """A run in miniature: everything a step writes, its checkpoint last."""
    with Trackers(run):
        metrics = MetricsWriter(run)
        for step in range(first, last + 1):
            metrics.log(step, {"train/success": step / 10, "loss/kl": math.nan})
            if step % 2 == 0:
                run.append("evaluations", [{"step": step, "arm": "with"}, {"step": step, "arm": "without"}])
                run.append("curriculum", [{"step": step, "skill": "general"}])
                run.write_episodes(step, "with", [episode(f"t{step}")])
            if step % checkpoints == 0:
                with atomic_folder(run.checkpoint_path(step)) as folder:
                    (folder / "state.json").write_text("{}")


@pytest.mark.parametrize("killed_at", [4, 5, 6, 7])
def test_a_resumed_run_ends_with_the_files_of_an_unbroken_one(tmp_path: Path, killed_at: int) -> None:
    with Run.create(tmp_path / "whole", RECIPE) as whole:
        play(whole, 1, 8)
    with Run.create(tmp_path / "broken", RECIPE) as broken:
        play(broken, 1, killed_at)
    with (tmp_path / "broken" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "train/succ')  # and it was killed while writing
    with Run.create(tmp_path / "broken", RECIPE, resume=True) as again:
        start = again.checkpoint_steps()[-1]
        again.truncate_to(start)
        assert max(row["step"] for record in RECORDS for row in again.rows(record)) == 4
        assert again.episode_steps() == [2, 4]
        play(again, start + 1, 8)
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
    assert len(content(tmp_path / "whole")) == 3 + 4


def test_rows_can_be_dropped_to_evaluate_anew(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", RECIPE) as run:
        run.append("evaluations", [{"step": 1, "split": "validation"}, {"step": 1, "split": "test"}])
        assert run.drop("evaluations", lambda row: row["split"] == "test") == 1
        assert run.rows("evaluations") == [{"step": 1, "split": "validation"}]


def test_status_is_what_was_said_last(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", RECIPE) as run:
        assert run.status() == {}
        run.set_status("running", 3)
        run.set_status("finished", 8, env_steps=10)
        assert run.status() == {"state": "finished", "step": 8, "env_steps": 10}


def test_a_run_says_whether_it_is_training(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", RECIPE) as run:
        assert run.state == "training"
        run.set_status("running", 3)
        assert Run.open(tmp_path / "run").state == "training"
    assert Run.open(tmp_path / "run").state == "interrupted"  # killed: the status stayed, the lock did not
    Run.create(tmp_path / "other", RECIPE).close()
    assert Run.open(tmp_path / "other").state == ""
    with Run.create(tmp_path / "run", RECIPE, resume=True) as run:
        run.set_status("finished", 8)
        assert run.state == "finished"  # whatever holds the lock now


def test_a_look_at_the_lock_keeps_no_writer_out(tmp_path: Path) -> None:
    import fcntl
    import threading

    Run.create(tmp_path / "run", RECIPE).close()
    with (tmp_path / "run" / ".lock").open() as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        threading.Timer(0.03, fcntl.flock, (reader, fcntl.LOCK_UN)).start()
        Run.create(tmp_path / "run", RECIPE, resume=True).close()


def test_every_other_machine_is_recorded_without_names_and_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platform

    from imprint.runs import machine as recorded

    assert recorded.machines(tmp_path) == []
    recorded.record_machine(tmp_path, "cpu", 0)
    recorded.record_machine(tmp_path, "cpu", 4)  # resumed on the same one
    monkeypatch.setattr(recorded, "machine", lambda device: {"cores": 96, "device": "cuda:0 (H200)"})
    recorded.record_machine(tmp_path, "cuda:0", 6)
    first, second = recorded.machines(tmp_path)
    assert first["cores"] == os.cpu_count() and first["device"] == "cpu" and first["torch"]
    assert (first["from_step"], second) == (0, {"from_step": 6, "cores": 96, "device": "cuda:0 (H200)"})
    text = (tmp_path / "machine.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text and str(Path.home()) not in text and platform.node() not in text
    (tmp_path / "machine.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"machine\.json"):
        recorded.machines(tmp_path)


# Metrics


def test_metrics_are_plain_numbers_and_nan_is_null(tmp_path: Path) -> None:
    import numpy as np
    import torch

    with Run.create(tmp_path / "run", RECIPE) as run:
        metrics = MetricsWriter(run)
        given_ = {
            "a": np.float32(0.5),
            "b": torch.tensor(2.0),
            "c": math.inf,
            "d": math.nan,
            "e": np.int64(3),
            "f": True,
        }
        metrics.log(1, {**given_, "g": None})
        with pytest.raises(ImprintError, match="name: the metric is not a number"):
            metrics.log(2, {"name": "text"})  # type: ignore[dict-item]
    line = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert line == '{"step": 1, "a": 0.5, "b": 2.0, "c": null, "d": null, "e": 3, "f": 1, "g": null}\n'


def test_steps_go_forward(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", RECIPE) as run:
        metrics = MetricsWriter(run)
        metrics.log(2, {"a": 1})
        metrics.log(2, {"b": 1})
        with pytest.raises(ImprintError, match="step 1 was logged after step 2"):
            metrics.log(1, {"a": 1})


@pytest.mark.parametrize("place", ["world.py", "./inner/../world.py", "{folder}/world.py"])
def test_a_world_in_a_runs_own_folder_is_not_run(place: str, tmp_path: Path) -> None:
    from imprint.commands.subject import Subject

    folder = tmp_path / "run"
    with Run.create(folder, "name: a\nmethod: zero_shot\nsteps: 0\n"):
        pass
    (folder / "world.py").write_text("raise SystemExit('run')")
    name = f"{place.format(folder=folder)}:World"
    (folder / "recipe.yaml").write_text(f"name: a\nmethod: zero_shot\nsteps: 0\nenv: {{name: '{name}'}}\n")
    with pytest.raises(RecipeError, match="is not run"):
        Subject(str(folder), None, [])
