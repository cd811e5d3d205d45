"""`imprint skills trust` and `lock`: how far each skill is trusted, and the record of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imprint.commands.console import Folder, Json, Lenient, console, emit, grid, say
from imprint.commands.judge import JudgeEndpoint, JudgeKey, JudgeModel, chosen_judge
from imprint.errors import TrustError
from imprint.security.trust import NEEDED, Gate, GateStatus, Tier, permissions, promote, revoke

if TYPE_CHECKING:
    from imprint.security.judge import Judge
    from imprint.security.lock_file import Entry, Lock, Standing
    from imprint.security.trust import GateResult
    from imprint.skills.library import SkillLibrary
    from imprint.skills.skill import Skill


def trust(
    folder: Folder,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Skills.  [default: all]")] = None,
    to: Annotated[
        str | None, typer.Option("--promote", metavar="TIER", help="Raise the named skills to T2, T3 or T4.")
    ] = None,
    because: Annotated[str, typer.Option(help="Why; it goes into skills.lock.", show_default=False)] = "",
    vouch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GATE=WHY",
            help='Vouch for a gate with a reason, e.g. "G2=I read it all". May be repeated.',
            show_default=False,
        ),
    ] = None,
    back: Annotated[bool, typer.Option("--revoke", help="Put the named skills back to T1.")] = False,
    judge_endpoint: JudgeEndpoint = None,
    judge_model: JudgeModel = None,
    judge_key_env: JudgeKey = None,
    lenient: Lenient = False,
    as_json: Json = False,
) -> None:
    """Show the tier of each skill and the results of its gates; promote or revoke the named ones.

    T1 is shown and practised in worlds without tools; T2 may have its files read; T3 its scripts run in a sandbox; T4
    may use the network. Imprint itself runs no scripts. A skill whose files change falls back to T1. With a judge, G2
    is the judge's verdict.

    Example: `imprint skills trust my-skills pdf-forms --promote T2 --because "read it, 24 November"`
    """
    from imprint.security.lock_file import FILE_NAME, read_lock, write_lock
    from imprint.skills.library import load_library

    judge = chosen_judge(judge_endpoint, judge_model, judge_key_env)
    library = load_library(folder, lenient=lenient)
    root, chosen = _root(library, folder), [library[name] for name in names or library.names]
    lock = read_lock(root)
    now = {skill.name: _standing(skill, lock) for skill in chosen}
    if to is None and not back:
        if vouch:
            raise TrustError("opens a gate for a promotion", key="--vouch", hint="add --promote TIER, or leave it out")
        _show(library, list(now.values()), as_json, judge)
        return
    if to is not None and back:
        raise TrustError("is the opposite of --promote", key="--revoke", hint="leave one of them out")
    if not names:
        raise TrustError("names no skill", key="--promote" if to else "--revoke", hint="name the skills, one by one")
    words = _words(vouch or [])
    for name, standing in now.items():
        moved = _moved(library, standing, None if to is None else _tier(to), because, words, judge)
        lock[name] = moved
        say(f"{name}: {moved.trust.tier.name}")
    say(
        f"recorded in {write_lock(root, lock)}; keep {FILE_NAME} with the library and read its changes as you read code"
    )


def lock(
    folder: Folder,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; status 1 if a skill is not what is locked.")
    ] = False,
    lenient: Lenient = False,
) -> None:
    """Record the files of every skill in skills.lock; those that changed since the last time fall back to T1.

    Example: `imprint skills lock my-skills --check`
    """
    from imprint.security.lock_file import locked, read_lock, write_lock
    from imprint.skills.library import load_library

    library = load_library(folder, lenient=lenient)
    root = _root(library, folder)
    before = read_lock(root)
    now = [_standing(skill, before) for skill in library.skills]
    differences = [f"{one.skill}: {one.why}" for one in now if one.why]
    differences += [f"{name}: is locked, and not in the library" for name in sorted(before) if name not in library]
    for line in differences:
        say(line)
    if check:
        say(
            f"{len(differences)} difference{'' if len(differences) == 1 else 's'} from skills.lock"
            if differences
            else f"{len(now)} skills are as they are locked"
        )
        if differences:
            raise typer.Exit(1)
        return
    fresh = locked(now)
    fallen = [name for name, entry in fresh.items() if name in before and entry.trust.tier < before[name].trust.tier]
    path = write_lock(root, fresh)
    say(f"{len(fresh)} skills in {path}" + (f"; fallen back to T1: {', '.join(fallen)}" if fallen else ""))


def _moved(
    library: SkillLibrary,
    standing: Standing,
    to: Tier | None,
    because: str,
    words: dict[Gate, str],
    judge: Judge | None,
) -> Entry:
    """The lock's new entry for one skill."""
    from imprint.security.gates import gates
    from imprint.security.lock_file import Entry

    skill = library[standing.skill]
    try:
        if to is None:
            moved = revoke(standing.trust, because=because, on=_today())
        else:
            needed = {gate: why for gate, why in words.items() if gate in NEEDED[to]}
            asked = judge if Gate.G2 in NEEDED[to] else None
            results = gates(skill, standing.trust.fingerprint, to, needed, asked)
            moved = promote(standing.trust, to, results, because=because, on=_today())
    except TrustError as error:
        raise TrustError(error.problem, where=skill.path, key=error.key, hint=error.hint) from error
    return Entry(standing.files, moved)


