"""A skill at rest: one folder with a SKILL.md, as the agentskills.io specification describes it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from imprint.errors import SkillError
from imprint.skills.front import parse_front, printable
from imprint.support.files import atomic_write

FILE_NAMES = ("SKILL.md", "skill.md")
MAX_BYTES = 1_000_000
MAX_NAME, MAX_DESCRIPTION, MAX_COMPATIBILITY = 64, 1024, 500
FIELDS = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")
EVERY_TASK = "*"
EMPTY_PAGE = "the page is empty"


@dataclass(frozen=True, slots=True)
class Skill:
    """One skill.

    Attributes:
        name: lowercase letters (of any script), digits and single hyphens; the folder has the same name.
        description: what it does and when to use it.
        body: the page itself, Markdown.
        metadata: strings by string; `tasks` names the task categories it serves, with commas between.
        path: the folder it was read from; None for text that no file holds, such as what a model wrote.
    """

    name: str
    description: str
    body: str
    license: str | None = None
    compatibility: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    allowed_tools: str | None = None
    path: Path | None = field(default=None, compare=False)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The task categories this skill serves: `("*",)` for all, and where it names none."""
        return self.named_tasks or (EVERY_TASK,)

    @property
    def named_tasks(self) -> tuple[str, ...]:
        """The task categories that its own metadata names; `()` if it names none."""
        return tuple(split_tasks(self.metadata.get("tasks", "")))

    @property
    def general(self) -> bool:
        """Whether it serves every task."""
        return EVERY_TASK in self.tasks

    @property
    def words(self) -> int:
        """The length of the body."""
        return len(self.body.split())

    def serves(self, category: str) -> bool:
        return self.general or category in self.tasks

    @staticmethod
    def check(folder: str | Path) -> list[SkillError]:
        """Every problem of a skill folder, with file, line and fix; empty for a valid skill."""
        return _examine(Path(folder))[1]

    @classmethod
    def read(cls, folder: str | Path) -> Skill:
        """Read and validate a skill folder.

        Raises:
            SkillError: the first problem of `check(folder)`.
        """
        skill, problems = _examine(Path(folder))
        if problems:
            raise problems[0]
        assert skill is not None
        return skill

    def write(self, parent: str | Path) -> Path:
        """Write `<parent>/<name>/SKILL.md` atomically.

        Reading it back gives an equal skill, but for blank space around description and body, and Windows line ends.

        Returns:
            The skill's folder.

        Raises:
            SkillError: the skill breaks a rule; nothing is written.
            CheckpointError: the folder cannot be written.
        """
        for key, text, hint in _broken_rules(self._front()):
            raise SkillError(text, where=parent, key=key, hint=hint)
        if self.name != normal_name(self.name):
            text, hint = "is not in the form in which names are compared", f"call it '{normal_name(self.name)}'"
            raise SkillError(f"'{printable(self.name)}' {text}", where=parent, key="name", hint=hint)
        folder = Path(parent) / self.name
        data = self.page()
        # The reader has the last word: what it would refuse, or read as another skill, never reaches the disk.
        _, problems = _parse(data, folder / FILE_NAMES[0])
        for problem in problems:
            raise SkillError(problem.problem, where=folder, key=problem.key, hint=problem.hint)
        atomic_write(folder / FILE_NAMES[0], data)
        return folder

    def page(self) -> bytes:
        """The SKILL.md of this skill, whether it keeps the rules or not."""
        front = yaml.safe_dump(self._front(), sort_keys=False, allow_unicode=True, width=10_000)
        return f"---\n{front}---\n\n{self.body.strip()}\n".encode("utf-8", "surrogatepass")

    def _front(self) -> dict[str, Any]:
        optional = {
            "license": self.license,
            "compatibility": self.compatibility,
            "metadata": dict(self.metadata),
            "allowed-tools": self.allowed_tools,
        }
        given = {key: value for key, value in optional.items() if value not in (None, {})}
        return {"name": self.name, "description": self.description, **given}


