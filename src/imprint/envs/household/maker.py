"""Makes household games to order: any number, balanced over the families, each winnable, in disjoint splits.

What a game asks for (family, object type, target type) and how its room is furnished (how many receptacles of
each type) both belong to exactly one split, whatever the seed and the size; so what is learnt on `train`
cannot be recalled on `test`.
"""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from imprint.envs.base import SPLITS
from imprint.envs.household.catalog import CONTAINS
from imprint.envs.household.documents import FILE_NAME
from imprint.envs.household.engine import GameEngine
from imprint.envs.household.expert import solve
from imprint.envs.household.game import FAMILIES, Game
from imprint.envs.household.gamefile import game_file
from imprint.envs.household.homes import Home, draw_task
from imprint.envs.household.rooms import Filler, Names, Scale, draw_layout, place_furniture
from imprint.envs.household.splits import SHARES, asks_of, check_disjoint, goal_of, layout_of
from imprint.errors import GameError

__all__ = [
    "MakerConfig",
    "check_disjoint",
    "game_file",
    "goal_of",
    "layout_of",
    "make_game",
    "write_games",
]

Size = Literal["small", "medium", "alfred"]
SENTENCES = {
    "pick_and_place_simple": ("put some {0} on {1}.", "put a {0} in {1}."),
    "look_at_obj_in_light": ("look at {0} under the {1}.", "examine the {0} with the {1}."),
    "pick_clean_then_place_in_recep": ("clean some {0} and put it in {1}.", "put a clean {0} in {1}."),
    "pick_heat_then_place_in_recep": ("heat some {0} and put it in {1}.", "put a hot {0} in {1}."),
    "pick_cool_then_place_in_recep": ("cool some {0} and put it in {1}.", "put a cool {0} in {1}."),
    "pick_two_obj_and_place": ("put two {0} in {1}.", "find two {0} and put them in {1}."),
}
_SCALES: dict[Size, Scale | None] = {
    "small": Scale((6, 9), (6, 12), 2),
    "medium": Scale((10, 16), (12, 20), 4),
    "alfred": None,
}


@dataclass(frozen=True)
class MakerConfig:
    """How games are made.

    Attributes:
        seed: other seeds give other games; the splits stay disjoint across seeds.
        size: `small` (6-9 receptacles, 6-12 portable objects), `medium` (10-16 and 12-20), or `alfred`
            (as many as the published games have).
        families: which families, in the order in which they take turns.

    Raises:
        GameError: no family, an unknown one, or an unknown size.
    """

    seed: int = 0
    size: Size = "small"
    families: tuple[str, ...] = FAMILIES

    def __post_init__(self) -> None:
        unknown = [family for family in self.families if family not in FAMILIES]
        if unknown or not self.families:
            problem = f"unknown family {unknown[0]!r}" if unknown else "there is no family to make games of"
            raise GameError(problem, key="families", hint=f"choose from: {', '.join(FAMILIES)}")
        if self.size not in get_args(Size):
            choices = ", ".join(get_args(Size))
            raise GameError(f"unknown size {self.size!r}", key="size", hint=f"choose from: {choices}")


def make_game(split: str, index: int, config: MakerConfig | None = None) -> Game:
    """Game number `index` of `split`: a pure function of its arguments, with a walkthrough that wins.

    The families take turns, so that the first n games of a split are balanced for every n.

    Raises:
        GameError: there is no such split, or `index` is negative.
    """
    config = config or MakerConfig()
    if split not in SHARES or index < 0:
        problem = f"made games have no split {split!r}" if split not in SHARES else "a game's index is 0 or more"
        raise GameError(problem, where=f"made/{split}/{index}", hint=f"choose from: {', '.join(SPLITS)}")
    rng = random.Random(f"household/{config.seed}/{config.size}/{split}/{index}")
    family = config.families[index % len(config.families)]
    names = Names(rng)
    scale = _SCALES[config.size]
    if scale is None:
        ask, kind = draw_task(rng, split, family)
        home = Home(rng, ask, kind, split, names)
        receptacles, objects = home.receptacles, home.objects
    else:
        ask = rng.choice(asks_of(split)[family])
        room = rng.choice(ask.rooms)
        receptacles = place_furniture(rng, draw_layout(rng, ask, room, scale, split), names)
        objects = Filler(rng, receptacles, names).fill(ask, room, scale)
    present = {thing.type for thing in objects}
    goal = ask.goal()
    sentence = rng.choice(SENTENCES[ask.family]).format(goal.object_type.lower(), ask.target.lower())
    game = Game(
        id=f"made/{split}/{index}",
        family=ask.family,
        sentence=sentence,
        receptacles=tuple(sorted(receptacles, key=lambda r: r.id.lower())),
        objects=tuple(sorted(objects, key=lambda o: o.id.lower())),
        start=names.location(),
        can_contain=frozenset((r, o) for r in {r.type for r in receptacles} for o in CONTAINS[r] if o in present),
        goal=goal,
    )
    return _with_walkthrough(game)


def write_games(folder: str | Path, split: str, count: int, config: MakerConfig | None = None) -> list[Path]:
    """Write the first `count` games of a split in ALFWorld's layout; returns the game files.

    Each lies at `<folder>/<split>/<family>-<Object>-None-<Target>-<layout>/made_<index>/game.tw-pddl`, with a
    `traj_data.json` beside it. A file is either whole or absent, and writing again gives the same bytes.

    Raises:
        GameError: there is no such split, or the folder cannot be written.
    """
    paths = []
    for index in range(count):
        game = make_game(split, index, config)
        family, thing, target = goal_of(game)
        layout = zlib.crc32(repr(layout_of(game)).encode())
        place = Path(folder) / split / f"{family}-{thing}-None-{target}-{layout}" / f"made_{index}"
        try:
            _write(place / "traj_data.json", _trajectory(game))
            _write(place / FILE_NAME, game_file(game))  # last: a folder with this file is complete
        except OSError as error:
            raise GameError(
                f"cannot be written: {error.strerror}",
                where=place,
                hint="choose a folder that can be written",
            ) from error
        paths.append(place / FILE_NAME)
    return paths


def _trajectory(game: Game) -> dict[str, Any]:
    """What ALFWorld wants to know about a game before it loads it."""
    return {
        "task_type": game.family,
        "pddl_params": {
            "object_target": game.goal.object_type,
            "parent_target": game.goal.target_type or "",
            "toggle_target": game.goal.toggle_type or "",
            "mrecep_target": "",
            "object_sliced": False,
        },
    }


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(document), encoding="utf-8")
    temporary.replace(path)


def _with_walkthrough(game: Game) -> Game:
    commands = tuple(solve(GameEngine(game)))
    # There is no other reference to the game yet, and a second record would cost the engine a second set of tables.
    object.__setattr__(game, "walkthrough", commands)
    return game
