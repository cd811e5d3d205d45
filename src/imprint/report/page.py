"""One HTML page per run, made to be looked at: no network, no other files, only the run's records (`html.py`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from imprint.measurement.naming import ROLES
from imprint.measurement.trials import Evaluation
from imprint.report import charts
from imprint.report.compare_figure import compare_plot
from imprint.report.html import between, duration, percent, points, render, thousands
from imprint.report.panels import stacked_panels, training_panels
from imprint.report.pictures import Gallery
from imprint.report.records import DecisionRow
from imprint.report.summary import Headline, Summary, families_of, pretty
from imprint.runs.run import Run
from imprint.runs.trust import trust_rows
from imprint.support import files

__all__ = ["compare_plot", "embed_json", "render_report", "write_report"]

MAX_TASKS = 40  # shown per evaluation
MAX_TEXT = 2000  # characters shown of one observation or response
MAX_GOAL = 200  # of the line that a task is called by
MAX_TURNS = 60


def write_report(run_path: str | Path, refresh: int | None = None, out: Path | None = None) -> Path:
    """Write `report.html` into the run's folder; the run may still be going on.

    Args:
        refresh: the page is to load itself anew every so many seconds.
        out: another place for it.

    Raises:
        CheckpointError: no run is there, or a record is damaged.
    """
    run = Run.open(run_path)
    path = out or run.path / "report.html"
    files.atomic_write(path, render_report(run, refresh).encode("utf-8", "replace"))
    return path


def render_report(run: Run, refresh: int | None = None) -> str:
    """The page of `run` as HTML; the same records give the same page.

    Raises:
        CheckpointError: a record is damaged.
    """
    summary = Summary.of(run)
    heads = {arm: summary.headline(arm) for arm in ROLES}
    names = {role: summary.condition(role) for role in ROLES}
    return render(
        "report.html.j2",
        refresh=refresh,
        title=summary.name,
        run=summary,
        facts=_facts(summary),
        arms=[(arm, summary.label(arm)) for arm in ROLES if heads[arm]],
        sentence=_sentence(heads, summary.curve("real", "without"), summary.condition("with")),
        warning=_warning(summary),
        cards=_cards(summary, heads),
        gap=_markup(charts.gap_chart(summary)),
        context=_markup(charts.context_chart(summary)),
        families=_families(summary, heads),
        training=training_panels({summary.name: summary}, ["without"]),
        stacked=stacked_panels(summary),
        skill_map=_skill_map(summary),
        ends=_ends_text(heads),
        gap_text=_gap_text(summary),
        overall=[e for e in summary.evaluations if e.family == "all"],
        by_family=_last_by_family(summary),
        episodes=Markup(embed_json(episode_data(run, summary.episode_steps, names))),
        has_episodes=bool(summary.episode_steps),
        max_tasks=MAX_TASKS,
        trust=trust_rows(run.path),
    )


def embed_json(value: Any) -> str:
    """JSON that is safe inside a `<script>` element: plain ASCII, with `<`, `>` and `&` as escapes."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def episode_data(run: Run, steps: Sequence[int], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the page shows of the episodes: those of the first, a middle and the last evaluation, in pairs.

    A pair is one task and seed: `{"task", "goal", "family", "seed", "with": episode, "without": episode}`, None for
    a condition that was not played; older runs have no goals, and then it is "".

    Args:
        names: the conditions in the roles `with` and `without`.
    """
    shown = sorted({steps[0], steps[len(steps) // 2], steps[-1]}) if steps else []
    data: list[dict[str, Any]] = []
    for step in shown:
        pairs: dict[tuple[str, int], dict[str, Any]] = {}
        for role in ROLES:
            for record in run.episode_records(step, names[role]):
                task = _mapping(record.get("task"))
                seed = record.get("seed")
                key = (str(task.get("id", "?")), seed if isinstance(seed, int) else 0)
                facts = {"task": key[0], "goal": _clip(record.get("goal"), MAX_GOAL)}
                empty = {**facts, "family": str(task.get("category", "")), "seed": key[1]}
                pairs.setdefault(key, {**empty, "with": None, "without": None})[role] = _compact(record)
        data.append({"step": step, "total": len(pairs), "pairs": _spread(list(pairs.values()), MAX_TASKS)})
    _hang(data, Gallery(run.recipe))
    return data


def _hang(data: Sequence[Mapping[str, Any]], gallery: Gallery) -> None:
    """Put the pictures that were seen beside their turns, the last evaluation's first."""
    for evaluation in reversed(data):
        for pair in evaluation["pairs"]:
            for episode in filter(None, (pair[arm] for arm in ROLES)):
                for turn, view in zip(episode["turns"], episode.pop("views"), strict=False):
                    turn["pictures"] = gallery.shown(_mapping(view))


