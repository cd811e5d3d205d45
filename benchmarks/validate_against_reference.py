"""`imprint skills validate` beside the reference library skills-ref: how often both say the same, and the time of each.

    python benchmarks/validate_against_reference.py FOLDER...

Folders with skills at any depth; without any, the seven household skills. Each skill is validated by both in turn, and
the thread's own processor time is counted. Where the two differ, the skill's folder is printed and the status is 1.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

from support.common import parser, report, spread, table

from imprint.skills.library import load_library
from imprint.skills.tree import find_skills
from imprint.skills.validate import validate


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("folders", nargs="*", type=Path)
    chosen = options.parse_args()
    try:
        from skills_ref import validate as reference
    except ImportError:
        print("skipped: pip install skills-ref")
        return 0
    warnings.simplefilter("ignore")  # the reference's parser warns of its own constructs
    roots = chosen.folders or [Path(load_library("household").where or "")]
    folders = [folder for root in roots for folder in find_skills(root)]
    agree, theirs, ours = Counter[str](), [], []
    rules = Counter[str]()
    for folder in folders:
        start = time.thread_time()
        try:
            valid: bool | None = not reference(folder)
        except Exception as error:  # a traceback is no verdict
            print(f"the reference stops with {type(error).__name__}: {folder}")
            valid = None
        theirs.append(time.thread_time() - start)
        start = time.thread_time()
        found = validate(folder)
        ours.append(time.thread_time() - start)
        lenient = validate(folder, lenient=True)
        agree["reference: no verdict" if valid is None else f"both {'valid' if valid else 'invalid'}"] += 1
        agree["valid if lenient"] += lenient.valid
        rules.update({f"{issue.level} {issue.rule}" for issue in found.issues})
        if valid is not None and valid != found.valid:
            agree["differ"] += 1
            agree[f"both {'valid' if valid else 'invalid'}"] -= 1
            print(f"differ: {folder}: reference {valid}, ours {found.valid}")
    table([["skills", "both valid", "both invalid", "differ", "no verdict", "valid if lenient"],
           [len(folders), agree["both valid"], agree["both invalid"], agree["differ"], agree["reference: no verdict"],
            agree["valid if lenient"]]])  # fmt: skip
    table([["rule", "skills"], *([rule, count] for rule, count in sorted(rules.items(), key=lambda item: -item[1]))])
    scale = 1_000
    times = {"reference": [scale * value for value in theirs], "imprint": [scale * value for value in ours]}
    rows = [[name, spread(values, 1), f"{statistics.mean(values):.1f}"] for name, values in times.items()]
    table([["", "ms a skill: median (least to greatest)", "mean"], *rows])
    figures = {
        "skills": len(folders),
        **agree,
        "rules": dict(rules),
        "ms": {k: statistics.mean(v) for k, v in times.items()},
    }
    report("validate_against_reference", figures, chosen)
    return 1 if agree["differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
