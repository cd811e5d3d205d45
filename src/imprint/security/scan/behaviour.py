"""What code does, in the words that all languages share: values with labels, and the events they end in.

The analysers of Python, shell and JavaScript follow values and write down events; the rules (`rules/flows.yaml`,
`rules/commands.yaml`) say which events matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Final, Protocol

import yaml

if TYPE_CHECKING:
    import ast

# Labels. One with a name after a colon is more specific: `secret:OPENAI_API_KEY`, `credential-file:~/.ssh/id_rsa`.
SECRET: Final = "secret"
ENVIRONMENT: Final = "environment"  # all of it
CREDENTIAL_FILE: Final = "credential-file"
FILE: Final = "file"
FOLDER: Final = "folder"  # all of it, in an archive or file by file
VARIABLE: Final = "variable"  # from the environment, but not named like a secret
FETCHED: Final = "fetched"
DECODED: Final = "decoded"
ENCODED: Final = "encoded"
CONVERSATION: Final = "conversation"
HOST_FACTS: Final = "host-facts"  # user, host name, listing of files
NO_LABELS: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of a value: where it comes from, and its text as far as it is constant.

    Parts of the text that are not known stand as `$NAME` or `$`.
    """

    labels: frozenset[str] = NO_LABELS
    text: str = ""

    def __or__(self, other: Value) -> Value:
        return Value(self.labels | other.labels, self.text or other.text)

    def add(self, *labels: str) -> Value:
        return Value(self.labels | set(labels), self.text)


NOTHING: Final = Value()


def join(values: Iterable[Value], between: str = "") -> Value:
    """Values one after the other."""
    values = list(values)
    labels = frozenset().union(*(value.labels for value in values)) if values else NO_LABELS
    return Value(labels, between.join(value.text for value in values)[:20_000])


@dataclass(frozen=True, slots=True)
class Event:
    """Something that code does.

    Attributes:
        sink: `send`, `resolve` (a DNS query), `run` (data executed), `print`, `serialise`, `write`, `command`.
        labels: of the data that arrives.
        place: where the data goes: `body`, `header`, `url`, `file`, `stdout`.
        text: the command, or the address or path that it goes to.
    """

    sink: str
    line: int
    labels: frozenset[str] = NO_LABELS
    place: str = ""
    text: str = ""