def split_tasks(text: str) -> list[str]:
    """The task categories of a text, which has commas between them."""
    return [part.strip() for part in text.split(",") if part.strip()]


def normal_name(name: str, *, strip: bool = True) -> str:
    """A name in the form in which names are compared."""
    return unicodedata.normalize("NFKC", name.strip() if strip else name)


def broken_name(name: str) -> list[str]:
    """What is wrong with a name, by the rules of the specification's reference library."""
    name = normal_name(name)
    broken = []
    if len(name) > MAX_NAME:
        broken.append(f"has {len(name):,} characters, over {MAX_NAME}")
    hyphens = name.startswith("-") or name.endswith("-") or "--" in name
    if not name or name != name.lower() or hyphens or not all(c.isalnum() or c == "-" for c in name):
        broken.append(f"'{printable(name)}' is not a valid name")
    return broken


def skill_file(folder: Path) -> Path:
    """The SKILL.md (or skill.md) of a folder; nothing is read.

    Raises:
        SkillError: there is none, it is not a file, or it is a link that leads out of the folder.
    """
    try:
        for path in (folder / name for name in FILE_NAMES):
            if os.path.lexists(path):
                return _plain_file(path, folder)
        near = [entry.name for entry in folder.iterdir() if entry.name.lower() == FILE_NAMES[1]]
    except FileNotFoundError as error:
        raise SkillError("no such folder", where=folder, hint="check the path") from error
    except NotADirectoryError as error:
        raise SkillError("is not a folder", where=folder, hint="give the folder that holds SKILL.md") from error
    except (OSError, ValueError) as error:
        raise _cannot_read(folder, error) from error
    hint = f"rename {near[0]} to SKILL.md" if near else "add one with a name, a description and the page"
    raise SkillError("has no SKILL.md", where=folder, hint=hint)


def _plain_file(path: Path, folder: Path) -> Path:
    if path.is_symlink() and not path.exists():
        raise SkillError("is a link that leads nowhere", where=path, hint="put the file itself here")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise SkillError("is a link that leads out of its folder", where=path, hint="put the file itself here")
    if not path.is_file():
        raise SkillError("is not a file", where=path, hint="put the page here as a file")
    return path


def _cannot_read(path: Path, error: Exception) -> SkillError:
    reason = getattr(error, "strerror", None) or str(error)
    return SkillError(f"cannot be read: {reason}", where=path, hint="check the path and its permissions")


def _examine(folder: Path) -> tuple[Skill | None, list[SkillError]]:
    try:
        path = skill_file(folder)
        data = _read_bytes(path)
    except SkillError as problem:
        return None, [problem]
    return _parse(data, path)


def _read_bytes(path: Path) -> bytes:
    """The file's bytes, at most one over the limit, however large it is or grows meanwhile."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _cannot_read(path, error) from error


def _parse(data: bytes, path: Path) -> tuple[Skill | None, list[SkillError]]:
    """A skill, or all that is wrong with it; `path` is the file that `data` is or will be in."""
    try:
        front, body, body_line = _split(path, decode_page(path, data))
        values, lines = parse_front(path, front, first_line=2)
    except SkillError as problem:
        return None, [problem]
    # The name a user sees, so that a linked folder goes by the name of the link.
    folder = Path(os.path.abspath(path.parent)).name  # noqa: PTH100 - `absolute` keeps `..`
    problems = [
        SkillError(
            text, where=path, key=printable(key), line=lines.get(key, lines.get(key.partition(".")[0], 1)), hint=hint
        )
        for key, text, hint in _broken_rules(values, folder)
    ]
    if not body.strip():
        hint = "write what to do below the front matter"
        problems.append(SkillError(EMPTY_PAGE, where=path, line=body_line, hint=hint))
    if problems:
        return None, problems
    skill = Skill(
        name=normal_name(values["name"]),
        description=values["description"].strip(),
        body=body.strip(),
        license=values.get("license"),
        compatibility=values.get("compatibility"),
        metadata=values.get("metadata") or {},
        allowed_tools=values.get("allowed-tools"),
        path=path.parent,
    )
    return skill, []


def decode_page(path: Path, data: bytes) -> str:
    """The text of a SKILL.md.

    Raises:
        SkillError: it is too large, not UTF-8, or holds a NUL character.
    """
    if len(data) > MAX_BYTES:
        raise SkillError(f"is over {MAX_BYTES:,} bytes", where=path, hint="move long material to references/")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SkillError("is not UTF-8", where=path, line=line, hint="save it as UTF-8") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise SkillError("holds a NUL character", where=path, line=line, hint="remove it")
    return text.replace("\r\n", "\n")


def _split(path: Path, text: str) -> tuple[str, str, int]:
    """Front matter, body, and the body's first line; only lines that are `---` and nothing else divide them."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        raise SkillError(
            "does not start with front matter", where=path, line=1, hint="begin with a line ---, name and description"
        )
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() == "---":
            return "\n".join(lines[1:number]), "\n".join(lines[number + 1 :]), number + 2
    raise SkillError("the front matter has no end", where=path, line=1, hint="end it with a line ---")


