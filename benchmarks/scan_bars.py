"""How well `imprint skills scan` tells malicious skills from ordinary ones, and how fast.

    python benchmarks/scan_bars.py DIR --misses
    python benchmarks/scan_bars.py DIR --insertions held

DIR holds one folder a set:

- `skillfortify/`: the folder `benchmarks` of the repository qualixar/skillfortify (labels by path);
- `skill-scanner/`: `evals` of cisco-ai-defense/skill-scanner; `SkillSpector/`: `tests/fixtures` of NVIDIA/SkillSpector
  (both by `_expected.json`, else malicious unless a folder is named safe, clean or benign);
- `ordinary/`: public skills that nobody holds for malicious, any number of repositories.

A verdict is positive from severity high on. The figures in docs/results/scan.md were made on two such folders: one that
the rules were developed on, and one that was only ever measured. Intervals are Wilson's, at 95%. Times are processor
times of one core.

The paired measure puts each instruction of `support/insertions.yaml` into clean ordinary skills and counts how often
the verdict becomes positive.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.common import parser, report, table
from support.labelled import ORDINARY, Specimen, specimens
from support.paired import infected, insertions

from imprint.security.scan import Severity, SkillReport, scan_skill, scan_units
from imprint.skills.library import load_library
from imprint.support.stats import wilson

Scanned = tuple[Specimen, SkillReport, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Scan every set, print one table, and the paired measure."""
    options = parser(str(__doc__))
    options.add_argument("dir", type=Path, nargs="?", help="the folder of sets; the household's skills without one")
    options.add_argument(
        "--misses", action="store_true", help="list what is missed, by class, and what is flagged wrongly"
    )
    options.add_argument("--insertions", choices=("dev", "held", "all", "none"), default="all")
    options.add_argument("--each", type=int, default=20, help="clean skills for each instruction")
    chosen = options.parse_args(arguments)
    found = _ours() if chosen.dir is None else list(specimens(chosen.dir))
    if chosen.quick:
        found = found[:: max(1, len(found) // 50)]
    scan_skill(found[0].folder)  # the rules are loaded once
    scanned = [_timed(specimen) for specimen in found]
    figures: dict[str, Any] = {"sets": _sets(scanned), "time": _times(scanned)}
    if chosen.misses:
        _misses(scanned)
    clean = [one.folder for one, scan, _ in scanned if one.set == ORDINARY and scan.severity < Severity.HIGH]
    if chosen.insertions != "none" and clean:
        figures["paired"] = _paired(clean, chosen.insertions, 2 if chosen.quick else chosen.each, chosen.misses)
    report("scan_bars", figures, chosen)
    return 0


def _ours() -> list[Specimen]:
    """The skills of the package, which are ordinary."""
    where = load_library("household").where
    return [Specimen(folder, ORDINARY, False, "") for folder in scan_units(Path(str(where)))]


def _timed(specimen: Specimen) -> Scanned:
    start = time.process_time()
    scan = scan_skill(specimen.folder)
    return specimen, scan, time.process_time() - start


def _sets(scanned: Sequence[Scanned]) -> dict[str, Any]:
    """Recall, precision and false positives: each set, the labelled ones together, pages and servers apart."""
    groups: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for one, scan, _ in scanned:
        verdict = (one.malicious, scan.severity >= Severity.HIGH)
        groups[one.set].append(verdict)
        groups["labelled and ordinary"].append(verdict)
        if one.set != ORDINARY:
            groups[
                "labelled, servers (.mcp.json)" if one.set.endswith("/mcp") else "labelled, skills (SKILL.md)"
            ].append(verdict)
            groups["labelled, all"].append(verdict)
    rows: list[Sequence[object]] = [("set", "malicious", "benign", "recall", "precision", "benign flagged")]
    figures = {}
    for name, verdicts in sorted(groups.items(), key=lambda item: ("labelled" in item[0], item[0])):
        hits = sum(bad and flagged for bad, flagged in verdicts)
        wrong = sum(flagged and not bad for bad, flagged in verdicts)
        bad = sum(bad for bad, _ in verdicts)
        rows.append(
            (
                name,
                bad,
                len(verdicts) - bad,
                _rate(hits, bad),
                _rate(hits, hits + wrong),
                _rate(wrong, len(verdicts) - bad),
            )
        )
        figures[name] = {"hits": hits, "wrong": wrong, "malicious": bad, "benign": len(verdicts) - bad}
    table(rows)
    return figures


def _rate(count: int, n: int) -> str:
    if not n:
        return "-"
    found = wilson(count, n)
    return f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _times(scanned: Sequence[Scanned]) -> dict[str, float]:
    times = sorted(1000 * seconds for _, _, seconds in scanned)
    figures = {
        "median_ms": statistics.median(times),
        "mean_ms": statistics.fmean(times),
        "p95_ms": times[int(0.95 * len(times))],
        "p99_ms": times[int(0.99 * len(times))],
        "max_ms": times[-1],
    }
    print(
        "\ntime a skill  " + ", ".join(f"{name.removesuffix('_ms')} {value:.1f} ms" for name, value in figures.items())
    )
    return figures


def _misses(scanned: Sequence[Scanned]) -> None:
    missed = Counter((one.set, one.kind) for one, scan, _ in scanned if one.malicious and scan.severity < Severity.HIGH)
    of = Counter((one.set, one.kind) for one, _, _ in scanned if one.malicious)
    print("\nmissed, by set and class")
    for place, count in sorted(missed.items()):
        print(f"  {place[0]:24} {place[1]:28} {count} of {of[place]}")
    rules = Counter(
        finding.rule
        for one, scan, _ in scanned
        if not one.malicious
        for finding in {
            finding.rule: finding for finding in scan.findings if finding.severity >= Severity.HIGH
        }.values()
    )
    print(
        "\nflagged wrongly, by rule: " + (", ".join(f"{name} {count}" for name, count in rules.most_common()) or "none")
    )


def _paired(clean: Sequence[Path], part: str, each: int, misses: bool) -> dict[str, Any]:
    counts: dict[str, list[bool]] = defaultdict(list)
    parts: dict[str, list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as work:
        for instruction, folder in infected(clean, insertions(part), each, Path(work)):
            changed = scan_skill(folder).severity >= Severity.HIGH
            counts[instruction["id"]].append(changed)
            parts[instruction["part"]].append(changed)
    print("\npaired: an instruction put into a clean skill makes the verdict high")
    for name, changes in sorted(parts.items()):
        wordings = len(list(insertions(name)))
        print(f"  {name:6} {_rate(sum(changes), len(changes))}  ({wordings} instructions, {len(changes)} pairs)")
    if misses:
        for name, changes in counts.items():
            if not all(changes):
                print(f"    {name:16} {sum(changes)} of {len(changes)}")
    return {name: {"changed": sum(changes), "pairs": len(changes)} for name, changes in parts.items()}


if __name__ == "__main__":
    sys.exit(main())