@dataclass(slots=True)
class Trace:
    """What one document does. `files` are the labels of what was written, by path, shared by the whole skill."""

    files: dict[str, frozenset[str]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def note(self, sink: str, line: int, labels: frozenset[str] = NO_LABELS, place: str = "", text: str = "") -> None:
        self.events.append(Event(sink, line, labels, place, text[:2_000]))

    def written(self, path: str, labels: frozenset[str]) -> None:
        key = path.removeprefix("./")
        if key and labels:
            self.files[key] = self.files.get(key, NO_LABELS) | labels

    def read(self, path: str) -> frozenset[str]:
        """The labels of a file's content: what was written there, or what the path's name shows."""
        found = self.files.get(path.removeprefix("./"), NO_LABELS)
        if not path:
            return NO_LABELS
        kind = CREDENTIAL_PATH.search(path)
        if kind and not path.rstrip("/").endswith((".pub", ".example", ".sample", ".template")):
            return found | {f"{CREDENTIAL_FILE}:{path}"}
        if CONVERSATION_PATH.search(path):
            return found | {CONVERSATION}
        return found | {f"{FILE}:{path}"}


class PythonAnalysis(Protocol):
    """What the table of known Python functions needs of the analysis that calls it."""

    @property
    def trace(self) -> Trace: ...
    @property
    def globals(self) -> MutableMapping[str, Value]: ...
    @property
    def inline(self) -> Callable[[str, str, int, frozenset[str]], None]: ...
    def value(self, node: ast.expr, scope: MutableMapping[str, Value]) -> Value: ...


class ShellAnalysis(Protocol):
    """What the table of known shell commands needs of the analysis that calls it."""

    @property
    def trace(self) -> Trace: ...
    @property
    def inline(self) -> Callable[[str, str, int], None]: ...
    def call(self, words: list[Value], stdin: Value, line: int) -> Value: ...
    def nested(self, text: Value, line: int) -> Value: ...


def plain_labels(labels: Iterable[str]) -> set[str]:
    """The labels without their names."""
    return {label.partition(":")[0] for label in labels}


def has(labels: Iterable[str], *kinds: str) -> bool:
    """Whether any label is of one of the kinds."""
    return any(label.partition(":")[0] in kinds for label in labels)


def only(labels: Iterable[str], *kinds: str) -> frozenset[str]:
    """The labels of these kinds."""
    return frozenset(label for label in labels if label.partition(":")[0] in kinds)


def secret_names(labels: Iterable[str]) -> list[str]:
    return sorted(label.partition(":")[2] for label in labels if label.startswith(f"{SECRET}:"))


CREDENTIAL_PATH: Final = re.compile(
    r"""(?ix) (?:^|[/\\~$}{\s'"=@])
    (?: \.ssh/(?:id_\w+|.*key|\*|$) | \.ssh$ | id_(?:rsa|dsa|ecdsa|ed25519)\b
      | \.aws/(?:credentials|config|$) | \.netrc\b | \.pgpass\b | \.git-credentials\b | \.npmrc\b | \.pypirc\b
      | \.docker/config\.json | \.kube/config | \.gnupg\b | \.config/gcloud\b | application_default_credentials
      | \.config/gh/hosts | \.azure/\w* | \.bash_history\b | \.zsh_history\b | /?etc/shadow\b | \.vault-token\b
      | login\s?data\b | cookies\.sqlite | logins\.json | key4\.db | \.keychain | Library/Keychains | wallet\.dat
      | \.electrum | \.claude/(?:\.credentials|credentials) | \.codex/auth\.json )"""
)
WIDE_PATH: Final = re.compile(
    r"""^(?:\.|\./|\*|/|~/?|\$\{?HOME\}?/?|\$PWD|\$\(pwd\)|/home\S*|/Users\S*|~/(?:Documents|Desktop|Pictures|Downloads)\S*|\.git/?)$"""
)
SECRET_SEARCH: Final = re.compile(
    r"(?i)\*?(?:\.pem|\.key|\.ppk|\.kdbx|\.p12|\.pfx|id_rsa\w*|id_ed25519|\.env\b|wallet\S*|passwords?|"
    r"credentials?|secrets?|\.aws|\.ssh|cookies|login data)\*?$"
)
CONVERSATION_PATH: Final = re.compile(
    r"(?i)\.claude/(?:projects|history|transcripts)|conversation(?:s|_history)?\.json|transcript\.jsonl?"
)
_SECRET_NAME: Final = re.compile(
    r"(?i)(?:^|_|-|\b)(?:api_?-?key|secret|token|passw(?:or)?d|passphrase|credentials?|private_?key|access_?key|"
    r"auth(?:_?key)?|service_account(?:_key)?|client_secret|webhook_url|jwt|dsn|database_url|connection_string|pat)"
    r"(?:s|_id|_file)?(?:$|_|\b)"
)
_NOT_SECRET: Final = re.compile(
    r"(?i)max_?tokens|token_?(?:count|limit|izer|type|url)|num_tokens|_path$|tokens?_(?:in|out|used)|author"
)


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret."""
    return bool(_SECRET_NAME.search(name)) and not _NOT_SECRET.search(name)


@lru_cache(maxsize=1)
def _names() -> tuple[frozenset[str], dict[str, str]]:
    """Words of a name that do not say whose the secret is, and what services are called elsewhere."""
    path = resources.files("imprint.security.scan") / "rules" / "owners.yaml"
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    return frozenset(loaded["generic"]), loaded["also"]


def owners(name: str) -> set[str]:
    """Whose secret it is, as far as its name shows: `SLACK_BOT_TOKEN` is Slack's."""
    generic, _ = _names()
    return {word for word in re.split(r"[^a-z0-9]+", name.lower()) if len(word) > 1 and word not in generic}


def belongs(name: str, address: str) -> bool:
    """Whether a secret of this name goes to whom it is for: its owner is part of the address."""
    host = host_of(address)
    host += " " + host.replace(".", "").replace("-", "")
    if not host.strip():
        return True  # an address that is not known is no evidence
    _, also = _names()
    return any(word in host or also.get(word, "\0") in host for word in owners(name))


_HOST: Final = re.compile(
    r"(?i)(?:[a-z][a-z0-9+.-]*:)?//(?:[^/@\s]*@)?([^/:?#\s'\"]+)|^([a-z0-9-]+(?:\.[a-z0-9-]+)+)(?=[/:]|$)"
)


def host_of(address: str) -> str:
    """The host of a URL, or of an address without a scheme; empty if there is none or it is not constant."""
    found = _HOST.search(address.strip().strip("'\""))
    host = (found.group(1) or found.group(2) or "") if found else ""
    return "" if "$" in host or "{" in host or "<" in host else host.lower()


def is_local(host: str) -> bool:
    """Whether a host is this machine."""
    return bool(re.fullmatch(r"localhost|127(?:\.\d+){3}|0\.0\.0\.0|\[?::1\]?|host\.docker\.internal", host))
