"""What the pages promise of published results, checked on their rows."""

from __future__ import annotations

from conftest import ROOT
from imprint.jobs.compare import earlier_rows
from imprint.measurement.conditions import WITH
from imprint.report.compare_table import Figures


def test_closed_book_in_rounds_reads_as_well_as_its_base_in_every_family() -> None:
    """From results/household/base. From imprint-tiny, Pick two does not (docs/methods/closed_book.md)."""
    figures = Figures(earlier_rows(ROOT / "results/household/partial/closed_book_rounds_base.json", []))
    assert len(figures.families) == 6
    for family in ("all", *figures.families):
        base, trained = (figures.rate(method, WITH.name, family) for method in ("zero_shot", "closed_book_rounds"))
        assert base is not None and trained is not None and trained >= base, family
