"""A skill at rest: one folder with a SKILL.md, as the agentskills.io specification describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from imprint.errors import SkillError
from imprint.files import atomic_write

FILE_NAMES = ("SKILL.md", "skill.md")
MAX_BYTES = 1_000_000
MAX_NAME, MAX_DESCRIPTION, MAX_COMPATIBILITY = 64, 1024, 500
MAX_NESTING = 50
FIELDS = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")
EVERY_TASK = "*"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Skill:
    """One skill.

    Attributes:
        name: lowercase letters, digits and single hyphens; the folder has the same name.
        description: what it does and when to use it.
        body: the page itself, Markdown.
        metadata: strings by string; `tasks` says which task categories it serves (`*`: all of them).
        path: the folder it was read from.
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
        """The task categories this skill serves: `("*",)` for all, `()` when it does not say."""
        return tuple(part.strip() for part in self.metadata.get("tasks", "").split(",") if part.strip())

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
        """Every problem of a skill folder, with file, line and mend; empty for a valid skill."""
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
        """Write `<parent>/<name>/SKILL.md` atomically; reading it back gives an equal skill.

        Raises:
            SkillError: the skill breaks a rule; nothing is written.
        """
        folder = Path(parent) / self.name
        values: dict[str, Any] = {"name": self.name, "description": self.description}
        values |= {key: value for key, value in self._optional().items() if value}
        problems = [SkillError(text, where=folder, key=key, mend=mend) for key, text, mend in _broken_rules(values)]
        if problems:
            raise problems[0]
        front = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=10_000)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / FILE_NAMES[0], f"---\n{front}---\n\n{self.body.strip()}\n")
        return folder

    def _optional(self) -> dict[str, Any]:
        return {
            "license": self.license,
            "compatibility": self.compatibility,
            "metadata": dict(self.metadata),
            "allowed-tools": self.allowed_tools,
        }


def _examine(folder: Path) -> tuple[Skill | None, list[SkillError]]:
    try:
        path = _find_file(folder)
        front, first_line, body = _split(path, _read_text(path, folder))
        values, lines = _parse_front(path, front, first_line)
    except SkillError as problem:
        return None, [problem]
    problems = [
        SkillError(text, where=path, key=key, line=lines.get(key, 1), mend=mend)
        for key, text, mend in _broken_rules(values, folder.resolve().name)
    ]
    if not body.strip():
        problems.append(SkillError("the page is empty", where=path, mend="write what to do below the front matter"))
    if problems:
        return None, problems
    skill = Skill(
        name=values["name"],
        description=values["description"].strip(),
        body=body.strip(),
        license=values.get("license"),
        compatibility=values.get("compatibility"),
        metadata=values.get("metadata") or {},
        allowed_tools=values.get("allowed-tools"),
        path=folder,
    )
    return skill, []


def _find_file(folder: Path) -> Path:
    for name in FILE_NAMES:
        path = folder / name
        if path.is_file():
            if not path.resolve().is_relative_to(folder.resolve()):
                raise SkillError("is a link that leads out of its folder", where=path, mend="put the file itself here")
            return path
    raise SkillError("has no SKILL.md", where=folder, mend="add one with a name, a description and the page")