def _compact(record: Mapping[str, Any]) -> dict[str, Any]:
    turns = list(record.get("turns") or [])
    tokens = [turn.get("context_tokens") or 0 for turn in turns]
    return {
        "success": bool(record.get("success")),
        "stop": str(record.get("stop", "")),
        "skills": [str(skill) for skill in record.get("skills") or []],
        "first": _clip(record.get("first_observation")),
        "tokens": round(sum(tokens) / len(tokens)) if tokens else 0,
        "left": max(0, len(turns) - MAX_TURNS),
        "turns": [_compact_turn(turn) for turn in turns[:MAX_TURNS]],
        "views": list(record.get("views") or [{"pictures": record.get("pictures")}]),
    }


def _compact_turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    action, response = _clip(turn.get("action")), _clip(turn.get("response"))
    return {
        "action": action,
        "response": "" if response.strip() == action.strip() else response,
        "observation": _clip(turn.get("observation")),
        "valid": bool(turn.get("valid", True)),
        "tokens": turn.get("context_tokens"),
        "reward": turn.get("reward") or 0,
    }


def _spread(pairs: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most `most` pairs, taken from the families in turn, in their first order."""
    by_family: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        by_family.setdefault(pair["family"], []).append(index)
    ranked = sorted((rank, index) for group in by_family.values() for rank, index in enumerate(group))
    return [pairs[index] for index in sorted(index for _, index in ranked[:most])]


def _sentence(heads: Mapping[str, Headline | None], real: Sequence[Evaluation], shown: str) -> str:
    """The result in a few plain sentences."""
    without, with_ = heads["without"], heads["with"]
    parts = []
    if without:
        first = without.start
        where = "" if first is None or first.split == without.end.split else f" of {_split(first)} tasks"
        start = f" ({percent(first.success)}{where} at step {first.step})" if first else ""
        parts.append(
            f"Without any skill in its context the policy solves {percent(without.end.success)}"
            f" of {_split(without.end)} tasks{start}."
        )
    if with_:
        how = "With its skills" if shown == "with" else f"Under the condition {shown!r}"
        parts.append(f"{how} it solves {percent(with_.end.success)}.")
    if real and without and without.end.split != "real":
        parts.append(f"On {real[-1].episodes} real games, without skills: {percent(real[-1].success)}.")
    saved = _tokens_saved(heads)
    if saved:
        before, after = saved
        parts.append(f"A turn reads {after:,.0f} tokens instead of {before:,.0f}.")
    return " ".join(parts) or "Nothing has been evaluated yet."


def _warning(summary: Summary) -> str:
    """What to know before any figure is read: that most steps had nothing to learn from."""
    idle, steps = summary.idle
    if 2 * idle <= steps:
        return ""
    many = f"each of the {steps}" if idle == steps else f"{idle} of the {steps}"
    return (
        f"Nothing could be learned in {many} training steps: within each group of episodes all had the same outcome. "
        "Start from a policy that sometimes succeeds, or ask for easier tasks or larger groups."
    )


def _tokens_saved(heads: Mapping[str, Headline | None]) -> tuple[float, float] | None:
    """Tokens per turn (with skills, without them), both at the end of the same split; None if nothing is solved."""
    if not any(head.end.successes for head in heads.values() if head):
        return None
    ends = [head.end.context_tokens for arm in ("with", "without") if (head := heads[arm])]
    if len(ends) < 2 or ends[0] is None or ends[1] is None or ends[0] <= 0:
        return None
    return ends[0], ends[1]


def _cards(summary: Summary, heads: Mapping[str, Headline | None]) -> list[dict[str, str]]:
    cards = []
    for arm in ("without", "with"):
        head = heads[arm]
        if head is not None:
            cards.append(
                {
                    "kind": arm,
                    "label": summary.label(arm),
                    "value": percent(head.end.success),
                    "note": f"95%: {between(head.end)} · {head.end.episodes} {_split(head.end)} tasks",
                }
            )
    if rise := summary.rise("without"):
        start, end = rise
        gain = end.success - start.success
        note = f"{percent(start.success)} to {percent(end.success)} of {start.episodes} {_split(start)} tasks"
        cards.append({"kind": "", "label": "gain without skills", "value": f"{points(gain)} pts", "note": note})
    if saved := _tokens_saved(heads):
        note = f"{saved[0]:,.0f} to {saved[1]:,.0f} tokens per turn"
        value = f"{(saved[1] - saved[0]) / saved[0]:+.0%}".replace("-", "−")
        cards.append({"kind": "", "label": "context", "value": value, "note": note})
    if summary.env_steps is not None:
        note = f"{summary.last_step:,} training steps"
        cards.append({"kind": "", "label": "environment steps", "value": thousands(summary.env_steps), "note": note})
    if summary.seconds is not None:
        cards.append({"kind": "", "label": "time", "value": duration(summary.seconds), "note": "of training"})
    return cards


def _skill_map(summary: Summary) -> dict[str, Any] | None:
    """Rows of cells, one per decision step (None: no decision); `level` 0..1 is how strong the colour is."""
    if not summary.decisions:
        return None
    steps = sorted({d.step for d in summary.decisions})
    by_key = {(d.step, d.skill): d for d in summary.decisions}
    scale = max((abs(d.helpfulness) for d in summary.decisions if d.helpfulness is not None), default=0.0) or 1.0
    rows = []
    for skill in summary.skills:
        cells: list[dict[str, Any] | None] = []
        for step in steps:
            decision = by_key.get((step, skill))
            carried = cells[-1] if cells else None
            cells.append(_cell(decision, scale) if decision else carried and _carry(carried, skill, step))
        rows.append({"skill": skill, "cells": cells})
    stages = {d.step: d.stage for d in summary.decisions}
    starts = [i == 0 or stages[step] != stages[steps[i - 1]] for i, step in enumerate(steps)]
    heads = [{"step": s, "stage": stages[s], "starts": starts[i]} for i, s in enumerate(steps)]
    return {"heads": heads, "rows": rows}


def _carry(cell: dict[str, Any], skill: str, step: int) -> dict[str, Any]:
    """The cell of a step at which others were decided on: the skill stays where it was."""
    place = "in" if cell["active"] else "out of"
    tip = f"{skill} · step {step}\nno decision; stays {place} the context"
    return cell | {"sign": "unknown", "strong": False, "text": "", "mark": "", "tip": tip}


def _cell(d: DecisionRow, scale: float) -> dict[str, Any]:
    measured = d.helpfulness is not None
    value = d.helpfulness or 0.0
    lines = [f"{d.skill} · step {d.step}" + ("" if d.stage is None else f" · stage {d.stage}")]
    if measured:
        interval = "" if d.low is None or d.high is None else f" (95%: {points(d.low)} to {points(d.high)})"
        lines.append(f"helpfulness {points(value)} points{interval}")
    else:
        lines.append("helpfulness not measured")
    lines.append((f"{d.action}: {d.reason}" if d.reason else d.action).replace("_", " ", 1))
    return {
        "active": d.active,
        "sign": ("plus" if value >= 0 else "minus") if measured else "unknown",
        "level": f"{0.12 + 0.88 * min(1.0, abs(value) / scale):.2f}",
        "strong": measured and abs(value) / scale > 0.55,
        "text": points(value) if measured else "?",
        "mark": {"withdraw": "left", "admit": "back", "readmit": "back"}.get(d.action, ""),
        "tip": "\n".join(lines),
    }


def _facts(summary: Summary) -> list[tuple[str, str]]:
    model = summary.recipe.get("model")
    values = {"method": summary.method, "model": model, "world": summary.world, "seed": summary.seed}
    return [(key, str(value)) for key, value in values.items() if value not in (None, "")]


def _families(summary: Summary, heads: Mapping[str, Headline | None]) -> list[dict[str, Any]]:
    """For each task family a track for each condition: its success at the start, if that was measured, and the end."""
    split = next((head.end.split for head in heads.values() if head), None)
    families = families_of(e for e in summary.evaluations if e.split == split)
    return [
        {"name": pretty(family), "tracks": [_track(summary, head, family) for head in heads.values() if head]}
        for family in families
    ]


def _track(summary: Summary, head: Headline, family: str) -> dict[str, Any]:
    ends = [] if head.start is None else summary.curve(head.start.split, head.arm, family)[:1]
    ends += [e for e in summary.curve(head.end.split, head.arm, family) if e.step == head.end.step]
    return {
        "arm": head.arm,
        "dots": [{"at": e.success, "last": e.step == head.end.step, "tip": charts.tip(e)} for e in ends],
    }


def _last_by_family(summary: Summary) -> list[Evaluation]:
    last = {(e.split, e.arm): e.step for e in summary.evaluations}
    rows = [e for e in summary.evaluations if e.family != "all" and e.step == last[(e.split, e.arm)]]
    return sorted(rows, key=lambda e: (e.split, e.family, e.arm))


def _ends_text(heads: Mapping[str, Headline | None]) -> str:
    head = heads["without"] or heads["with"]
    if head is None:
        return ""
    start = f"hollow: step {head.start.step} ({_split(head.start)}), " if head.start else ""
    return f"{start}filled: step {head.end.step} ({_split(head.end)})"


def _gap_text(summary: Summary) -> str:
    """With minus without at the first and last step that has both arms, on the split of the chart."""
    split = summary.curve_split or ""
    with_, without = ({e.step: e.success for e in summary.curve(split, arm)} for arm in ROLES)
    steps = sorted(with_.keys() & without.keys())
    if not steps:
        return ""
    gaps = [f"{points(with_[step] - without[step])} points at step {step}" for step in (steps[0], steps[-1])]
    return "With minus without: " + " and ".join(dict.fromkeys(gaps))


def _markup(svg: str | None) -> Markup | None:
    return None if svg is None else Markup(svg)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _clip(value: object, most: int = MAX_TEXT) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} characters more)"


def _split(e: Evaluation) -> str:
    return "real test" if e.split == "real" else e.split