def _show(library: SkillLibrary, found: Sequence[Standing], as_json: bool, judge: Judge | None) -> None:
    from imprint.security.gates import gates

    rows: list[tuple[Standing, dict[Gate, GateResult]]] = []
    for one in found:
        live = gates(library[one.skill], one.trust.fingerprint, max(one.trust.tier, Tier.T3), judge=judge)
        recorded = {  # for these very files, by a person or by a judge that is not asked again now
            gate: result
            for gate, result in one.trust.gates.items()
            if not live[gate].open and (result.status is GateStatus.VOUCHED or live[gate].status is GateStatus.NOT_RUN)
        }
        rows.append((one, live | recorded))
    if as_json:
        emit(json.dumps([_record(one, results) for one, results in rows], indent=1) + "\n")
        return
    cells = [
        [one.skill, one.trust.tier.name, *(results[gate].status.value for gate in Gate), one.why or "as locked"]
        for one, results in rows
    ]
    header = ["skill", "tier", "G1 scan", "G2 meaning", "G3 sandbox", "G4 permissions", "files"]
    console().print(grid(f"Trust in {len(rows)} skills", header, cells, words=len(header)))
    if len(rows) == 1:
        one, results = rows[0]
        for gate in Gate:
            say(f"{gate}: {results[gate].status}: {results[gate].why}")
        say(f"may: {'; '.join(permissions(one.trust.tier))}")
        for step in one.trust.history:
            say(f"{step.on} {step.tier.name}: {step.because}")


def _record(one: Standing, results: dict[Gate, GateResult]) -> dict[str, Any]:
    return {
        "skill": one.skill,
        "tier": one.trust.tier.name,
        "fingerprint": one.trust.fingerprint,
        "why": one.why,
        "gates": {gate: {"outcome": results[gate].status, "why": results[gate].why} for gate in Gate},
        "may": permissions(one.trust.tier),
        "history": [{"on": step.on, "tier": step.tier.name, "because": step.because} for step in one.trust.history],
    }


def _tier(text: str) -> Tier:
    try:
        return Tier[text.upper()]
    except KeyError:
        raise TrustError(f"there is no tier {text!r}", key="--promote", hint="name T2, T3 or T4") from None


def _words(vouch: Sequence[str]) -> dict[Gate, str]:
    words = {}
    for one in vouch:
        name, equals, why = one.partition("=")
        if name not in list(Gate) or not equals or not why.strip():
            raise TrustError(f"cannot read {one!r}", key="--vouch", hint='write "G2=why you open it"')
        words[Gate(name)] = why.strip()
    return words


def _standing(skill: Skill, lock: Lock) -> Standing:
    from imprint.security.lock_file import standing

    return standing(skill, lock, on=_today())


def _root(library: SkillLibrary, folder: str) -> Path:
    return Path(library.where or folder)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
