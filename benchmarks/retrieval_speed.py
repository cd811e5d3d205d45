"""How fast the search engines are built and asked, what memory they take, and whether they find a known passage.

    python benchmarks/retrieval_speed.py
    python benchmarks/retrieval_speed.py --passages 500000 --engines tantivy

The passages are made: a hundred words each, drawn by Zipf's law from a vocabulary of 200,000, as many as asked for. A
question is a few words of one passage, drawn from it at random, and is answered if that passage is among the hits. This
says how engines compare in speed and memory and that they search; it says nothing about questions of people.

Each engine is built in one process and asked in another; memory is the greatest resident set of the process, and that
before anything was loaded is shown as `none`. tantivy is measured where it is installed. Questions are asked one by
one. Seconds are the process's own processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from support.common import parser, report, table

from imprint.support.stats import wilson

VOCABULARY, LENGTH, ASKED_WORDS = 200_000, 100, 5
KS = (1, 3)
CLOCK = time.process_time  # of all threads, so that other jobs of the machine do not count
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), "1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and ask each engine; print one table."""
    options = _options(arguments)
    if options.part:
        print(json.dumps(part(options)))
        return 0
    if options.quick:
        options.passages, options.questions = 2_000, 50
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        size = make(work, options.passages, options.questions)
        figures: dict[str, Any] = {"passages": options.passages, "corpus_bytes": size}
        base = _run("none", "none", work)
        rows: list[Sequence[object]] = [
            (
                "engine",
                "built in s",
                "build MiB",
                "index MiB",
                "opened in s",
                "asking MiB",
                "questions/s",
                "ms, 95%",
                *_ks(),
            )
        ]
        for engine in options.engines:
            found = {**_run("build", engine, work), **_run("ask", engine, work)}
            figures[engine] = found
            rates = [_interval(found[f"hit_{k}"], found["questions"]) for k in KS]
            cells = [found[key] for key in ("build_s", "build_mib", "index_mib", "open_s", "ask_mib")]
            rows.append((engine, *cells, f"{found['per_s']:,.0f}", found["ms_95"], *rates))
    print(f"passages {options.passages:,}, {size / 2**20:,.0f} MiB; `none`: a process of {base['ask_mib']} MiB")
    table(rows)
    report("retrieval_speed", figures, options)
    return 0


def make(work: Path, passages: int, questions: int) -> int:
    """Write the corpus and the questions; gives the bytes of the corpus."""
    draw = np.random.default_rng(0)
    weights = 1 / (np.arange(VOCABULARY) + 2.7)
    asked = set(draw.choice(passages, size=min(questions, passages), replace=False).tolist())
    kept: list[dict[str, Any]] = []
    with (work / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for place, words in enumerate(_texts(draw, weights / weights.sum(), passages)):
            title, text = " ".join(words[:2]), " ".join(words[2:])
            file.write(json.dumps({"id": str(place), "contents": f'"{title}"\n{text}'}) + "\n")
            if place in asked:
                kept.append({"id": str(place), "text": " ".join(draw.choice(words, ASKED_WORDS, replace=False))})
    (work / "questions.json").write_text(json.dumps(kept))
    return (work / "corpus.jsonl").stat().st_size


def _texts(draw: np.random.Generator, weights: np.ndarray, passages: int) -> Iterator[list[str]]:
    for start in range(0, passages, 10_000):
        ranks = draw.choice(VOCABULARY, size=(min(10_000, passages - start), LENGTH), p=weights)
        for row in ranks:
            yield [f"w{rank}" for rank in row]


def part(options: argparse.Namespace) -> dict[str, Any]:
    """What one process measures."""
    folder = options.work / options.engine
    if options.part == "none":
        return {"ask_mib": _mib()}
    from imprint.retrieval.open import index_backend, open_retriever

    began = CLOCK()
    if options.part == "build":
        index_backend(options.engine).build(options.work / "corpus.jsonl", folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        took = round(CLOCK() - began, 1)
        return {"build_s": took, "build_mib": _mib(), "index_mib": round(size / 2**20)}
    retriever = open_retriever(folder)
    questions = json.loads((options.work / "questions.json").read_text())
    retriever.search([questions[0]["text"]], max(KS))  # maps the files
    opened = round(CLOCK() - began, 2)
    found, each = [], []
    for question in questions:
        began = CLOCK()
        hits = retriever.search([question["text"]], max(KS))[0]
        each.append(CLOCK() - began)
        found.append([hit.passage.id for hit in hits].index(question["id"]) if question["id"] in _ids(hits) else None)
    return {
        "open_s": opened,
        "ask_mib": _mib(),
        "questions": len(questions),
        "per_s": len(questions) / sum(each),
        "ms_95": round(1000 * float(np.quantile(each, 0.95)), 2),
        **{f"hit_{k}": sum(place is not None and place < k for place in found) for k in KS},
    }


def _ids(hits: Sequence[Any]) -> list[str]:
    return [hit.passage.id for hit in hits]


def _mib() -> int:
    """The greatest resident set of this process; Linux counts in KiB, macOS in bytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**10 if sys.platform != "darwin" else 2**20))


def _run(part: str, engine: str, work: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, "--engine", engine, "--work", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **ONE_THREAD})
    if done.returncode != 0:
        raise SystemExit(f"{engine}, {part}: {done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _ks() -> list[str]:
    return [f"Hit@{k}, %" for k in KS]


def _interval(hits: int, of: int) -> str:
    found = wilson(hits, of)
    return f"{100 * found.estimate:.1f} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__.splitlines()[0])
    made.add_argument("--passages", type=int, default=100_000, help="how many are made")
    made.add_argument("--questions", type=int, default=1_000, help="how many are asked")
    here = ["bm25s", *(["tantivy"] if find_spec("tantivy") else [])]
    made.add_argument("--engines", nargs="+", default=here, help="which are measured")
    for name in ("--part", "--engine"):
        made.add_argument(name, default="", help=argparse.SUPPRESS)
    made.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return made.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
