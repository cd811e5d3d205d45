"""The rules, which are data: `rules/*.yaml`, each rule with examples that it must find and must not find."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import yaml

from imprint.security.scan.behaviour import Event, belongs, host_of, is_local, owners, plain_labels, secret_names
from imprint.security.scan.report import Severity

KINDS = ("prose", "code", "commands", "flows", "files")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        kind: what it looks at: sentences (`prose`), raw code (`code`), commands, flows of data, or whole files.
        by_role: another severity in documents of a role, e.g. in what an MCP server declaration starts.
        pattern: for prose, code and commands.
        unless: what makes a match of `pattern` ordinary.
        needs: a text (in lower case) without any of these cannot match; asked first, for it costs nothing.
        negatable: a negation before a match of prose turns it into its opposite, and it is not reported.
    """

    id: str
    kind: str
    severity: Severity
    why: str
    by_role: Mapping[str, Severity]
    roles: frozenset[str]
    pattern: re.Pattern[str] | None
    unless: re.Pattern[str] | None
    negatable: bool
    needs: tuple[str, ...]
    sinks: frozenset[str]
    labels: frozenset[str]
    without: frozenset[str]
    named: re.Pattern[str] | None
    places: frozenset[str]
    owner: str
    least: int
    match: tuple[Any, ...]
    passes: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The id in CamelCase."""
        return "".join(part.capitalize() for part in self.id.split("-")[1:])

    def severity_in(self, role: str) -> Severity:
        return self.by_role.get(role, self.severity)

    def candidates(self, text: str, lower: str) -> Iterator[re.Match[str]]:
        """The matches in a text whose sentences are lines: only those with a word that it needs are looked at."""
        assert self.pattern is not None
        if not self.needs or len(lower) != len(text):
            yield from self.pattern.finditer(text)
            return
        begins: dict[int, int] = {}
        for word in self.needs:
            at = lower.find(word)
            while at >= 0:
                end = text.find("\n", at)
                end = len(text) if end < 0 else end
                begins[text.rfind("\n", 0, at) + 1] = end
                at = lower.find(word, end)
        for begin, end in sorted(begins.items()):
            yield from self.pattern.finditer(text, begin, end)

    def may_match(self, lower: str) -> bool:
        """Whether a text in lower case could match at all."""
        return not self.needs or any(word in lower for word in self.needs)

    def fits(self, event: Event, role: str) -> bool:
        """Whether a flow rule holds for an event."""
        if event.sink not in self.sinks or (self.roles and role not in self.roles):
            return False
        if self.places and event.place not in self.places:
            return False
        plain = plain_labels(event.labels)
        if not self.labels <= plain or self.without & plain:
            return False
        if self.named is not None and not any(self.named.search(part) for part in (*event.labels, event.text)):
            return False
        names = secret_names(event.labels)
        if self.least and len({frozenset(owners(name)) for name in names}) < self.least:
            return False
        if self.unless is not None and self.unless.search(event.text):
            return False
        return not self.owner or self.owner == _owner(event, names)


def _owner(event: Event, names: list[str]) -> str:
    """Whether secrets go to whom they are for: `own`, `foreign`, or `unsaid` where the names do not show it."""
    host = host_of(event.text)
    if is_local(host):
        return "own"
    owned = [name for name in names if owners(name)]
    if owned and host:
        return "own" if all(belongs(name, event.text) for name in owned) else "foreign"
    return "unsaid"


@lru_cache(maxsize=1)
def load_rules() -> Mapping[str, tuple[Rule, ...]]:
    """The rules of the package, by kind."""
    folder = resources.files("imprint.security.scan") / "rules"
    words = _yaml(folder / "words.yaml")
    known: dict[str, str] = {}
    for name, alternatives in words.items():
        known[name] = "(?:" + "|".join(_filled(str(part), known) for part in alternatives) + ")"
    return {kind: tuple(_rule(kind, entry, known) for entry in _yaml(folder / f"{kind}.yaml")) for kind in KINDS}


@cache
def context(name: str, after: str = "") -> re.Pattern[str]:
    """A list of `rules/context.yaml` as one pattern, with what has to follow it."""
    return re.compile(f"(?:{'|'.join(_contexts()[name])}){after}", re.IGNORECASE)


@lru_cache(maxsize=1)
def _contexts() -> dict[str, list[str]]:
    found: dict[str, list[str]] = _yaml(resources.files("imprint.security.scan") / "rules" / "context.yaml")
    return found


def rule(identifier: str) -> Rule:
    """The rule of this id.

    Raises:
        KeyError: there is none.
    """
    return _by_id()[identifier]


def all_rules() -> list[Rule]:
    """Every rule, in the order of ids."""
    return sorted(_by_id().values(), key=lambda found: found.id)


@lru_cache(maxsize=1)
def _by_id() -> dict[str, Rule]:
    return {found.id: found for rules in load_rules().values() for found in rules}


def _yaml(path: Any) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


def _rule(kind: str, entry: Mapping[str, Any], words: Mapping[str, str]) -> Rule:
    pattern = entry.get("pattern")
    if isinstance(pattern, list):  # parts of one sentence, in this order
        gap = rf"[^\n]{{0,{int(entry.get('near', 90))}}}?"
        pattern = gap.join(rf"(?:{part})" for part in pattern)
    flags = re.IGNORECASE if kind == "prose" or entry.get("any_case") else re.NOFLAG
    return Rule(
        id=entry["id"],
        kind=kind,
        severity=Severity.of(entry["severity"]),
        why=entry["why"],
        by_role={role: Severity.of(word) for role, word in entry.get("severity_in", {}).items()},
        roles=frozenset(entry.get("roles", ())),
        pattern=None if pattern is None else re.compile(_filled(pattern, words), flags),
        unless=None if "unless" not in entry else re.compile(_filled(entry["unless"], words), re.IGNORECASE),
        needs=tuple(map(str, entry.get("needs", ()))),
        negatable=bool(entry.get("negatable", True)),
        sinks=frozenset(entry.get("sinks", ())),
        labels=frozenset(entry.get("labels", ())),
        without=frozenset(entry.get("without", ())),
        named=None if "named" not in entry else re.compile(entry["named"], re.IGNORECASE),
        places=frozenset(entry.get("places", ())),
        owner=entry.get("owner", ""),
        least=int(entry.get("owners", 0)),
        match=tuple(entry.get("match", ())),
        passes=tuple(entry.get("pass", ())),
    )


def _filled(pattern: str, words: Mapping[str, str]) -> str:
    """`{send}` in a pattern is the list of words of that name."""
    return re.sub(r"\{([a-z_]+)\}", lambda found: words[found.group(1)], pattern)
