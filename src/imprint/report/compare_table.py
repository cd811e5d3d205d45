"""The tables of a comparison: success with and without skills, by family, and paired differences over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from imprint.measurement.conditions import WITH, WITHOUT
from imprint.report.compare_figure import interval_over_seeds
from imprint.support.stats import mean_interval

__all__ = ["Grid", "Row", "comparison_tables"]

Row = Mapping[str, Any]  # of compare.json
ALL = "all"
COSTS = {"optimizer_steps": "optimizer steps", "tokens_learned": "tokens learned", "seconds": "seconds"}  # of training


@dataclass(frozen=True, slots=True)
class Grid:
    """A table, apart from how it is shown."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        lines = [self.header, ("---", *["---:"] * (len(self.header) - 1)), *self.rows]
        body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"## {self.title}\n\n{body}\n" + (f"\n{self.note}\n" if self.note else "")


@dataclass(frozen=True)
class Figures:
    """Rows, looked up by method, condition, family and seed."""

    rows: Sequence[Row]
    cells: dict[tuple[str, str, str], dict[int, Row]] = field(init=False, default_factory=dict)
    skilled: dict[str, str] = field(init=False, default_factory=dict)  # of each method, what stands for `with`

    def __post_init__(self) -> None:
        for row in self.rows:
            if row["episodes"]:
                self.cells.setdefault((row["method"], row["arm"], row["family"]), {})[row["seed"]] = row
            if row["arm"] == WITH.name or (row["arm"] != WITHOUT.name and row["method"] not in self.skilled):
                self.skilled[row["method"]] = row["arm"]

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(row["method"] for row in self.rows))

    @property
    def families(self) -> list[str]:
        return sorted({row["family"] for row in self.rows} - {ALL})

    def by_seed(self, method: str, arm: str, family: str = ALL) -> dict[int, Row]:
        """The rows of a method; of one without the condition `with`, those of its first other condition are that."""
        name = self.skilled.get(method, arm) if arm == WITH.name else arm
        return self.cells.get((method, name, family), {})

    def success(self, method: str, arm: str) -> str:
        """Mean over seeds in percent, with its interval."""
        found = self.by_seed(method, arm).values()
        if not found:
            return "–"
        mean, low, high = interval_over_seeds([r["successes"] for r in found], [r["episodes"] for r in found])
        return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

    def rate(self, method: str, arm: str, family: str = ALL) -> float | None:
        found = self.by_seed(method, arm, family).values()
        return fmean(r["successes"] / r["episodes"] for r in found) if found else None

    def mean_of(self, key: str, method: str, arm: str) -> str:
        values = [r[key] for r in self.by_seed(method, arm).values() if r.get(key) is not None]
        return f"{fmean(values):,.0f}" if values else "–"

    def tokens_per_task(self, method: str, arm: str) -> str:
        """All that is read for a task, turn by turn: where it is tried twice, in both attempts."""
        rows = [r for r in self.by_seed(method, arm).values() if r.get("context_tokens") is not None and r.get("turns")]
        return f"{fmean(r['context_tokens'] * r['turns'] for r in rows):,.0f}" if rows else "–"

    def difference(self, first: tuple[str, str], second: tuple[str, str]) -> tuple[str, int] | None:
        """first - second, each a (method, condition): points with a t interval, and the number of seeds both have."""
        a, b = self.by_seed(*first), self.by_seed(*second)
        gaps = [
            a[seed]["successes"] / a[seed]["episodes"] - b[seed]["successes"] / b[seed]["episodes"]
            for seed in sorted(a.keys() & b.keys())
        ]
        if not gaps:
            return None
        found = mean_interval(gaps)
        interval = f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]" if len(gaps) > 1 else " [one seed]"
        return f"{100 * found.estimate:+.1f}{interval}", len(gaps)


def comparison_tables(rows: Sequence[Row], tasks: str = "test tasks") -> list[Grid]:
    """The comparison as tables: methods, families, and differences; none without rows.

    Args:
        rows: of one split.
        tasks: what was played, for the titles (where it is not the test) and notes.
    """
    figures = Figures(rows)
    if not rows:
        return []
    tables = [_method_table(figures, tasks), _family_table(figures), _difference_table(figures)]
    return tables if tasks == "test tasks" else [replace(table, title=f"{table.title}, {tasks}") for table in tables]


def _method_table(figures: Figures, tasks: str) -> Grid:
    drawn = any(row.get("text_tokens") not in (None, row.get("context_tokens")) for row in figures.rows)
    counts = ("context_tokens", "text_tokens") if drawn else ("context_tokens",)
    costs = [key for key in COSTS if any(row.get(key) is not None for row in figures.rows)]
    body = [
        (
            method,
            str(len(figures.by_seed(method, "without"))),
            figures.success(method, "without"),
            figures.success(method, "with"),
            *(" / ".join(figures.mean_of(key, method, arm) for arm in ("without", "with")) for key in counts),
            " / ".join(figures.tokens_per_task(method, arm) for arm in ("without", "with")),
            *(figures.mean_of(key, method, "without") for key in ("env_steps", *costs)),
        )
        for method in figures.methods
    ]
    header = ("method", "seeds", "without skills, %", "with skills, %", "tokens/turn")
    header += (*(("as text",) if drawn else ()), "tokens/task", "env steps", *(COSTS[key] for key in costs))
    played = sorted({row["episodes"] for row in figures.rows if row["family"] == ALL})
    note = (
        f"Success on {' or '.join(map(str, played))} {tasks}: mean over seeds and its 95% interval "
        "(Student's t; with one seed Wilson's, which says nothing about other seeds). "
        "Tokens read per turn, and in all turns of a task (of both attempts, where a method makes two): "
        "without / with skills."
    )
    if costs:
        note += (
            " Optimizer steps, tokens learned (trained tokens, once in every pass) and seconds of training, without "
            "validations and the test, are means over seeds; seconds depend on the machine."
        )
    if drawn:
        note += " As text: the same turns with every picture counted as the text that it shows."
    return Grid("Methods", header, tuple(body), note)


def _family_table(figures: Figures) -> Grid:
    def cell(method: str, family: str) -> str:
        rates = [figures.rate(method, arm, family) for arm in ("without", "with")]
        return " / ".join("–" if rate is None else f"{100 * rate:.0f}" for rate in rates)

    body = [
        (family.replace("_", " "), *(cell(method, family) for method in figures.methods)) for family in figures.families
    ]
    note = "Success in percent, without / with skills: mean over seeds."
    return Grid("Families", ("tasks", *figures.methods), tuple(body), note)


def _difference_table(figures: Figures) -> Grid:
    """Every pair of methods without skills, the better one first; then what the skills still add to each."""
    rates = {method: figures.rate(method, "without") or 0.0 for method in figures.methods}
    ranked = sorted(figures.methods, key=lambda method: -rates[method])
    pairs = [
        ((first, "without"), (second, "without"))
        for place, first in enumerate(ranked)
        for second in ranked[place + 1 :]
    ]
    pairs += [((method, "with"), (method, "without")) for method in figures.methods]
    body = []
    for first, second in pairs:
        found = figures.difference(first, second)
        if found is not None:
            body.append((f"{first[0]} ({first[1]}) - {second[0]} ({second[1]})", found[0], str(found[1])))
    note = "Paired by seed; 95% (Student's t) each, with no correction for there being several."
    return Grid("Differences", ("difference", "points", "seeds"), tuple(body), note)
