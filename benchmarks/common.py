"""What the benchmarks share: the machine's facts, repeated timing, and a policy of imprint-tiny's size."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from imprint.envs.household.world import HouseholdWorld
from imprint.policy.model import TINY, Policy, build_tiny, tiny_folder
from imprint.policy.tokenizer import train_tokenizer
from imprint.skills.library import household_library

# The architecture of imprint-tiny (recipes/pretrain/imprint-tiny.yaml).
VOCAB, WIDTH, LAYERS, HEADS, MAX_CONTEXT = 1536, 128, 4, 4, 2048


def parser(text: str) -> argparse.ArgumentParser:
    """An argument parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--quick", action="store_true", help="a second or two, to see that it runs; no figures to keep")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write every figure and the machine's facts here")
    return made


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def repeat(work: Callable[[], object], times: int, warm_up: int = 1) -> list[float]:
    """The seconds of `times` calls, after `warm_up` that do not count."""
    for _ in range(warm_up):
        work()
    gc.collect()
    return [seconds(work) for _ in range(times)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, and the least and greatest value."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns; the first row is the heading."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    for row in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def report(name: str, figures: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the machine's facts and, if asked, write everything as JSON."""
    facts = machine()
    print("machine  " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    if options.json is not None:
        content = {"benchmark": name, "quick": options.quick, "machine": facts, "figures": figures}
        options.json.write_text(json.dumps(content, indent=2) + "\n")


def random_policy(*, quick: bool = False, seed: int = 0) -> Policy:
    """imprint-tiny's architecture with random weights, and a tokenizer trained on a little of its language."""
    world = HouseholdWorld(train=60)
    texts = [f"{skill.name}\n{skill.description}\n{skill.body}" for skill in household_library().skills]
    for demo in (demo for lot in range(6 if quick else 150) for demo in world.demonstrations(lot)):
        texts += [demo.first.observation, *(f"# {page.name}\n{page.description}\n{page.body}" for page in demo.pages)]
        texts += [f" {command}\n{result.observation}\n>" for command, result, _ in demo.turns]
    tokenizer = train_tokenizer(texts, VOCAB, MAX_CONTEXT, world.phrases)
    return Policy(random_model(tokenizer, quick=quick, seed=seed).eval(), tokenizer, "random")


def random_model(tokenizer: Any, *, quick: bool = False, seed: int = 0) -> Any:
    """The same arguments give the same weights."""
    return build_tiny(
        len(tokenizer),
        width=32 if quick else WIDTH,
        layers=2 if quick else LAYERS,
        heads=HEADS,
        max_context=MAX_CONTEXT,
        seed=seed,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
    )


def chosen_policy(name: str, *, quick: bool = False) -> Policy:
    """`auto`: imprint-tiny where the package has its weights, else random ones; or any model that can be loaded."""
    if name == "auto":
        name = TINY if (tiny_folder() / "config.json").exists() and not quick else "random"
    return random_policy(quick=quick) if name == "random" else Policy.load(name, device="cpu")
