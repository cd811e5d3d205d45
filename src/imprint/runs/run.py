"""A run on disk: one folder that holds its recipe, its records and its checkpoints.

    my-run/
      run.json                          the marker: what makes the folder a run's, see `folder.py`
      recipe.yaml                       the recipe, as given
      status.json                       state and step; a run that is "finished" is not trained further
      metrics.jsonl                     one row per training step, no wall-clock: equal runs have equal files
      trust.json                        what was found in the skills and decided, see `trust.py`
      timings.jsonl                     seconds per step (of them rollout and update), kept apart for that reason
      machine.json                      what it was trained on: cores, device, versions
      trials.jsonl                      one row per measured episode: all other figures can be made of these
      evaluations.jsonl                 one row per (step, split, condition, family), derived from the trials
      probe.pt                          the actions whose log-prob is followed, see `measurement.probe`
      curriculum.jsonl                  one row per (step, skill): every decision and its reason
      episodes/step-000010.with.jsonl   the evaluation episodes of one step and condition
      checkpoints/step-000010/          written by `checkpoint.py`
      tensorboard/
      report.html                       written by `report.py`

A resumed run drops every row later than the checkpoint it starts from (`Run.truncate_to`), so it ends with
the same files as a run that was never interrupted; for that, a step's checkpoint is the last thing it writes.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from imprint.errors import CheckpointError, ImprintError, RecipeError
from imprint.runs import folder as folders
from imprint.runs.folder import CHECKPOINT, EPISODES, RECORDS, Record
from imprint.support import files, plugins
from imprint.types import Episode

__all__ = ["RECORDS", "Record", "Run", "flat_recipe", "recipe_differences", "refuse_differences"]

PATIENCE = 5  # tries to get the lock
_CONDITION = re.compile(r"[a-z0-9_+-]+")


class Run:
    """One run's folder. `Run.create` gives a writer (locked, one at a time), `Run.open` a reader."""

    def __init__(self, path: Path, recipe_text: str, lock: int | None = None) -> None:
        self.path = path
        self.recipe_text = recipe_text
        self.recipe = _parse_recipe(recipe_text, path / "recipe.yaml")
        _refuse_code(path, self.recipe)
        self.resumed_from: int | None = None  # the step given to `truncate_to`
        self.listeners: list[Callable[[Record, Sequence[Mapping[str, Any]]], None]] = []  # told of what `append` wrote
        self._lock = lock

    @classmethod
    def create(cls, path: str | Path, recipe_text: str, resume: bool = False) -> Self:
        """Start a run at `path`, or with `resume` resume the one that is there (or start it if none is).

        Raises:
            CheckpointError: a run is there and `resume` is false; it has another recipe (the keys are named);
                another process writes it; the folder holds something else.
            RecipeError: `recipe_text` is not a YAML mapping.
        """
        path = Path(path)
        _parse_recipe(recipe_text, path / "recipe.yaml")
        recipe_path = path / "recipe.yaml"
        if not folders.is_run(path):
            folders.refuse_foreign(path)
        elif not resume:
            raise CheckpointError("a run is already here", where=path, hint="resume it, or choose another folder")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot be made: {error.strerror}", where=path, hint="check the path") from error
        lock = _lock(path / folders.LOCK)
        try:
            for folder in (path, path / "episodes", path / "checkpoints"):
                files.clean_leftovers(folder)
            if folders.is_run(path):
                _refuse_other_recipe(recipe_path, recipe_text)
                folders.mark(path)  # one older than the marker
            else:
                folders.mark(path)
                files.atomic_write(recipe_path, recipe_text)
            return cls(path, files.read_text(recipe_path), lock)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The run at `path`, to read.

        Raises:
            CheckpointError: there is no run at `path`.
        """
        path = Path(path)
        folders.refuse_missing(path)
        return cls(path, files.read_text(path / "recipe.yaml"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back; the run can still be read."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def clear(self) -> None:
        """Remove what the run has written, and leave its folder.

        Raises:
            CheckpointError: the run is open for reading only, or its folder holds something else.
        """
        self._check_writer()
        folders.clear(self.path)

    def replace_recipe(self, text: str) -> None:
        """Go on under another recipe; whether that is allowed, the caller has checked (`jobs.resume`).

        Raises:
            CheckpointError: the run is open for reading only, or the disk is full.
        """
        self._check_writer()
        if text != self.recipe_text:
            files.atomic_write(self.path / "recipe.yaml", text)
            self.recipe_text, self.recipe = text, _parse_recipe(text, self.path / "recipe.yaml")

    # Records

    def record_path(self, record: Record) -> Path:
        """Where the rows of `record` are."""
        return self.path / f"{record}.jsonl"

    def rows(self, record: Record) -> list[dict[str, Any]]:
        """The rows of `record`, oldest first; none if nothing was written yet.

        Raises:
            CheckpointError: a line is damaged.
        """
        return files.read_jsonl(self.record_path(record), missing_ok=True)

    def append(self, record: Record, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append `rows` (each with a whole number `step`) to `record`.

        Raises:
            CheckpointError: the run is open for reading only, or the disk is full.
            ImprintError: a row has no step or holds what JSON cannot.
        """
        self._check_writer()
        listed = list(rows)
        for row in listed:
            _step_of(row, self.record_path(record))
        files.append_jsonl(self.record_path(record), listed)
        for told in self.listeners:
            told(record, listed)

    def drop(self, record: Record, where: Callable[[dict[str, Any]], bool]) -> int:
        """Remove the rows of `record` for which `where` is true, e.g. to evaluate anew; gives how many.

        Raises:
            CheckpointError: the run is open for reading only, or a line is damaged.
        """
        self._check_writer()
        return files.filter_jsonl(self.record_path(record), lambda row: not where(row))

    # Episodes

    def episodes_path(self, step: int, condition: str) -> Path:
        """Where the evaluation episodes of `step` under `condition` are."""
        return self.path / "episodes" / f"step-{step:06d}.{condition}.jsonl"

    def write_episodes(self, step: int, condition: str, episodes: Sequence[Episode]) -> None:
        """Keep the evaluation episodes (text, no tokens) of `step` under `condition`, replacing any that are there.

        Raises:
            CheckpointError: the run is open for reading only, or the disk is full.
        """
        self._check_writer()
        if not _CONDITION.fullmatch(condition):
            raise ValueError(f"{condition!r} cannot name a condition, and so not a file")
        lines = [json.dumps(episode.to_record(), ensure_ascii=False) + "\n" for episode in episodes]
        files.atomic_write(self.episodes_path(step, condition), "".join(lines).encode("utf-8", "backslashreplace"))

    def episode_records(self, step: int, condition: str) -> list[dict[str, Any]]:
        """`Episode.to_record` rows of `step` under `condition`; none if it was not played."""
        return files.read_jsonl(self.episodes_path(step, condition), missing_ok=True)

    def conditions(self) -> list[str]:
        """The conditions of which evaluation episodes were kept, by name."""
        return sorted({match[2] for path in self._episode_paths() if (match := EPISODES.fullmatch(path.name))})

    def episode_steps(self) -> list[int]:
        """The steps with evaluation episodes under at least one condition, in order."""
        return sorted({step for step, _ in self._episode_files()})

    # Checkpoints

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint of `step` is or will be."""
        return self.path / "checkpoints" / f"step-{step:06d}"

    def checkpoint_steps(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        folder = self.path / "checkpoints"
        names = [entry.name for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
        return sorted(int(match[1]) for name in names if (match := CHECKPOINT.fullmatch(name)))

    def checkpoint_state(self, step: int) -> dict[str, Any]:
        """Counters of a checkpoint and what its method keeps as JSON: its `state.json`.

        Raises:
            CheckpointError: it cannot be read.
        """
        path = self.checkpoint_path(step) / "state.json"
        try:
            state = json.loads(files.read_text(path))
            if not isinstance(state, dict):
                raise TypeError("not a mapping")
        except (ImprintError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"cannot be read: {error}",
                where=path.parent,
                hint="delete this folder; the run then resumes from the checkpoint before it",
            ) from error
        return state

    def best_step(self, condition: str) -> int | None:
        """The training step with the most validation success under a condition, of equal ones the latest."""
        found = [
            (row["successes"] / row["episodes"], row["step"])
            for row in self.rows("evaluations")
            if (row["split"], row["arm"], row["family"]) == ("validation", condition, "all") and row["step"] > 0
        ]
        return max(found)[1] if found else None

    # State

    def truncate_to(self, step: int) -> None:
        """Drop every row and episode later than `step`, the step of the checkpoint from which the run resumes.

        Checkpoints are left alone. TensorBoard drops them too (`runs.trackers`).

        Raises:
            CheckpointError: the run is open for reading only, or a row is damaged or has no step.
        """
        self._check_writer()
        for record in RECORDS:
            path = self.record_path(record)
            files.filter_jsonl(path, lambda row, path=path: _step_of(row, path) <= step)  # type: ignore[misc]
        for later, path in self._episode_files():
            if later > step:
                path.unlink()
        self.resumed_from = step

    def set_status(self, state: str, step: int, **more: Any) -> None:
        """Record where the run is: `state` is "running", "finished", "interrupted" or "failed".

        Raises:
            CheckpointError: the run is open for reading only, or the disk is full.
        """
        self._check_writer()
        content = json.dumps({"state": state, "step": step, **more}, indent=2)
        files.atomic_write(self.path / "status.json", content + "\n")

    def status(self) -> dict[str, Any]:
        """The last status that was set; empty if none."""
        path = self.path / "status.json"
        if not path.exists():
            return {}
        try:
            status = json.loads(files.read_text(path))
        except ValueError as error:
            raise CheckpointError(f"not JSON: {error}", where=path, hint="remove the file") from error
        return status if isinstance(status, dict) else {}

    @property
    def state(self) -> str:
        """`training`, or how it ended: `finished`, `interrupted`, `failed`; empty before it began.

        A process that was killed leaves the status `running` behind, but not the lock.
        """
        said = str(self.status().get("state", ""))
        if said in ("", "running") and _is_locked(self.path / folders.LOCK):
            return "training"
        return "interrupted" if said == "running" else said

    def _episode_files(self) -> list[tuple[int, Path]]:
        paths = self._episode_paths()
        return [(int(match[1]), path) for path in paths if (match := EPISODES.fullmatch(path.name))]

    def _episode_paths(self) -> list[Path]:
        folder = self.path / "episodes"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def _check_writer(self) -> None:
        if self._lock is None:
            raise CheckpointError(
                "this run is open for reading only",
                where=self.path,
                hint="write through Run.create(..., resume=True)",
            )


def recipe_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line per dotted key in which two recipes differ, e.g. `seed: 0 here, 1 given`.

    A key that is null is as good as absent: recipes older than an optional key or section stay as they are. Whom the
    user trusts changes no number; it is judged anew at every start, and recorded in `trust.json`.
    """
    flat_old, flat_new = (
        {k: v for k, v in flat_recipe(one).items() if not k.startswith("trust.")} for one in (old, new)
    )

    def show(value: object) -> str:
        text = "absent" if value is None else repr(value)
        return text if len(text) <= 60 else text[:59] + "…"

    return [
        f"{key}: {show(flat_old.get(key))} here, {show(flat_new.get(key))} given"
        for key in sorted({*flat_old, *flat_new})
        if flat_old.get(key) != flat_new.get(key)
    ]


