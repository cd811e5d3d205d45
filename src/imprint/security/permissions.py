"""Gate G4: what a skill declares (`allowed-tools`) against what its code is seen to do; nothing is ever run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from imprint.security.trust import GateResult, GateStatus, Tier
from imprint.skills.front import printable

_TOOL = re.compile(r"([A-Za-z_][\w-]*)(?:\(([^()]*)\))?")
# What a shell does by itself and that reaches nothing outside of it.
# fmt: off
_BUILTIN = frozenset((
    "[", ":", "cd", "echo", "exit", "export", "false", "local", "popd", "printf", "pushd", "read", "return", "set",
    "shift", "test", "true", "unset",
))
# fmt: on
_NETWORK = frozenset(
    ["curl", "ftp", "nc", "ncat", "netcat", "python-connect", "rsync", "scp", "sftp", "socat", "ssh", "telnet", "wget"]
)
_NETWORK_SINKS = ("send", "resolve")
LONGEST = 5  # things named in a reason


@dataclass(frozen=True, slots=True)
class Observed:
    """What the code in a skill's files and pages would do: commands with their words, scripts, and the network."""

    commands: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    network: bool = False


def observe(folder: Path) -> Observed:
    """Read a skill's files as the scan does."""
    from imprint.security.scan.behaviour import FETCHED, plain_labels
    from imprint.security.scan.code import CodeScan
    from imprint.security.scan.documents import CODE, documents
    from imprint.security.scan.files import read_skill, text_of
    from imprint.security.scan.normal import normalise

    texts = [(file.name, text_of(file.data)) for file in read_skill(folder)]
    code = [
        document
        for name, text in texts
        if text is not None
        for document in documents(name, normalise(text)[0])
        if document.language in CODE
    ]
    commands, network = set(), False
    for _, event in CodeScan().analyse(code):
        name = _command_name(event.text)
        if event.sink == "command" and name and name not in _BUILTIN:
            commands.add(event.text)
        network |= event.sink in _NETWORK_SINKS or FETCHED in plain_labels(event.labels) or name in _NETWORK
    scripts = sorted({document.file for document in code if document.role == "file"})
    return Observed(tuple(sorted(commands)), tuple(scripts), network)


def permission_gate(declared: str | None, observed: Observed, tier: Tier) -> GateResult:
    """Whether all that was observed is declared, and allowed at `tier`."""
    if observed.network and tier < Tier.T4:
        return GateResult(GateStatus.FAILED, "uses the network, which only T4 may")
    tools = _TOOL.findall(declared or "")
    shells = [pattern for tool, pattern in tools if tool == "Bash"]
    missing = sorted({_command_name(command) for command in observed.commands if not _covered(command, shells)})
    if observed.scripts and not shells:
        missing += list(observed.scripts)
    if missing:
        more = " ..." if len(missing) > LONGEST else ""
        listed = ", ".join(printable(name, 40) for name in missing[:LONGEST])
        return GateResult(GateStatus.FAILED, f"runs what allowed-tools does not declare: {listed}{more}")
    if "" in shells and not observed.commands and not observed.scripts:
        return GateResult(GateStatus.FAILED, "declares Bash without limits, and nothing of it is seen to be needed")
    return GateResult(GateStatus.PASSED, "all that is observed is declared")


def _covered(command: str, shells: list[str]) -> bool:
    """`Bash` covers every command, `Bash(git add:*)` those that begin so, `Bash(npm test)` exactly that one."""
    words = [_command_name(command), *command.split()[1:]]
    for pattern in shells:
        prefix, star, _ = pattern.strip().partition(":*")
        wanted = prefix.split()
        if not wanted or wanted == ["*"] or (words[: len(wanted)] == wanted if star else words == wanted):
            return True
    return False


def _command_name(command: str) -> str:
    word = (command.split() or [""])[0]
    return word.rpartition("/")[2] or word
