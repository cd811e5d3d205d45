"""Fuzzing of what reads skills: nothing may crash it, hang it, or make it look outside the folder.

    python tests/fuzz_skills.py --seconds 300                        # random and mutated skills
    python tests/fuzz_skills.py --seconds 300 --against-reference    # and skills-ref's verdict beside ours
    pip install atheris && python tests/fuzz_skills.py --atheris -max_total_time=300    # guided by coverage

Every find is written to `crash-*` in the current folder; `python tests/fuzz_skills.py FILE...` runs such again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

if "--atheris" in sys.argv:  # before anything imports what is to be guided by its coverage
    import atheris

    with atheris.instrument_imports(include=["imprint", "yaml"]):
        pass

from imprint.errors import ImprintError, SkillError
from imprint.skills.lenient import read_lenient
from imprint.skills.library import SkillLibrary
from imprint.skills.skill import EMPTY_PAGE, Skill, broken_name
from imprint.skills.tree import find_skills
from imprint.skills.validate.rules import RULES
from imprint.skills.validate.spec import same_names, validate
from imprint.support.sarif import Result, sarif, uri
from skill_pages import TOKENS, reference_says

SECONDS = 20.0  # for one skill: a hang, even on a machine that has much else to do
HEAD = b"---\nname: a\ndescription: d\n"
SECRET = "a file outside the skill"
_watched = threading.local()
_LOOKING = {"open", "os.scandir", "os.listdir"}


class OutsideError(BaseException):
    """Something outside the folder was opened or listed; no handler of errors may hide it."""


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    root = getattr(_watched, "root", None)
    if root is None or event not in _LOOKING or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path = os.path.realpath(os.fspath(arguments[0]))
    path = os.fsdecode(path)
    if not (path + "/").startswith(root + "/") and not path.startswith((sys.prefix, sys.base_prefix)):
        raise OutsideError(path)


sys.addaudithook(_watch)


@contextlib.contextmanager
def confined(root: Path) -> Iterator[None]:
    """In the block, opening or listing anything outside `root` raises `OutsideError`."""
    _watched.root = os.path.realpath(root)
    try:
        yield
    finally:
        _watched.root = None


def build(data: bytes, root: Path) -> Path:
    """A folder that the bytes describe: the first says what they are (a page, its front, its body, links, names)."""
    kind, rest = data[0] % 8 if data else 0, data[1:]
    name = "a"
    if kind == 7:
        name = os.fsdecode(bytes(byte for byte in rest[:40] if byte not in b"/\0")) or "a"
        name = "a" if name in (".", "..") else name
    folder = root / name
    folder.mkdir()
    page = {
        1: b"---\n" + rest + b"\n---\nx",
        2: HEAD + rest + b"\n---\nx",
        3: HEAD + b"---\n" + rest,
        4: HEAD + b"---\n[x](" + rest + b") `scripts/" + rest + b"`",
        5: HEAD + b"metadata:\n  " + rest.replace(b"\n", b"\n  ") + b"\n---\nx",
        6: HEAD + b"---\n[x](l/f) [y](l) scripts/x",
        7: b"---\nname: " + os.fsencode(name) + b"\ndescription: d\n---\nx",
    }.get(kind, rest)
    (folder / "SKILL.md").write_bytes(page)
    if kind == 6:
        for place, target in zip(("l", "scripts", "skill.md", "deep"), rest.split(b"\n"), strict=False):
            with contextlib.suppress(OSError, ValueError):  # no such link can be made
                (folder / place).symlink_to(os.fsdecode(target))
        if len(rest) % 3 == 0:
            (folder / "SKILL.md").unlink()
    return folder


def run_one(data: bytes, parent: Path, *, against_reference: bool = False) -> None:
    """Read the skill that the bytes describe in every way that we have.

    Raises:
        AssertionError: a rule of the house is broken: another error than ours, no verdict, too slow, another verdict.
        OutsideError: something outside the skill's folder was opened.
    """
    root = Path(tempfile.mkdtemp(dir=parent))
    try:
        folder = build(data, root)
        started = time.perf_counter()
        with confined(root):
            report, lenient = validate(folder), validate(folder, lenient=True)
            with contextlib.suppress(ImprintError):
                skill = Skill.read(folder)
                assert report.valid or any(one.rule in ("front-yaml", "front-missing") for one in report.errors), skill
            with contextlib.suppress(ImprintError):
                SkillLibrary.load(root)
            try:
                loose = read_lenient(folder)
                assert loose.body and not broken_name(loose.name), loose
            except SkillError as error:  # only of what it accepts and that has no page or no name
                assert not lenient.valid or error.problem == EMPTY_PAGE or error.key == "name", error.describe()
            assert find_skills(root) == [folder] or not any(p.name.lower() == "skill.md" for p in folder.iterdir())
        spent = time.perf_counter() - started
        assert spent < SECONDS, f"took {spent:.1f} s"
        assert not report.valid or lenient.valid
        assert SECRET not in repr(report) + repr(lenient)
        _check_told([report, lenient])
        if against_reference:
            theirs = reference_says(folder)
            # Links out of the folder and front matter without measure are refused on purpose.
            apart = any(path.is_symlink() for path in folder.iterdir()) or "front-limit" in {
                issue.rule for issue in report.issues
            }
            assert apart or theirs is None or theirs == report.valid, (theirs, report)
    finally:
        shutil.rmtree(root)


def _check_told(reports: list) -> None:
    """What is told is on lines of its own, and no terminal obeys it."""
    results = []
    for report in same_names(reports):
        for issue in report.issues:
            told = issue.describe()
            assert all(c.isprintable() or c == "\n" for c in told), told
            assert told.count("\n") == (issue.hint is not None), told
            assert issue.line is None or issue.line >= 1
            results.append(Result(issue.rule, issue.level, issue.problem, uri(issue.file), issue.line or 1))
    json.dumps(sarif("fuzz", "0", list(RULES.values()), results), ensure_ascii=False).encode()


def random_skill(source: random.Random) -> bytes:
    """Bytes that are sometimes nearly a skill."""
    words = [token.encode("utf-8", "surrogatepass") for token in TOKENS] + [
        b"../",
        b"/etc/passwd",
        b"](",
        b")",
        b"\xff",
        b"l",
        b".",
    ]
    words += [
        HEAD,
        b"\n---\n",
        b"scripts/",
        b"references/a/b.md",
        b"```\n",
        b"a" * 1100,
        b"- " * 120,
        b"? " * 90,
        b"[" * 500,
    ]
    parts = [source.choice(words) for _ in range(source.randint(0, 16))]
    if source.random() < 0.15:
        parts += [source.choice(words) * source.choice([50, 1_000, 20_000])]
    if source.random() < 0.2:
        parts += [source.randbytes(source.randint(0, 30))]
    return bytes([source.randrange(8)]) + b"".join(parts)[:400_000]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="*", type=Path, help="finds to run again")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--against-reference", action="store_true")
    options.add_argument("--atheris", action="store_true", help="the other options are libFuzzer's")
    chosen, others = options.parse_known_args()
    with tempfile.TemporaryDirectory() as place:
        parent = Path(place)
        (parent / "secret").write_text(SECRET)
        if chosen.atheris:
            return _atheris(parent, others)
        for file in chosen.files:
            run_one(file.read_bytes(), parent, against_reference=chosen.against_reference)
        if chosen.files:
            return 0
        return _random(parent, chosen.seconds, chosen.seed, chosen.against_reference)


def _random(parent: Path, seconds: float, seed: int, against_reference: bool) -> int:
    source, started, count, finds, slowest = random.Random(seed), time.monotonic(), 0, 0, 0.0
    while time.monotonic() - started < seconds:
        data = random_skill(source)
        before = time.perf_counter()
        try:
            run_one(data, parent, against_reference=against_reference)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                break
            finds += 1
            file = Path(f"crash-{hashlib.sha256(data).hexdigest()[:12]}")
            file.write_bytes(data)
            print(f"{file}: {type(error).__name__}: {ascii(str(error))[:300]}")
        count += 1
        slowest = max(slowest, time.perf_counter() - before)
    print(f"{count:,} skills in {time.monotonic() - started:.0f} s, {finds} finds; the slowest took {slowest:.2f} s")
    return 1 if finds else 0


def _atheris(parent: Path, others: list[str]) -> int:
    atheris.Setup([sys.argv[0], *others], lambda data: run_one(data, parent))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
