"""Stored games: ALFWorld's folders and tables of problems, listed without being parsed and read one at a time.

A listing reads the name of a game (its first word is the family) and whether the file marks it as solvable, as
ALFWorld's own loader does; a game is parsed when it is played. `split_roles` maps our splits to those of the data
split of a recipe.
"""

from __future__ import annotations

import json
import os
import random
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

from imprint.envs.base import SPLITS
from imprint.envs.household.documents import DAMAGED, DATA_FOLDER, FILE_NAME, complete, read_document, read_lines
from imprint.envs.household.game import FAMILIES, Game
from imprint.envs.household.gamefile import game_file
from imprint.envs.household.pddl import Template, load_game, load_template, parse_row
from imprint.errors import GameError, RecipeError
from imprint.support.keys import MayBePath

__all__ = ["ALFWORLD", "AS_STORED", "HELD_OUT", "OFFICIAL", "Entry", "Games", "StoredGames", "data_root", "hold_out"]

ALFWORLD, VARIABLE = "alfworld", "ALFWORLD_DATA"
MADE, DOCTOR = "made", "`imprint envs doctor alfworld` explains how to get ALFWorld's games"
Games = Annotated[str, MayBePath(names=(MADE, ALFWORLD), hint=DOCTOR)]
HELD_OUT, AS_STORED = "held-out", "as-stored"
PUBLISHED = {"train": "train", "validation": HELD_OUT, "test": "valid_seen"}
# How many games of each family a split of the release has, in the order of FAMILIES.
OFFICIAL = {
    split: dict(zip(FAMILIES, counts, strict=True))
    for split, counts in {
        "train": (790, 308, 650, 459, 533, 813),
        "valid_seen": (35, 13, 27, 16, 25, 24),
        "valid_unseen": (24, 18, 31, 23, 21, 17),
    }.items()
}
_TABLE = re.compile(r"(.+?)\.jsonl(?:\.gz)?")
_TEXT = re.compile(r'\s*:\s*"([^"\\]*)"')
_FALSE = re.compile(r"\s*:\s*false")
_TAIL = 4096  # bytes of a game file's end in which it usually is marked as solvable or not
_UNSUPPORTED = ("movable", "Sliced")  # tasks with these in their names are none of the six families'


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored game: its id (`<split>/<task>/<trial>`), its family, and where `StoredGames.game` finds it."""

    id: str
    family: str
    source: str

    @property
    def task(self) -> str:
        """The name of its folder: the goal and the room, of which there may be several trials."""
        return self.id.split("/")[-2]


class StoredGames:
    """The games at a place: `alfworld` (the published data), a folder in ALFWorld's layout
    (`<split>/<task>/<trial>/game.tw-pddl`, itself or under `json_2.1.1`), or a table of problems (`<split>.jsonl.gz`).

    Raises:
        RecipeError: there is no such place.
    """

    def __init__(self, place: str) -> None:
        self.root = data_root() if place == ALFWORLD else Path(place).expanduser()
        if not self.root.exists():
            raise RecipeError("is not there", where=self.root, key="env.games", hint=DOCTOR)
        self._rows: dict[str, tuple[str, bytes]] = {}
        self._listed: dict[str, tuple[Entry, ...]] = {}
        self._template: Template | None = None

    def splits(self) -> dict[str, Path]:
        """The splits and where they are; a folder goes before a table of the same name."""
        if self.root.is_file():
            name = _TABLE.fullmatch(self.root.name)
            return {} if name is None else {name[1]: self.root}
        found: dict[str, Path] = {}
        for folder in (self.root, self.root / DATA_FOLDER):
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                name = _TABLE.fullmatch(path.name)
                if path.is_dir() and next(path.glob(f"*/*/{FILE_NAME}"), None) is not None:
                    found[path.name] = path
                elif name is not None and path.is_file():
                    found.setdefault(name[1], path)
        return found

    def entries(self, split: str) -> tuple[Entry, ...]:
        """The playable games of a split, sorted by name.

        Raises:
            RecipeError: there is no such split, or nothing in it can be played.
            GameError: a game is damaged.
        """
        if split not in self._listed:
            place = self.splits().get(split)
            if place is None:
                known = ", ".join(self.splits()) or "none"
                raise RecipeError(
                    f"holds no games of the split {split!r} (*/*/{FILE_NAME}, or {split}.jsonl.gz)",
                    where=self.root,
                    key="env.games",
                    hint=f"the splits here are: {known}" if self.splits() else DOCTOR,
                )
            listed = _in_folder(place) if place.is_dir() else self._in_table(place)
            self._listed[split] = tuple(sorted(listed, key=lambda entry: entry.id))
        return self._listed[split]

    def game(self, source: str) -> Game:
        """The game of an entry.

        Raises:
            GameError: it is damaged.
        """
        if source in self._rows:
            return parse_row(self._row(source), self._rows[source][0], self._shared(), source)
        return load_game(source)

    def _row(self, source: str) -> Any:
        try:
            return json.loads(zlib.decompress(self._rows[source][1]))
        except ValueError as error:
            raise GameError(f"is not whole JSON: {error}", where=source, hint=DAMAGED) from error

    def document(self, source: str) -> Mapping[str, Any]:
        """The whole document of an entry's game; a row is completed by a game file of the same release, or by ours.

        Raises:
            GameError: it is damaged.
        """
        if source not in self._rows:
            document: Mapping[str, Any] = read_document(source)
            return document
        row, one = self._row(source), self._one_file()
        return game_file(self.game(source)) if one is None else complete(row, read_document(one), source)

    def _in_table(self, path: Path) -> Iterator[Entry]:
        for line, text in read_lines(path):
            named = _TEXT.match(text, _after_key(text, "path"))
            name = Path(named[1] if named else "")
            if len(name.parts) < 4:
                raise GameError("does not name its game", where=path, line=line, key="path", hint=DAMAGED)
            if _FALSE.match(text, _after_key(text, "solvable")) or any(word in str(name) for word in _UNSUPPORTED):
                continue
            source = f"{path}:{line}"
            # All the rows of the release together take 23 MB so.
            self._rows[source] = _id_of(name), zlib.compress(text.encode(), 1)
            family = _family(name.parts[-3])
            if family is None:
                family = self.game(source).family
            yield Entry(_id_of(name), family, source)

    def _shared(self) -> Template:
        """Rules and commands of the rows, which hold none: those of a game file of the same release."""
        if self._template is None:
            one = self._one_file()
            self._template = Template() if one is None else load_template(one)
        return self._template

    def _one_file(self) -> Path | None:
        folders = [path for path in self.splits().values() if path.is_dir()]
        return next((file for folder in folders for file in folder.glob(f"*/*/{FILE_NAME}")), None)


def data_root() -> Path:
    """Where `alfworld-download` puts its data: `$ALFWORLD_DATA`, or the package's default."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".cache" / "alfworld").expanduser()


