"""The published question sets as train, validation and test: every question labelled, no question in two splits.

    PublishedQuestions("data").questions("train")

The folder holds what Search-R1 (`nq_hotpotqa_train/{train,test}.parquet`) or FlashRAG (`<set>/{train,dev,test}.jsonl`)
publishes, or both. Every row ends in a split, in `merged`, in `overlaps` or in `left_out`; `notes` counts them.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imprint.envs.base import SPLITS
from imprint.envs.search.categories import LABELS, Agreement, agreement
from imprint.envs.search.pools import Entry, Merged, Pools
from imprint.envs.search.question import CATEGORIES, Question
from imprint.envs.search.rows import SETS, set_name
from imprint.errors import QuestionError

__all__ = ["SETS", "TRAINED_ON", "Merged", "Overlap", "PublishedQuestions"]

TRAINED_ON = ("nq", "hotpotqa")  # as published


@dataclass(frozen=True, slots=True)
class Overlap:
    """A question to train on that stands in a test set too, and is therefore left out."""

    id: str
    text: str
    test: str  # the test question's id


class PublishedQuestions:
    """The question sets under `folder`, read at once.

    Args:
        folder: of Search-R1's or FlashRAG's files.
        sets: which of `SETS` to use; None: all that are found.
        train_sets: the sets to train and validate on; the train rows of others are left out.
        validation: how many questions are held out of the train rows, the categories in turn, at most half of each.
        limit: test questions of a set at most, a seeded sample: a number, or one by set.
        seed: of what is held out and sampled.

    Attributes:
        notes: what a user should hear: what is left out, merged or missing, and how many.
        found: rows by set and file split (`train`, `dev`, `test`).
        merged: the rows that ask what an earlier one of their set and split asks.
        overlaps: the train questions that stand in a test set. All test questions count, those over the limit too.
        left_out: how many rows are in no split for another reason, by set and reason.

    Raises:
        QuestionError: nothing is found, a file is broken, or a row is no question with an answer; names file and row.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        sets: Sequence[str] | None = None,
        train_sets: Sequence[str] = TRAINED_ON,
        validation: int = 1000,
        limit: int | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        wanted = SETS if sets is None else _known("sets", sets)
        limits = _limits(limit)
        if validation < 0:
            raise QuestionError(f"{validation} is less than none", key="env.validation", hint="give 0 or more")
        pools = Pools(Path(folder), wanted, _known("train_sets", train_sets))
        _check_found(Path(folder), pools, wanted if sets is not None else ())
        self.folder, self.found, self.left_out = Path(folder), pools.found, pools.left_out
        self.merged = tuple(pools.merged)
        train, self.overlaps = _without_tests(pools)
        held_out = _held_out(train, validation, seed)
        tests = [entry for name in SETS for entry in self._sample(pools.tests[name], limits.get(name), seed)]
        self._labels = {e.id: e.label for e in (*train, *tests) if e.label is not None}
        self._splits = {
            "train": tuple(e.question() for e in train if e.key not in held_out),
            "validation": tuple(e.question() for e in train if e.key in held_out),
            "test": tuple(e.question() for e in tests),
        }
        self.notes = tuple(self._notes(pools, validation))

    def questions(self, split: str) -> Sequence[Question]:
        """The questions of `train`, `validation` or `test`, in a fixed order."""
        if split not in self._splits:
            raise QuestionError(f"there is no split {split!r}", key="split", hint=f"choose one of {', '.join(SPLITS)}")
        return self._splits[split]

    def agreement(self, split: str) -> dict[str, Agreement]:
        """The wording rule against the sets' own labels, for each set that has labels in `split`."""
        labelled: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for question in self.questions(split):
            label = self._labels.get(question.id)
            if label in LABELS:
                labelled[question.source].append((question.text, label))
        return {source: agreement(pairs) for source, pairs in labelled.items()}

    def _sample(self, entries: list[Entry], limit: int | None, seed: int) -> list[Entry]:
        if limit is None or len(entries) <= limit:
            return entries
        self.left_out[entries[0].row.source, f"test questions over the limit of {limit:,}"] += len(entries) - limit
        kept = {e.key for e in sorted(entries, key=lambda e: _rank(seed, "test", e.key))[:limit]}
        return [e for e in entries if e.key in kept]

    def _notes(self, pools: Pools, validation: int) -> Iterator[str]:
        for (source, reason), rows in self.left_out.items():
            yield f"{source}: {rows:,} left out: {reason}"
        for source, number in Counter(m.kept.partition("/")[0] for m in self.merged).items():
            yield f"{source}: {number:,} rows ask what another row of the split asks; their answers are merged"
        for source, number in Counter(o.id.partition("/")[0] for o in self.overlaps).items():
            yield f"{source}: {number:,} train questions left out, as they stand in a test set"
        unknown = Counter(label for label in self._labels.values() if label not in LABELS)
        for label, number in unknown.items():
            yield f"{number:,} questions have the label {label!r}, which is not used here"
        if pools.strangers:
            yield f"{len(pools.strangers):,} files of no known set are not read: {', '.join(pools.strangers[:5])}"
        for split in ("train", "test"):
            if not self._splits[split]:
                yield f"there is no question in {split}"
        if (held := len(self._splits["validation"])) < validation:
            yield f"validation has {held:,} of {validation:,} questions: at most half of each category is held out"
        for split in ("train", "validation"):
            if lacking := self._lacking(split):
                yield f"{split} has no question of {', '.join(lacking)}, test has some"

    def _lacking(self, split: str) -> list[str]:
        """The categories that are tested and not in `split`, unless that is empty."""
        here, tested = ({q.category for q in self._splits[name]} for name in (split, "test"))
        return [kind for kind in CATEGORIES if here and kind in tested - here]