def _broken_rules(values: Mapping[str, Any], folder: str | None = None) -> list[tuple[str, str, str]]:
    """Each broken rule as (key, what is wrong, hint)."""
    broken = [
        (key, "unknown key", f"use one of: {', '.join(FIELDS)}; anything else goes under metadata")
        for key in values
        if key not in FIELDS
    ]
    for key, longest in (("name", None), ("description", MAX_DESCRIPTION)):
        broken += _text_rules(key, values.get(key), longest, required=True)
    limits: dict[str, int | None] = {"license": None, "compatibility": MAX_COMPATIBILITY, "allowed-tools": None}
    for key, limit in limits.items():
        if key in values:
            broken += _text_rules(key, values[key], limit, required=False)
    name = values.get("name")
    if isinstance(name, str) and name.strip():
        hint = "use lowercase letters, digits and single hyphens between"
        broken += [("name", problem, hint) for problem in broken_name(name)]
        if folder is not None and normal_name(name) != normal_name(folder, strip=False):
            problem = f"'{printable(name)}' differs from its folder '{printable(folder)}'"
            broken.append(("name", problem, "give both the same name"))
    return broken + _metadata_rules(values.get("metadata"))


def _text_rules(key: str, value: Any, longest: int | None, *, required: bool) -> list[tuple[str, str, str]]:
    if value is None:
        return (
            [(key, "is missing", f"add `{key}: ...`")] if required else [(key, "is empty", "give it text or remove it")]
        )
    if not isinstance(value, str):
        return [(key, f"is not text but {type(value).__name__}", "put it in quotes")]
    if not value.strip():
        return [(key, "is empty", "give it text")]
    broken = _character_rules(key, value)
    if longest is not None and len(value) > longest:
        broken.append((key, f"has {len(value)} characters, over {longest}", "shorten it"))
    return broken


def _metadata_rules(metadata: Any) -> list[tuple[str, str, str]]:
    if metadata is None:
        return []
    if not isinstance(metadata, Mapping):
        return [("metadata", "is not a map of string to string", "write one `key: value` a line below it")]
    broken: list[tuple[str, str, str]] = []
    for key, value in metadata.items():
        place = f"metadata.{key}"
        if not isinstance(key, str):
            broken.append((place, f"the key is not text but {type(key).__name__}", "put it in quotes"))
        if not isinstance(value, str):
            hint = "put it in quotes, and nest nothing" + ('; commas between names: "a, b"' if key == "tasks" else "")
            broken.append((place, f"is not text but {type(value).__name__}", hint))
        else:
            broken += _character_rules(place, value)
    return broken


def _character_rules(key: str, value: str) -> list[tuple[str, str, str]]:
    """No control characters (YAML escapes can write them, terminals obey them) and no half characters."""
    bad = next((c for c in value if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), None)
    return [] if bad is None else [(key, f"holds the control character U+{ord(bad):04X}", "remove it")]
