"""The JSON documents that games are stored in: `game.tw-pddl` files, and tables of problems that share the rest."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imprint.errors import GameError

FILE_NAME = "game.tw-pddl"
DATA_FOLDER = "json_2.1.1"  # where `alfworld-download` puts the splits
TASK = re.compile(r'Your task is to:\s*((?:[^"\\]|\\.)*)"')
DAMAGED = "download the game again; the file seems cut short or altered"


def stored_id(path: Path) -> str:
    """A stored game's name: the last three folders of its path (split, task, trial)."""
    return "/".join(path.parent.parts[-3:]) or path.stem


def read_document(path: str | Path) -> Any:
    """The parsed JSON of a game file.

    Raises:
        GameError: the file cannot be read, or is not whole JSON in UTF-8.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GameError(f"cannot be read: {error.strerror}", where=path, hint="check the path") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise GameError("is not a game in UTF-8 text", where=path, hint=DAMAGED) from error
    except json.JSONDecodeError as error:
        raise GameError(f"is not whole JSON: {error.msg}", where=path, line=error.lineno, hint=DAMAGED) from error


def read_rows(path: str | Path, limit: int | None = None) -> Iterator[tuple[int, Any]]:
    """Line number and parsed JSON of every row of a `.jsonl.gz` or `.jsonl` table.

    Raises:
        GameError: the table is cut short, or a row is not JSON; names file and line.
    """
    path = Path(path)
    for line, text in read_lines(path, limit):
        try:
            yield line, json.loads(text)
        except json.JSONDecodeError as error:
            raise GameError(f"is not whole JSON: {error.msg}", where=path, line=line, hint=DAMAGED) from error


def text_of(document: Any, key: str, where: str | Path) -> str:
    """The text under `key`.

    Raises:
        GameError: there is none.
    """
    value = document.get(key) if isinstance(document, Mapping) else None
    if not isinstance(value, str):
        raise GameError("is missing or not text", where=where, key=key, hint=DAMAGED)
    return value


def complete(row: Any, template: Any, where: str | Path) -> dict[str, Any]:
    """A row of a table as a whole document: domain and grammar of `template`, with the row's task sentence.

    Raises:
        GameError: one of the two lacks what it should have.
    """
    sentence = json.dumps(text_of(row, "task", where).strip())[1:]  # with the closing quotation mark
    grammar = text_of(template, "grammar", where)
    return {
        **row,
        "pddl_domain": text_of(template, "pddl_domain", where),
        "grammar": TASK.sub(lambda _: sentence, grammar),
    }


def find_games(folder: str | Path, split: str) -> list[Path]:
    """The game files of a split, sorted. `folder` holds the splits, or a `json_2.1.1` that does, as $ALFWORLD_DATA.

    Raises:
        GameError: there are none.
    """
    root = Path(folder)
    root = root / DATA_FOLDER if (root / DATA_FOLDER).is_dir() else root
    files = sorted((root / split).glob(f"*/*/{FILE_NAME}"))
    if not files:
        raise GameError(
            f"holds no */*/{FILE_NAME}",
            where=root / split,
            hint="give a folder in ALFWorld's layout, as `alfworld-download` makes it, and one of its splits",
        )
    return files


def read_lines(path: Path, limit: int | None = None) -> Iterator[tuple[int, str]]:
    """The lines of a table that are not empty, with their numbers; no more than the first `limit` lines.

    Raises:
        GameError: the table cannot be read, or is cut short.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as table:
            for line, text in enumerate(table, start=1):
                if limit is not None and line > limit:
                    return
                if text.strip():
                    yield line, text
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise GameError(f"is cut short or damaged: {error}", where=path, hint=DAMAGED) from error
    except OSError as error:
        raise GameError(f"cannot be read: {error.strerror}", where=path, hint="check the path") from error