def flat_recipe(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A recipe by dotted keys, e.g. `env.max_turns`."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        flat |= flat_recipe(inner, f"{name}.") if isinstance(inner, Mapping) and inner else {name: inner}
    return flat


def _refuse_code(path: Path, recipe: Mapping[str, Any]) -> None:
    """Refuse a run whose world is a file that came with it: opening a stranger's run must not run their code.

    Raises:
        RecipeError: it is.
    """
    env = recipe.get("env")
    name = env.get("name") if isinstance(env, Mapping) else env
    if isinstance(name, str) and plugins.in_file(name):
        file = (path / name.rpartition(":")[0]).resolve()
        if file.is_relative_to(path.resolve()):
            raise RecipeError(
                "the world is a file in the run's own folder, which is not run",
                where=path / "recipe.yaml",
                key="env.name",
                hint="read the file; if you trust it, move it out of the folder and name its place here",
            )


def _parse_recipe(text: str, where: Path) -> dict[str, Any]:
    try:
        recipe = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        raise RecipeError(
            "this is not YAML", where=where, line=line, hint="`imprint recipes demo` prints an example"
        ) from error
    if not isinstance(recipe, dict):
        raise RecipeError(
            "a recipe is a mapping of keys to values", where=where, hint="`imprint recipes demo` prints an example"
        )
    return recipe


def _refuse_other_recipe(path: Path, recipe_text: str) -> None:
    refuse_differences(path, _parse_recipe(files.read_text(path), path), _parse_recipe(recipe_text, path))


def refuse_differences(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to go on with a run whose recipe, at `path`, is another one.

    Raises:
        CheckpointError: they differ (the keys are named).
    """
    differences = recipe_differences(old, new)
    if differences:
        raise CheckpointError(
            "the run here has another recipe:\n    " + "\n    ".join(differences),
            where=path,
            key=differences[0].partition(":")[0],
            hint="resume with the run's own recipe.yaml, or start a new run in another folder",
        )


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        for _ in range(PATIENCE):  # a reader that looks whether it is locked (`_is_locked`) has it for an instant
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.02)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
        os.close(handle)
        raise CheckpointError(
            f"another process{f' ({holder})' if holder else ''} is writing this run",
            where=path.parent,
            hint="wait for it or stop it; a killed process gives the lock back by itself",
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"pid {os.getpid()}\n".encode("ascii"), 0)
    return handle


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _step_of(row: Mapping[str, Any], path: Path) -> int:
    step = row.get("step")
    if not isinstance(step, int) or isinstance(step, bool):
        raise CheckpointError(
            f"a row has no whole number `step`: {str(dict(row))[:80]}",
            where=path,
            key="step",
            hint="add the step",
        )
    return step
