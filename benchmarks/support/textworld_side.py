"""The household engine against TextWorld: the same games and commands, possible commands included, in one run."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from imprint.envs.household.engine import GameEngine
from imprint.envs.household.pddl import parse_game
from imprint.envs.household.reference import ReferenceEngine

Record = tuple[str, Mapping[str, Any], list[str]]  # name, whole document, commands
CLOCK = time.process_time


def compare(records: Sequence[Record], every: Sequence[Record], options: argparse.Namespace) -> dict[str, Any]:
    """Ratios (TextWorld's over ours) of steps, resets, first resets and memory, with what they are made of.

    Each repeat times one side right after the other, so that both see the same machine. Our memory is that of `every`
    game, live at once, since it is too little to be told from that of a few.
    """
    engines = [_loaded(name, document) for name, document, _ in records]
    figures: dict[str, Any] = {key: {"theirs_s": [], "ours_s": []} for key in ("steps", "resets", "first")}
    for _ in range(options.reference_repeats):
        _add(figures["steps"], _their_steps(engines, records), _our_steps(records, options.least))
        _add(figures["resets"], _their_resets(engines), _our_resets(records, options.least))
        _add(figures["first"], _their_first(engines[0], records), _our_first(records, options.least))
    for numbers in figures.values():
        numbers["ratios"] = [their / our for their, our in zip(numbers["theirs_s"], numbers["ours_s"], strict=True)]
        numbers["ratio"] = statistics.median(numbers["ratios"])
    theirs_kb, ours_kb = _apart(_their_memory, records), _apart(_our_memory, every)
    if theirs_kb is not None and ours_kb is not None:
        figures["memory"] = {"theirs_kb": theirs_kb, "ours_kb": ours_kb, "ratio": theirs_kb / ours_kb}
    return figures


def _loaded(name: str, document: Mapping[str, Any]) -> ReferenceEngine:
    engine = ReferenceEngine()
    engine.load(document, name)
    return engine


def _add(numbers: dict[str, list[float]], theirs: float, ours: float) -> None:
    numbers["theirs_s"].append(theirs)
    numbers["ours_s"].append(ours)


def _their_steps(engines: Sequence[ReferenceEngine], records: Sequence[Record]) -> float:
    """Seconds of one step, resets not counted."""
    took = 0.0
    for engine, (_, _, commands) in zip(engines, records, strict=True):
        engine.reset()
        start = CLOCK()
        for command in commands:
            engine.step(command)
        took += CLOCK() - start
    return took / sum(len(commands) for _, _, commands in records)


def _our_steps(records: Sequence[Record], least: float) -> float:
    games = [(parse_game(document, name), commands) for name, document, commands in records]
    took, steps = 0.0, 0
    while took < least:
        engines = [GameEngine(game, with_admissible=True) for game, _ in games]
        start = CLOCK()
        for engine, (_, commands) in zip(engines, games, strict=True):
            for command in commands:
                engine.step(command)
        took += CLOCK() - start
        steps += sum(len(commands) for _, commands in games)
    return took / steps


def _their_resets(engines: Sequence[ReferenceEngine]) -> float:
    start = CLOCK()
    for engine in engines:
        engine.reset()
    return (CLOCK() - start) / len(engines)


def _our_resets(records: Sequence[Record], least: float) -> float:
    games = [parse_game(document, name) for name, document, _ in records]
    start, resets = CLOCK(), 0
    while CLOCK() - start < least:
        for game in games:
            GameEngine(game, with_admissible=True).reset()
        resets += len(games)
    return (CLOCK() - start) / resets


def _their_first(engine: ReferenceEngine, records: Sequence[Record]) -> float:
    """Seconds to read a game's file and start it."""
    texts = [(name, json.dumps(document)) for name, document, _ in records[:2]]
    start = CLOCK()
    for name, text in texts:
        engine.load(json.loads(text), name)
        engine.reset()
    took = (CLOCK() - start) / len(texts)
    engine.load(records[0][1], records[0][0])
    return took


def _our_first(records: Sequence[Record], least: float) -> float:
    texts = [(name, json.dumps(document)) for name, document, _ in records]
    start, resets = CLOCK(), 0
    while CLOCK() - start < least:
        for name, text in texts:
            engine = GameEngine(parse_game(json.loads(text), name), with_admissible=True)
            engine.reset()
        resets += len(texts)
    return (CLOCK() - start) / resets


def _apart(measure: Callable[[Sequence[Record]], float | None], records: Sequence[Record]) -> float | None:
    """What `measure` finds in a fresh process, where nothing of the games is there yet."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, records).result()


def _their_memory(records: Sequence[Record]) -> float | None:
    """kB (1,000 bytes) of a live game as ALFWorld holds a batch of them, each in a process of its own.

    What the processes share is counted once (their proportional set size); None where the system does not tell it.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its processes end in tracebacks
    import textworld
    import textworld.gym
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos

    with TemporaryDirectory() as folder:
        files = []
        for place, (_, document, _) in enumerate(records):
            files.append(str(Path(folder) / f"{place}.tw-pddl"))
            Path(files[-1]).write_text(json.dumps(document))
        infos = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
        wrappers = [AlfredDemangler(), AlfredInfos]
        batch = textworld.gym.make(
            textworld.gym.register_games(files, infos, batch_size=max(2, len(files)), wrappers=wrappers)
        )
        batch.reset()
        batch.step(["look"] * batch.batch_size)
        sizes = [_proportional(child.pid) for child in multiprocessing.active_children()]
        batch.close()
    return statistics.mean(sizes)


def _proportional(process: int | None) -> float:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1.024


def _our_memory(records: Sequence[Record]) -> float | None:
    """kB of a live game, with its tables and all that was read from its file."""
    tracemalloc.start()
    live = []
    for name, document, commands in records:
        live.append(GameEngine(parse_game(document, name)))
        for command in commands:
            live[-1].step(command)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / 1000 / len(live)