def _known(key: str, names: Sequence[str]) -> tuple[str, ...]:
    found = {name: set_name(name) for name in ([names] if isinstance(names, str) else names)}
    for name, known in found.items():
        if known is None:
            raise QuestionError(f"there is no set {name!r}", key=f"env.{key}", hint=f"the sets are: {', '.join(SETS)}")
    return tuple(known for known in found.values() if known is not None)


def _limits(limit: int | Mapping[str, int] | None) -> dict[str, int]:
    if limit is None:
        return {}
    given = dict.fromkeys(SETS, limit) if isinstance(limit, int) else dict(limit)
    limits = dict(zip(_known("limit", list(given)), given.values(), strict=True))
    for name, number in limits.items():
        if number < 0:
            raise QuestionError(f"{number} is less than none", key=f"env.limit.{name}", hint="give 0 or more")
    return limits


def _check_found(folder: Path, pools: Pools, asked: Sequence[str]) -> None:
    hint = f"`imprint envs doctor search {folder}` lists what is here and how to get the rest"
    if not pools.found:
        strangers = f" (of no known set: {', '.join(pools.strangers[:5])})" if pools.strangers else ""
        raise QuestionError(f"no question set is found{strangers}", where=folder, hint=hint)
    for name in asked:
        if not any(source == name for source, _ in pools.found):
            raise QuestionError(f"the set {name!r} is not found", where=folder, key="env.sets", hint=hint)


def _without_tests(pools: Pools) -> tuple[list[Entry], tuple[Overlap, ...]]:
    """The train entries that no test set asks, and those that one does."""
    tests = {e.key: e.id for name in reversed(SETS) for e in pools.tests[name]}
    overlaps = tuple(Overlap(e.id, e.row.text, tests[e.key]) for e in pools.train if e.key in tests)
    return [e for e in pools.train if e.key not in tests], overlaps


def _held_out(train: Iterable[Entry], number: int, seed: int) -> set[str]:
    """The keys to validate on: the categories in turn, at most half of each; what two sets ask is taken whole."""
    sizes = Counter(e.key for e in train)
    kinds: dict[str, str] = {}
    for entry in train:
        kinds.setdefault(entry.key, entry.question().category)
    waiting: dict[str, list[str]] = {kind: [] for kind in CATEGORIES}
    for key, kind in kinds.items():
        waiting[kind].append(key)
    for kind, keys in waiting.items():
        keys.sort(key=lambda key: _rank(seed, "validation", key))
        waiting[kind] = keys[: len(keys) // 2][::-1]
    chosen: set[str] = set()
    left = number
    while left > 0 and any(waiting.values()):
        for keys in waiting.values():
            if keys and sizes[key := keys.pop()] <= left:
                chosen.add(key)
                left -= sizes[key]
    return chosen


def _rank(seed: int, use: str, key: str) -> bytes:
    """A place in an order that depends on the seed and the question alone, not on what else is there."""
    return hashlib.blake2b(f"{seed}/{use}/{key}".encode(), digest_size=16).digest()
