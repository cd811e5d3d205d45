"""The rows of the published sets by set and split, duplicates merged, and those to train and test on chosen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from imprint.envs.search.categories import category
from imprint.envs.search.question import Question, normalize
from imprint.envs.search.rows import SETS, DataFile, Row, count_rows, find_files, read_rows
from imprint.errors import QuestionError


@dataclass(frozen=True, slots=True)
class Merged:
    """A row that asks what an earlier one of its set and split asks; its answers went to that one."""

    kept: str  # the question's id
    where: str  # the row's file and number


@dataclass(slots=True)
class Entry:
    """A question as it is put together from one row, or from several that ask the same."""

    id: str
    row: Row
    key: str  # the normalised question
    answers: dict[str, None]
    label: str | None

    def question(self) -> Question:
        """The question with its category."""
        kind = category(self.row.source, self.row.text, self.label)
        return Question(self.id, self.row.text, tuple(self.answers), kind, self.row.source)


@dataclass(slots=True)
class _Pool:
    entries: dict[str, Entry] = field(default_factory=dict)
    unanswered: list[Row] = field(default_factory=list)


class Pools:
    """What is in a folder of question sets.

    Attributes:
        found: rows by set and file split.
        left_out: how many rows are not used, by set and reason.
        merged: the duplicates.
        strangers: files that belong to no known set.
        train: the questions to train or validate on, set by set.
        tests: the test questions of each set: its test rows if they have answers, else its dev rows.

    Raises:
        QuestionError: a file is broken, or a row is no question with an answer.
    """

    def __init__(self, folder: Path, sets: Collection[str], train_sets: Collection[str]) -> None:
        self.found: Counter[tuple[str, str]] = Counter()
        self.left_out: Counter[tuple[str, str]] = Counter()
        self.merged: list[Merged] = []
        self._sets, self._train_sets, self._ids = sets, train_sets, set[str]()
        self._pools: defaultdict[tuple[str, str], _Pool] = defaultdict(_Pool)
        files, self.strangers = find_files(folder)
        for file in files:
            self._read(file)
        self.train = [e for name in SETS for e in self._answered(name, "train")]
        self.tests = {name: self._test(name) for name in SETS}

    def _read(self, file: DataFile) -> None:
        reason = None if file.source is None else self._unwanted(file.source, file.split)
        if file.source is not None and reason is not None:  # not even parsed
            self._skip(file.source, file.split, reason, count_rows(file.path))
            return
        for row in read_rows(file):
            reason = self._unwanted(row.source, file.split)
            if reason is None:
                self._add(file, row)
            else:
                self._skip(row.source, file.split, reason, 1)

    def _unwanted(self, source: str, split: str) -> str | None:
        """Why rows are not used; test files are read before dev files."""
        if source not in self._sets:
            return "not among the sets asked for"
        if split == "train" and source not in self._train_sets:
            return "train rows of a set that is not trained on"
        if split == "dev" and self._pools[source, "test"].entries:
            return "dev rows, as the test rows have answers"
        return None

    def _skip(self, source: str, split: str, reason: str, rows: int) -> None:
        self.found[source, split] += rows
        if rows:
            self.left_out[source, reason] += rows

    def _add(self, file: DataFile, row: Row) -> None:
        self.found[row.source, file.split] += 1
        pool = self._pools[row.source, file.split]
        if not row.answers:
            pool.unanswered.append(row)
            return
        key = normalize(row.text)
        entry = pool.entries.get(key)
        if entry is None:
            pool.entries[key] = Entry(self._new_id(file, row), row, key, dict.fromkeys(row.answers), row.label)
            return
        entry.answers.update(dict.fromkeys(row.answers))
        entry.label = entry.label or row.label
        self.merged.append(Merged(entry.id, row.where))

    def _new_id(self, file: DataFile, row: Row) -> str:
        """The row's own id with its set's name (`nq/train_0`): unlike the own one it is unique over sets and splits."""
        own = row.id or str(row.number)
        base = f"{row.source}/{own}" if own.startswith(f"{file.split}_") else f"{row.source}/{file.split}/{own}"
        name, again = base, 1
        while name in self._ids:
            again += 1
            name = f"{base}#{again}"
        self._ids.add(name)
        return name

    def _answered(self, source: str, split: str) -> list[Entry]:
        pool = self._pools[source, split]
        if pool.unanswered:
            row = pool.unanswered[0]
            raise QuestionError(
                f"row {row.number} has no answer ({len(pool.unanswered):,} rows of {source} have none)",
                where=row.path,
                key="golden_answers",
                hint="give each row its answers, or take it out",
            )
        return list(pool.entries.values())

    def _test(self, source: str) -> list[Entry]:
        test, dev = self._pools[source, "test"], self._pools[source, "dev"]
        if test.entries or not (dev.entries or dev.unanswered):
            return self._answered(source, "test")
        if test.unanswered:
            self.left_out[source, "test rows, as they have no answers (its dev rows are the test)"] += len(
                test.unanswered
            )
        return self._answered(source, "dev")
