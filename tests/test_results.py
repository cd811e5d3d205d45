"""What the pages promise of published results, checked on their rows."""

from __future__ import annotations

import json
from collections import defaultdict

from conftest import ROOT


def success(file: str, method: str, arm: str) -> dict[str, float]:
    """Of each family, over all seeds of a comparison."""
    rows = json.loads((ROOT / file).read_text(encoding="utf-8"))
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        if (row["method"], row["arm"], row["split"]) == (method, arm, "test"):
            counts[row["family"]][0] += row["successes"]
            counts[row["family"]][1] += row["episodes"]
    return {family: successes / episodes for family, (successes, episodes) in counts.items()}


def test_closed_book_in_rounds_reads_as_well_as_its_base_in_every_family() -> None:
    file = "results/household/partial/closed_book_rounds.json"
    base, trained = (success(file, method, "with") for method in ("zero_shot", "closed_book_rounds"))
    assert base.keys() == trained.keys() and len(base) == 7
    assert [family for family in base if trained[family] < base[family]] == []
