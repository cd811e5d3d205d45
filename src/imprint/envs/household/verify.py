"""Is our engine ALFWorld's? Both play the same commands, and all of their output is compared, turn by turn."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from imprint.envs.household.documents import complete, find_games, read_document, read_rows, stored_id, text_of
from imprint.envs.household.engine import GameEngine
from imprint.envs.household.gamefile import game_file
from imprint.envs.household.maker import MakerConfig, make_game
from imprint.envs.household.pddl import parse_game
from imprint.envs.household.reference import ReferenceEngine
from imprint.envs.household.walks import Walker
from imprint.errors import GameError
from imprint.types import StepResult

EXPLORE, MAX_TURNS = 20, 36  # a walk explores, then wins if it can before the limit ends it
COMPARED = ("observation", "admissible", "reward", "terminated", "truncated", "success", "valid")


@dataclass(frozen=True, slots=True)
class Stored:
    """A game to be verified, read when its turn comes."""

    name: str
    read: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the two engines part.

    Attributes:
        commands: all given so far; what the last one brought about differs (with none, how the game begins).
        what: the field of `StepResult`, or `full_intro`.
    """

    game: str
    commands: tuple[str, ...]
    what: str
    ours: Any
    theirs: Any

    def describe(self) -> str:
        """The game, the way to the difference, and both sides."""
        history = "".join(f"  {number:>3}  > {command!r}\n" for number, command in enumerate(self.commands, start=1))
        return (
            f"{self.game}: {self.what} differs after {len(self.commands)} commands\n{history}"
            f"  ours:      {self._side(self.ours, self.theirs)}\n  TextWorld: {self._side(self.theirs, self.ours)}"
        )

    def _side(self, one: Any, other: Any) -> str:
        if not isinstance(one, tuple) or not isinstance(other, tuple):
            return repr(one)
        alone = [item for item in one if item not in other]
        if set(one) == set(other):
            return f"the same commands in another order: {', '.join(one)}"
        return f"{len(one)} commands, of which only here: {', '.join(alone) or 'none'}"


@dataclass(frozen=True, slots=True)
class Walk:
    """What was played in one game: the commands, which of them were possible, and whether it was won."""

    game: str
    commands: tuple[str, ...]
    valid: tuple[bool, ...]
    success: bool
    difference: Difference | None


def walk(
    name: str, document: Mapping[str, Any], reference: ReferenceEngine, seed: int | str, explore: int = EXPLORE
) -> Walk:
    """Play one game on both engines, at most until `MAX_TURNS` or the first difference.

    Raises:
        GameError: one of the two cannot read the game.
    """
    ours = GameEngine(parse_game(document, name), max_turns=MAX_TURNS, with_admissible=True)
    reference.load(document, name)
    walker = Walker(ours, seed, explore)
    commands: list[str] = []
    valid: list[bool] = []
    mine, theirs = ours.reset(), reference.reset()
    difference = compare(name, (), mine, theirs)
    if difference is None and ours.full_intro != reference.full_intro:
        difference = Difference(name, (), "full_intro", ours.full_intro, reference.full_intro)
    while difference is None and not mine.done:
        commands.append(walker.next())
        mine, theirs = ours.step(commands[-1]), reference.step(commands[-1])
        valid.append(mine.valid)
        difference = compare(name, commands, mine, theirs)
    return Walk(name, tuple(commands), tuple(valid), mine.success, difference)


def compare(game: str, commands: Sequence[str], ours: StepResult, theirs: StepResult) -> Difference | None:
    """The first field in which two results differ. Commands must be the same in the same order: both promise it."""
    for what in COMPARED:
        mine, other = getattr(ours, what), getattr(theirs, what)
        if mine != other:
            return Difference(game, tuple(commands), what, mine, other)
    return None


# --- where games come from ---


def games_in(data: Path, split: str, template: Path | None = None) -> list[Stored]:
    """The games of a folder in ALFWorld's layout, or of a table of rows of which a `template` is a whole game file.

    Raises:
        GameError: there are none, or a table has no template.
    """
    if data.is_dir():
        return [Stored(stored_id(path), partial(read_document, path)) for path in find_games(data, split)]
    if template is None:
        raise GameError(
            "a table of problems lacks domain and grammar",
            where=data,
            key="--template",
            hint="give any game.tw-pddl of the same release",
        )
    whole = read_document(template)
    found = []
    for line, row in read_rows(data):
        name = stored_id(Path(text_of(row, "path", f"{data}:{line}")))
        if name.startswith(f"{split}/"):
            found.append(Stored(name, partial(complete, row, whole, f"{data}:{line}")))
    if not found:
        raise GameError(f"has no game of the split {split!r}", where=data, key="--split", hint="choose another split")
    return found


def made_games(count: int, config: MakerConfig, split: str = "train") -> list[Stored]:
    """The first games of a made split, as the files that `imprint envs make` would write."""
    return [
        Stored(f"made/{config.size}/{split}/{index}", partial(_made, split, index, config)) for index in range(count)
    ]


def _made(split: str, index: int, config: MakerConfig) -> Mapping[str, Any]:
    return game_file(make_game(split, index, config))


def choose(games: Iterable[Stored], count: int | None, seed: int) -> list[Stored]:
    """`count` of the games, drawn by the seed and in their order; all of them by default."""
    found = list(games)
    if count is None or count >= len(found):
        return found
    return [found[place] for place in sorted(random.Random(seed).sample(range(len(found)), count))]