def split_roles(given: Mapping[str, str] | str | None, stored: Sequence[str]) -> dict[str, str]:
    """Which split of the data is the recipe's `train`, `validation` and `test`.

    Where `given` has none, a split of that very name, else the published protocol: train on `train`, validate on a
    part of it that is held out, test on `valid_seen`. `as-stored`: no roles, every split is what is stored.

    Raises:
        RecipeError: an unknown role, or games that would have two.
    """
    if given == AS_STORED:
        return {}
    if isinstance(given, str):
        raise RecipeError(
            f"cannot be {given!r}", key="env.splits", hint=f"give `train: ...` and so on, or `{AS_STORED}`"
        )
    unknown = sorted(set(given or {}) - set(SPLITS))
    if unknown:
        raise RecipeError(
            f"there is no role {unknown[0]!r}", key="env.splits", hint=f"the roles are: {', '.join(SPLITS)}"
        )
    roles = {role: role if role in stored else PUBLISHED[role] for role in SPLITS} | dict(given or {})
    for role, split in roles.items():
        twin = next((other for other in SPLITS if other != role and roles[other] == split), None)
        if twin is not None or (split == HELD_OUT and role != "validation"):
            problem = f"is {split}, as {twin} is" if twin else f"cannot be {HELD_OUT}: that is for validation"
            hint = f"write `validation: {HELD_OUT}` to validate on games that are taken out of training"
            raise RecipeError(problem, key=f"env.splits.{role}", hint=hint)
    return roles


def hold_out(entries: Sequence[Entry], count: int, seed: int) -> tuple[list[Entry], list[Entry]]:
    """Part `entries` into `count` games for validation, the families in turn, and those to train on.

    Tasks go whole: all trials of a goal in a room are on one side, and those that validation does not need are on
    neither. At most half of a family's tasks are taken. The choice depends on the names and the seed alone.

    Returns:
        (validation, train); validation is shorter than `count` where there are too few.
    """
    families = [family for family in FAMILIES if any(entry.family == family for entry in entries)]
    chosen: list[list[Entry]] = []
    taken: set[str] = set()
    for family in families:
        tasks: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in sorted(entries, key=lambda entry: entry.id):
            if entry.family == family:
                tasks[entry.task].append(entry)
        names, mine = sorted(tasks), list[Entry]()
        random.Random(f"held-out/{seed}/{family}").shuffle(names)
        for name in names[: len(names) // 2]:
            if len(mine) * len(families) < count:
                mine += tasks[name]
                taken.add(name)
        chosen.append(mine)
    return _in_turn(chosen)[:count], [entry for entry in entries if entry.task not in taken]


def _in_turn(groups: Sequence[Sequence[Entry]]) -> list[Entry]:
    """One of each group, then another of each, ..."""
    return [entry for row in zip_longest(*groups) for entry in row if entry is not None]


def _in_folder(root: Path) -> Iterator[Entry]:
    for path in root.glob(f"*/*/{FILE_NAME}"):
        if any(word in str(path.relative_to(root)) for word in _UNSUPPORTED) or not _solvable(path):
            continue
        family = _family(path.parts[-3]) or load_game(path).family
        yield Entry(_id_of(path), family, str(path))


def _id_of(path: Path) -> str:
    return "/".join(path.parts[-4:-1])


def _family(name: str) -> str | None:
    """The first word of a task's name, if it is a family."""
    word = name.partition("-")[0]
    return word if word in FAMILIES else None


def _solvable(path: Path) -> bool:
    """The mark in the file, mostly near its end; a file without one is left to the parser."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            text = file.read().decode("utf-8", "replace")
            if _after_key(text, "solvable") == len(text):
                file.seek(0)
                text = file.read().decode("utf-8", "replace")
    except OSError as error:
        raise GameError(f"cannot be read: {error.strerror}", where=path, hint="check the path") from error
    return _FALSE.match(text, _after_key(text, "solvable")) is None


def _after_key(text: str, key: str) -> int:
    """Where the value of a key begins in JSON that is not parsed; the text's end if there is no such key.

    A quote inside a string has a backslash before it, so that what is found is a key (or a whole string) and no part of
    one; of these the first with a colon behind it counts.
    """
    quoted, place = f'"{key}"', -1
    while (place := text.find(quoted, place + 1)) >= 0:
        end = place + len(quoted)
        if (place == 0 or text[place - 1] != "\\") and text[end : end + 20].lstrip().startswith(":"):
            return end
    return len(text)
