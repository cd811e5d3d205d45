"""How fast the household world plays: steps and resets per second of one core, and memory per live game.

    python benchmarks/household_speed.py
    python benchmarks/household_speed.py --games path/to/json_2.1.1/valid_seen

With the extra `imprint[alfworld]` it also plays a few of the games on TextWorld, ALFWorld's own engine, with the same
commands, and prints how many times slower that is (`--reference-games 0` leaves it out).

The commands are recorded beforehand by a seeded player that mixes the expert's moves with random possible ones, so
only the engine is timed. Everything runs in one thread, and the clock is that thread's own processor time: other work
on the machine takes nothing away from a core's figure.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.common import parser, repeat, report, seconds, spread, table

from imprint.envs.household import tables
from imprint.envs.household.documents import read_document, stored_id
from imprint.envs.household.engine import GameEngine
from imprint.envs.household.expert import expert_command
from imprint.envs.household.game import Game
from imprint.envs.household.gamefile import game_file
from imprint.envs.household.maker import MakerConfig, make_game
from imprint.envs.household.pddl import load_game, load_rows, parse_game
from imprint.envs.household.reference import require_reference
from imprint.errors import ImprintError

CLOCK = time.process_time
SIZES = ("small", "medium", "alfred")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every set of games and print one table."""
    options = _options(arguments)
    sets, rates = _made_sets(options)
    if options.games is not None:
        sets[options.games.name] = _real_games(options.games, options.count)
    rows: list[Sequence[object]] = [
        ("games", "steps/s", "steps/s, admissible", "resets/s", "first resets/s", "kB/game")
    ]
    figures: dict[str, Any] = {"games_made_per_s": rates}
    for name, games in sets.items():
        figures[name] = numbers = measure(games, options)
        rows.append(
            (name, *(numbers[key]["text"] for key in ("plain", "admissible", "resets", "first")), numbers["kb"])
        )
    table(rows)
    for size, rate in rates.items():
        print(f"figure  games made per second, {size}: {rate}")
    for name in sets:
        plain, listed = (figures[name][key]["median"] for key in ("plain", "admissible"))
        print(f"ratio {plain / listed:.2f}  steps without the list of admissible commands against with it, {name}")
    figures["textworld"] = _against_textworld(sets, options)
    report("household_speed", figures, options)
    return 0