def _read_text(path: Path, folder: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SkillError(f"is over {MAX_BYTES:,} bytes", where=path, mend="move long material to references/")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SkillError("is not UTF-8", where=path, line=line, mend="save it as UTF-8") from error
    except OSError as error:
        raise SkillError(f"cannot be read: {error.strerror}", where=path, mend="check its permissions") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise SkillError("holds a NUL character", where=path, line=line, mend="remove it")
    return text.replace("\r\n", "\n")


def _split(path: Path, text: str) -> tuple[str, int, str]:
    """Front matter, the line it starts on, and body; only a line that is exactly `---` divides them."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        raise SkillError(
            "does not start with front matter", where=path, line=1, mend="begin with a line ---, name and description"
        )
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() == "---":
            return "\n".join(lines[1:number]), 2, "\n".join(lines[number + 1 :])
    raise SkillError("the front matter has no end", where=path, line=1, mend="end it with a line ---")


def _parse_front(path: Path, front: str, first_line: int) -> tuple[dict[str, Any], dict[str, int]]:
    """The values of the front matter and the line of each key.

    Aliases are refused: a page of them can unfold to gigabytes, and no skill needs one. So is deep nesting, on which
    the YAML library takes quadratic time.
    """
    if _nesting(front) > MAX_NESTING:
        raise SkillError("is nested too deeply", where=path, line=first_line, mend="keep the values flat")
    try:
        for token in yaml.scan(front, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
                raise SkillError(
                    "aliases and anchors are not allowed",
                    where=path,
                    line=first_line + token.start_mark.line,
                    mend="write the value out",
                )
        node = yaml.compose(front, Loader=yaml.SafeLoader)
        values = yaml.safe_load(front)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = first_line + (mark.line if mark else 0)
        what = getattr(error, "problem", None) or "cannot be parsed"
        raise SkillError(
            f"broken YAML: {what}", where=path, line=line, mend="quote values that hold ': ', '#' or quotes"
        ) from error
    except (RecursionError, ValueError, OverflowError) as error:
        raise SkillError(f"broken YAML: {error}", where=path, line=first_line, mend="keep the values flat") from error
    if not isinstance(node, yaml.MappingNode) or not isinstance(values, dict):
        raise SkillError("the front matter is not keys with values", where=path, line=2, mend="write `name: ...`")
    lines: dict[str, int] = {}
    for key_node, _ in node.value:
        key, line = str(key_node.value), first_line + key_node.start_mark.line
        if key in lines:
            raise SkillError("is given twice", where=path, line=line, key=key, mend="keep one of them")
        lines[key] = line
    return {str(key): value for key, value in values.items()}, lines


def _nesting(text: str) -> int:
    """The deepest nesting of brackets, those in quotes counted too."""
    depth = deepest = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _broken_rules(values: Mapping[str, Any], folder: str | None = None) -> list[tuple[str, str, str]]:
    """Each broken rule as (key, what is wrong, mend)."""
    broken = [
        (key, "unknown key", f"use one of: {', '.join(FIELDS)}; anything else goes under metadata")
        for key in values
        if key not in FIELDS
    ]
    for key, longest in (("name", MAX_NAME), ("description", MAX_DESCRIPTION)):
        broken += _text_rules(key, values.get(key), longest, required=True)
    limits: dict[str, int | None] = {"license": None, "compatibility": MAX_COMPATIBILITY, "allowed-tools": None}
    for key, limit in limits.items():
        if key in values:
            broken += _text_rules(key, values[key], limit, required=False)
    name = values.get("name")
    if isinstance(name, str) and name:
        if not _NAME.fullmatch(name):
            broken.append(
                ("name", f"{name!r} is not a valid name", "use lowercase letters, digits and single hyphens between")
            )
        elif folder is not None and name != folder:
            broken.append(("name", f"{name!r} differs from its folder {folder!r}", "give both the same name"))
    metadata = values.get("metadata")
    if metadata is not None and not _is_string_map(metadata):
        broken.append(("metadata", "is not a map of string to string", "quote the values, and nest nothing"))
    return broken


def _text_rules(key: str, value: Any, longest: int | None, *, required: bool) -> list[tuple[str, str, str]]:
    if value is None:
        return (
            [(key, "is missing", f"add `{key}: ...`")] if required else [(key, "is empty", "give it text or remove it")]
        )
    if not isinstance(value, str):
        return [(key, f"is not text but {type(value).__name__}", "put it in quotes")]
    if not value.strip():
        return [(key, "is empty", "give it text")]
    if longest is not None and len(value) > longest:
        return [(key, f"has {len(value)} characters, over {longest}", "shorten it")]
    return []


def _is_string_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())
