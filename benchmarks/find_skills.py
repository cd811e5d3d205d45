"""How well and how fast a skill is found among those of some folders, with its body indexed and hidden.

    python benchmarks/find_skills.py path/to/skills path/to/more
    python benchmarks/find_skills.py path/to/skills --embedder path/to/a/sentence-transformers/model

The folders are searched for SKILL.md files; those that our reader refuses and second skills of one name are left out
and counted. There are no people's questions to ask, so two kinds of text stand in for them, neither of them indexed:

- a skill's description, with only names indexed, or names and bodies;
- the first sentence of a page, cut out of it, with names and descriptions indexed, or those and the rest of the bodies.

An answer is right if it is the very skill that the text is of; another skill that would serve as well counts as wrong.
Authors repeat themselves, so a body holds its description's words more often than a stranger's question would: the
first kind flatters the body, the second flatters the description. The truth for a stranger's question is between.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from support.common import parser, report, table

from imprint.errors import SkillError
from imprint.skills.find import Embedder, SkillIndex
from imprint.skills.library import load_library
from imprint.skills.skill import FILE_NAMES, Skill
from imprint.support.stats import wilson

CLOCK = time.process_time
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
SENTENCE = re.compile(r"[A-Z][^\n#|<>`]{38,600}?[.!?](?=\s|$)")


@dataclass(frozen=True)
class Setting:
    """Texts that are asked for, and what is indexed."""

    asked: str
    indexed: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask every setting; print one table."""
    options = _options(arguments)
    skills, left_out = read_skills(options.folders)
    skills = skills[: 40 if options.quick else None]
    print(f"skills   {len(skills)}; left out: " + ", ".join(f"{count} {why}" for why, count in left_out.items()))
    embedder = _embedder(options.embedder)
    rows: list[Sequence[object]] = [("asked", "indexed", "questions", "Hit@1", "Hit@5", "questions/s", "built in s")]
    figures: dict[str, Any] = {"skills": len(skills), "left_out": left_out}
    for setting in (
        Setting("description", ("name",)),
        Setting("description", ("name", "body")),
        Setting("sentence", ("name", "description")),
        Setting("sentence", ("name", "description", "body")),
    ):
        for reranker in (None, embedder) if embedder is not None else (None,):
            found = measure(skills, setting, reranker)
            label = ", ".join(setting.indexed) + (" + embedder" if reranker is not None else "")
            figures[f"{setting.asked} | {label}"] = found
            rates = [_interval(found[hits], found["questions"]) for hits in ("hit_1", "hit_5")]
            rows.append((setting.asked, label, found["questions"], *rates, found["per_s"], found["build_s"]))
    table(rows)
    report("find_skills", figures, options)
    return 0


def read_skills(folders: Sequence[Path]) -> tuple[list[Skill], dict[str, int]]:
    """The skills under `folders` by name (ours without folders), and how many were left out and why."""
    if not folders:
        return list(load_library("household").skills), {}
    found: dict[str, Skill] = {}
    left_out = {"refused by the reader": 0, "of a name that was there": 0}
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.name in FILE_NAMES):
        try:
            skill = Skill.read(path.parent)
        except SkillError:
            left_out["refused by the reader"] += 1
            continue
        left_out["of a name that was there"] += skill.name in found
        found.setdefault(skill.name, skill)
    return [found[name] for name in sorted(found)], left_out


def measure(skills: Sequence[Skill], setting: Setting, embedder: Embedder | None) -> dict[str, Any]:
    """Hits and times of one setting."""
    questions: list[tuple[str, str]] = []
    indexed = []
    for skill in skills:
        text, rest = (skill.description, skill) if setting.asked == "description" else first_sentence(skill)
        indexed.append(rest)
        if text:
            questions.append((skill.name, text))
    start = CLOCK()
    index = SkillIndex(indexed, embedder, fields=setting.indexed)
    built = CLOCK() - start
    start = CLOCK()
    answers = [[hit.skill.name for hit in index.find(text, 5)] for _, text in questions]
    asked = CLOCK() - start
    pairs = list(zip((name for name, _ in questions), answers, strict=True))
    return {
        "questions": len(questions),
        "hit_1": sum(answer[:1] == [name] for name, answer in pairs),
        "hit_5": sum(name in answer for name, answer in pairs),
        "per_s": round(len(questions) / max(asked, 1e-9)),
        "build_s": round(built, 2),
    }


def first_sentence(skill: Skill) -> tuple[str, Skill]:
    """The first sentence of prose, and the skill without it; no sentence if the page has none."""
    found = SENTENCE.search(FENCE.sub("", skill.body))
    if found is None:
        return "", skill
    return found[0], replace(skill, body=skill.body.replace(found[0], " "))


def _interval(hits: int, n: int) -> str:
    if n == 0:
        return "–"
    found = wilson(hits, n)
    return f"{found.estimate:.1%} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _embedder(name: str | None) -> Embedder | None:
    if name is None:
        return None
    from imprint.models.embed import LocalEmbedder

    return LocalEmbedder(name)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__.split("\n")[0])
    made.add_argument("folders", nargs="*", type=Path, help="where to look for skills; none: the seven of ours")
    made.add_argument("--embedder", metavar="MODEL", help="also re-rank with this sentence-transformers model")
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