def _against_textworld(sets: dict[str, list[Game]], options: argparse.Namespace) -> dict[str, Any] | str:
    """Print a ratio a line, and give the figures; or say why there are none."""
    name, documents = _documents(sets, options)
    count = min(options.reference_games, len(documents))
    try:
        if not count:
            raise ImprintError("--reference-games 0, or the games are rows without domain and grammar")
        require_reference()
    except ImprintError as error:
        print(f"comparison with TextWorld skipped: {error.problem}")
        return error.problem
    from support.textworld_side import compare

    records = [
        (where, document, record(parse_game(document, where), options.reference_turns, seed))
        for seed, (where, document) in enumerate(documents)
    ]
    found = compare(records[:: len(records) // count][:count], records, options)
    for key, kind, what in (
        ("steps", "ratio", "a step"),
        ("resets", "ratio", "a reset"),
        ("first", "figure", "a game file read and started"),
    ):
        theirs, ours = (statistics.median(found[key][side]) for side in ("theirs_s", "ours_s"))
        print(
            f"{kind} {found[key]['ratio']:.0f}  {what}, TextWorld's time against ours, {name}: {theirs * 1e3:.0f} ms "
            f"against {ours * 1e6:.1f} us; {min(found[key]['ratios']):.0f} to {max(found[key]['ratios']):.0f}"
        )
    if memory := found.get("memory"):
        print(
            f"ratio {memory['ratio']:.0f}  memory of a live game, TextWorld's (a process each) against ours (its file, "
            f"tables and state), {name}: {memory['theirs_kb'] / 1000:.0f} MB against {memory['ours_kb']:.0f} kB"
        )
    return found


def _documents(
    sets: dict[str, list[Game]], options: argparse.Namespace
) -> tuple[str, list[tuple[str, Mapping[str, Any]]]]:
    """What to play on both, and the name of the set it is of."""
    if options.games is None:
        name = f"made {options.reference_size}"
        return name, [(game.id, game_file(game)) for game in sets[name]]
    files = sorted(options.games.glob("*/*/game.tw-pddl"))[: options.count] if options.games.is_dir() else []
    return options.games.name, [(stored_id(file), read_document(file)) for file in files]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__.splitlines()[0])
    made.add_argument("--games", type=Path, help="real games: a folder of */*/game.tw-pddl, or a .jsonl.gz of rows")
    made.add_argument("--count", type=int, default=120, help="games of each kind")
    made.add_argument("--turns", type=int, default=30, help="recorded commands per game")
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--least", type=float, default=0.25, help="least seconds of one repeat")
    made.add_argument("--reference-games", type=int, default=6, help="games to play on TextWorld too; 0: none")
    made.add_argument("--reference-turns", type=int, default=12, help="commands of each on TextWorld")
    made.add_argument("--reference-repeats", type=int, default=3)
    made.add_argument("--reference-size", choices=SIZES, default="alfred", help="of the made games on TextWorld")
    options = made.parse_args(arguments)
    if options.quick:
        options.count, options.turns, options.repeats, options.least = 6, 10, 2, 0.001
        options.reference_games, options.reference_turns, options.reference_repeats = 1, 2, 1
        options.reference_size = "small"
    return options


def _made_sets(options: argparse.Namespace) -> tuple[dict[str, list[Game]], dict[str, str]]:
    """Games of every size, and how many of each are made in a second."""
    sets: dict[str, list[Game]] = {}
    rates = {}
    for size in SIZES:
        config = MakerConfig(size=size)
        make_game("train", options.count, config)  # reads the tables that all games are made from
        start = CLOCK()
        sets[f"made {size}"] = [make_game("train", index, config) for index in range(options.count)]
        rates[size] = f"{options.count / (CLOCK() - start):.0f}"
    return sets, rates


def _real_games(place: Path, count: int) -> list[Game]:
    if place.is_dir():
        files = sorted(place.glob("*/*/game.tw-pddl"))[:count]
        if not files:
            sys.exit(f"{place}: holds no */*/game.tw-pddl; give one split of ALFWorld's games")
        return [load_game(file) for file in files]
    return list(load_rows(place, limit=count))


def measure(games: Sequence[Game], options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one set of games: rates as median and spread over the repeats, memory in kB (1,000 bytes)."""
    records = [(game, record(game, options.turns, seed)) for seed, game in enumerate(games)]
    steps = sum(len(commands) for _, commands in records)
    work: dict[str, tuple[int, Callable[[], object]]] = {
        "plain": (steps, lambda: play(records, admissible=False)),
        "admissible": (steps, lambda: play(records, admissible=True)),
        "resets": (len(games), lambda: [GameEngine(game).reset() for game in games]),
        "first": (len(games), lambda: _first_resets(games)),
    }
    numbers: dict[str, Any] = {}
    for name, (count, once) in work.items():
        loops = max(1, round(options.least / max(1e-6, seconds(once, CLOCK))))
        taken = repeat(lambda once=once, loops=loops: [once() for _ in range(loops)], options.repeats, 1, CLOCK)
        rates = [count * loops / took / 1000 for took in taken]
        numbers[name] = {"text": spread(rates, 1) + "k", "median": statistics.median(rates) * 1000}
    live, shared = memory(records)
    numbers |= {"kb": f"{live:.1f} + {shared:.0f}", "kb_live": live, "kb_tables": shared}
    return numbers


def record(game: Game, turns: int, seed: int) -> list[str]:
    """The commands of a player that follows the expert half of the time; the game may end before `turns`."""
    dice = random.Random(seed)
    engine = GameEngine(game)
    commands: list[str] = []
    while not engine.won and len(commands) < turns:
        command = expert_command(engine, dice) if dice.random() < 0.5 else None
        commands.append(command or dice.choice(engine.admissible()))
        engine.step(commands[-1])
    return commands


def play(records: Sequence[tuple[Game, list[str]]], *, admissible: bool) -> None:
    """Play every recorded game through."""
    for game, commands in records:
        engine = GameEngine(game, with_admissible=admissible)
        engine.reset()
        for command in commands:
            engine.step(command)


def _first_resets(games: Sequence[Game]) -> None:
    tables._cache.clear()  # as for games that were never played
    for game in games:
        GameEngine(game).reset()


def memory(records: Sequence[tuple[Game, list[str]]]) -> tuple[float, float]:
    """kB that one more live game takes at its last turn, and kB of the tables that all plays of one game share."""
    records = records[: tables.CACHE_SIZE]
    tables._cache.clear()
    tracemalloc.start()
    play(records, admissible=False)
    shared = tracemalloc.get_traced_memory()[0]
    live = []
    for game, commands in records:
        live.append(GameEngine(game))
        for command in commands:
            live[-1].step(command)
    both = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (both - shared) / 1000 / len(records), shared / 1000 / len(records)


if __name__ == "__main__":
    sys.exit(main())
