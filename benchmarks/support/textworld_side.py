"""The household engine against TextWorld: the same games and commands, possible commands included, in one run."""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imprint.envs.household.engine import HouseholdEngine
from imprint.envs.household.pddl import parse_game
from imprint.envs.household.reference import ReferenceEngine

Record = tuple[str, Mapping[str, Any], list[str]]  # name, whole document, commands
CLOCK = time.process_time


def compare(records: Sequence[Record], ours_kb: float, options: argparse.Namespace) -> dict[str, Any]:
    """Ratios (TextWorld's over ours) of steps, resets, first resets and memory, with what they are made of.

    Each repeat times one side right after the other, so that both see the same machine. `ours_kb` is what one of our
    games takes, live and with its tables.
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
    theirs_kb = _their_memory(records, options.reference_games)
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
        engines = [HouseholdEngine(game, with_admissible=True) for game, _ in games]
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
            HouseholdEngine(game, with_admissible=True).reset()
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
            engine = HouseholdEngine(parse_game(json.loads(text), name), with_admissible=True)
            engine.reset()
        resets += len(texts)
    return (CLOCK() - start) / resets


def _their_memory(records: Sequence[Record], count: int) -> float:
    """kB (1,000 bytes) that the process grows by with each further live game."""
    gc.collect()
    before, live = _resident(), []
    for place in range(count):
        name, document, _ = records[place % len(records)]
        live.append(_loaded(name, document))
        live[-1].reset()
    return (_resident() - before) / 1000 / len(live)


def _resident() -> int:
    """Bytes of memory that this process has in use (its peak where the system does not tell)."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
