"""Rows of the published question sets, as Search-R1 (parquet) and FlashRAG (JSONL) have them.

Files are read a batch or a line at a time, and of a parquet file only the columns that are used: others hold whole
passages. Rows are not trusted: each is checked, and an error names the file, the row and the hint.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.envs.search.question import normalize
from imprint.errors import QuestionError

# The seven sets, in the order of the published tables.
SETS = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
ALIASES = {"2wiki": "2wikimultihopqa", "2wikimultihop": "2wikimultihopqa", "hotpot": "hotpotqa"}
PREFIX = "searchR1_"  # verl's and verl-agent's scripts put it before the set's name
MAX_DEPTH = 3
BATCH = 1024
_FILE = re.compile(r"(train|dev|val|validation|test)(?:[-_]\d+(?:-of-\d+)?)?\.(parquet|jsonl)")
_SPLIT = {"val": "dev", "validation": "dev"}
_PARTS = ("id", "question", "golden_answers", "data_source", "ground_truth", "type")
_NESTED = (("reward_model", "ground_truth"), ("metadata", "type"), ("meta_data", "type"))


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of rows: the split in its name, and the set its folder is named after (None: each row names it)."""

    path: Path
    split: str  # train, dev or test
    source: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it stands in its file. `id` is "" and `answers` is empty where it has none."""

    path: Path
    number: int
    id: str
    text: str
    answers: tuple[str, ...]
    source: str
    label: str | None

    @property
    def where(self) -> str:
        """Its file and number."""
        return f"{self.path}:{self.number}"


def set_name(name: str) -> str | None:
    """The one of `SETS` that is meant, if any."""
    name = name.removeprefix(PREFIX).lower()
    name = ALIASES.get(name, name)
    return name if name in SETS else None


def find_files(folder: Path) -> tuple[list[DataFile], list[str]]:
    """The files of rows under `folder` (train, test, dev), and the names of those that belong to no known set.

    Raises:
        QuestionError: there is no such folder, or a file cannot be read.
    """
    if not folder.is_dir():
        raise QuestionError(
            "there is no such folder", where=folder, hint="`imprint envs doctor search` lists what to get"
        )
    files: list[DataFile] = []
    strangers: list[str] = []
    for path in _walk(folder):
        match = _FILE.fullmatch(path.name)
        if match is None:
            continue
        source = set_name(path.resolve().parent.name if path.parent == folder else path.parent.name)
        split = _SPLIT.get(match[1], match[1])
        if source is None and not _says_its_set(path):
            strangers.append(str(path.relative_to(folder)))
        else:
            files.append(DataFile(path, split, source))
    files.sort(key=lambda file: (("train", "test", "dev").index(file.split), str(file.path)))
    return files, strangers


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < MAX_DEPTH else []
        yield from (Path(place) / name for name in sorted(names))


def _says_its_set(path: Path) -> bool:
    first = next(_records(path), None)
    return first is not None and first[1].get("data_source") is not None


def read_rows(file: DataFile) -> Iterator[Row]:
    """The rows of `file`, in order.

    Raises:
        QuestionError: the file is broken, or a row has no question, a wrong type, or a set that is not known.
    """
    for number, record in _records(file.path):
        yield _row(file, number, record)


def count_rows(path: Path) -> int:
    """How many rows a file has, without a look at them.

    Raises:
        QuestionError: the file cannot be read.
    """
    if path.suffix == ".parquet":
        return int(_open_parquet(path).metadata.num_rows)
    try:
        with path.open("rb") as lines:
            return sum(1 for line in lines if line.strip())
    except OSError as error:
        raise _broken(path, error) from error


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return _parquet(path) if path.suffix == ".parquet" else _jsonl(path)


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _parse(path, number, line)
    except OSError as error:
        raise _broken(path, error) from error


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: JSON, UTF-8, and numbers of too many digits
        raise QuestionError(
            f"is no JSON ({error})", where=path, line=number, hint="download the file again, or take the line out"
        ) from error
    if not isinstance(record, dict):
        raise QuestionError(
            "is no JSON object",
            where=path,
            line=number,
            hint='one row a line: {"question": "...", "golden_answers": [...]}',
        )
    return record


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    file = _open_parquet(path)
    from pyarrow import ArrowException

    columns = _columns(file.schema_arrow)
    if "question" not in columns:
        names = ", ".join(file.schema_arrow.names)
        raise QuestionError(f"has no column `question` (it has: {names})", where=path, hint="take a file of questions")
    number = 0
    batches = file.iter_batches(batch_size=BATCH, columns=columns)
    while True:
        try:
            batch = next(batches, None)
            records = [] if batch is None else batch.to_pylist()
        except (ArrowException, OSError, ValueError) as error:
            raise _broken(path, error, number + 1) from error
        if batch is None:
            return
        for record in records:
            number += 1
            yield number, record


def _open_parquet(path: Path) -> Any:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise QuestionError(
            "reading parquet needs pyarrow, which is not installed",
            where=path,
            hint="pip install 'imprint[search-data]', or take the JSONL files",
        ) from error
    try:
        return ParquetFile(path)
    except (ArrowException, OSError, ValueError) as error:
        raise _broken(path, error) from error


def _columns(schema: Any) -> list[str]:
    """The columns to read; of a struct only the field that is used."""
    columns = [name for name in _PARTS if name in schema.names]
    for outer, inner in _NESTED:
        if outer in schema.names:
            kind = schema.field(outer).type
            if not hasattr(kind, "get_field_index"):
                columns.append(outer)  # no struct: the first row raises the error
            elif kind.get_field_index(inner) >= 0:
                columns.append(f"{outer}.{inner}")
    return columns


def _broken(path: Path, error: Exception, row: int | None = None) -> QuestionError:
    at = "" if row is None else f" at row {row} or soon after"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return QuestionError(f"cannot be read{at} ({reason})", where=path, hint="download the file again")


def _row(file: DataFile, number: int, record: Mapping[str, Any]) -> Row:
    def wrong(key: str, problem: str, hint: str) -> QuestionError:
        # A line is a row in JSONL alone.
        if file.path.suffix == ".parquet":
            return QuestionError(f"row {number} {problem}", where=file.path, key=key, hint=hint)
        return QuestionError(problem, where=file.path, line=number, key=key, hint=hint)

    fields = _Fields(record, wrong)
    return Row(
        path=file.path,
        number=number,
        id=fields.id(),
        text=fields.question(),
        answers=fields.answers(),
        source=fields.source(file.source),
        label=fields.label(),
    )


@dataclass(frozen=True, slots=True)
class _Fields:
    """What is read from one record; `wrong` makes the error for a key."""

    record: Mapping[str, Any]
    wrong: Callable[[str, str, str], QuestionError]

    def id(self) -> str:
        value = self.record.get("id")
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.wrong("id", f"is {_kind(value)}", "give it a text or a number, or none")
        return self._text("id", str(value))

    def question(self) -> str:
        value = self.record.get("question")
        if value is None:
            raise self.wrong("question", "there is no question", "add it, or take the row out")
        text = self._text("question", value)
        if not normalize(text):
            raise self.wrong("question", "the question is empty", "write one, or take the row out")
        return text

    def answers(self) -> tuple[str, ...]:
        """The aliases in order, each once, from the first place that has some."""
        for key, value in (
            ("golden_answers", self.record.get("golden_answers")),
            ("reward_model.ground_truth", self._inside("reward_model", "ground_truth")),
            ("ground_truth", self.record.get("ground_truth")),
        ):
            if found := self._aliases(key, value):
                return found
        return ()

    def source(self, folder: str | None) -> str:
        value = self.record.get("data_source")
        if value is None and folder is not None:
            return folder
        if value is None:
            raise self.wrong("data_source", "the row names no set", f"write one of {', '.join(SETS)}")
        text = self._text("data_source", value)
        name = set_name(text)
        if name is None:
            raise self.wrong("data_source", f"{text!r} is not a known set", f"write one of {', '.join(SETS)}")
        if folder is not None and name != folder:
            raise self.wrong(
                "data_source", f"is {name}, in a folder of {folder}", "give the folder a name that is no set's"
            )
        return name

    def label(self) -> str | None:
        for key in ("metadata", "meta_data"):
            if (value := self._inside(key, "type")) is not None:
                return self._text(f"{key}.type", value)
        value = self.record.get("type")
        return None if value is None else self._text("type", value)

    def _inside(self, outer: str, inner: str) -> Any:
        value = self.record.get(outer)
        if value is not None and not isinstance(value, Mapping):
            raise self.wrong(outer, f"is {_kind(value)}", f"make it an object with `{inner}`, or take it out")
        return None if value is None else value.get(inner)

    def _aliases(self, key: str, value: Any) -> tuple[str, ...]:
        if isinstance(value, Mapping):
            key, value = f"{key}.target", value.get("target")
        if value is None:
            return ()
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list):
            raise self.wrong(key, f"is {_kind(value)}", "make it a list of texts")
        texts = [self._text(key, text) for text in values]
        return tuple(dict.fromkeys(text for text in texts if text))

    def _text(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.wrong(key, f"holds {_kind(value)}", "make it text")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            problem = "holds half a character (a lone surrogate)"
            raise self.wrong(key, problem, "fix the text, or take the row out") from error
        return value.strip()


def _kind(value: object) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "an object", str: "text"}
    return "nothing" if value is None else names.get(type(value), f"of type {type(value).__name__}")
