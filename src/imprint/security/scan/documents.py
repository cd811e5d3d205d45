"""The texts in a skill's files: prose, and code in its languages, each with where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from imprint.security.scan.hidden import hidden_parts
from imprint.security.scan.rules import context

CODE = ("shell", "python", "javascript", "other")  # languages of documents that are not prose
_SUFFIXES_OF = {
    "python": ".py .pyw",
    "shell": ".sh .bash .zsh .command",
    "javascript": ".js .mjs .cjs .jsx .ts .tsx",
    "markdown": ".md .mdx .markdown .txt .rst .html",
    "json": ".json",
}
_FENCES_OF = {
    "shell": "bash sh shell zsh console shell-session terminal",
    "python": "python py python3",
    "javascript": "javascript js node typescript ts jsx tsx",
    "json": "json jsonc",
    "other": "powershell ps1 ruby php perl html",
}
_SUFFIXES = {suffix: language for language, suffixes in _SUFFIXES_OF.items() for suffix in suffixes.split()}
_FENCES = {name: language for language, names in _FENCES_OF.items() for name in names.split()}
_FENCE = re.compile(r"^[ \t>]*(?:[-*+]\s+|\d+\.\s+)?(`{3,}|~{3,})\s*\{?\.?([\w+-]*)(.*)$")
_SHELL_LIKE = re.compile(
    r"(?m)^\s*\$?\s*(?:curl|wget|sudo|bash|sh|pip3?|npm|npx|cat|echo|export|chmod|rm|git|python3?|nc|tar|cd|"
    r"source|env|eval|ssh|scp|find)\s"
)
_INLINE = re.compile(r"`([^`\n]{8,400})`")
_INLINE_SHELL = re.compile(
    r"^\$?\s*(?:curl|wget|bash|sh|zsh|nc|ncat|sudo|cat|env|printenv|echo|eval|source|rm|chmod|base64|tar|"
    r"python3?|node|scp|dig|export|crontab|ssh|socat|find)\b"
)
_SHEBANG = re.compile(r"^#!.*?\b(python|node|bash|zsh|sh|dash|ksh|deno|bun)[\d.]*\b")
_SHEBANGS = {"python": "python", "node": "javascript", "deno": "javascript", "bun": "javascript"}


@dataclass(frozen=True, slots=True)
class Document:
    """A text with one language.

    Attributes:
        file, line: where its first line stands.
        language: `prose`, `shell`, `python`, `javascript`, `other` (code of no language that is parsed), `json`.
        role: `file` (a script), `block` (code in a page), `inline` (code in a sentence), `comment` (text that a
            page does not show), `page`, `server` (what an MCP declaration starts), `layer` (what an encoding hid).
        about_bad: the page shows it as what not to do, or to look out for.
        heading: under which it stands.
    """

    file: str
    line: int
    language: str
    text: str
    role: str
    about_bad: bool = False
    heading: str = ""


def documents(file: str, text: str) -> Iterator[Document]:
    """The documents in a file's text."""
    language = _language(file, text)
    if language == "markdown":
        yield from _markdown(file, text)
    elif language == "json":
        yield from _json(file, text)
    else:
        yield Document(file, 1, language, text, "file")


def is_shell_like(text: str) -> bool:
    """Whether a line begins with a command that everyone knows."""
    return bool(_SHELL_LIKE.search(text))


def _language(file: str, text: str) -> str:
    name = file.rpartition("/")[2].rpartition("!")[2].lower()
    found = _SHEBANG.match(text)
    if found:
        return _SHEBANGS.get(found.group(1), "shell")
    suffix = "." + name.rpartition(".")[2] if "." in name[1:] else ""
    return _SUFFIXES.get(suffix, "markdown" if name in ("skill", "readme", "agents", "license", "") else "other")


def _markdown(file: str, text: str) -> Iterator[Document]:
    prose: list[str] = []
    lines = text.split("\n")
    fence, name, begin, bad, heading = "", "", 0, False, ""
    for number, line in enumerate(lines):
        found = _FENCE.match(line)
        if fence:
            prose.append("")
            closes = found is not None and found.group(1).startswith(fence) and not found.group(2)
            if closes or number == len(lines) - 1:
                block = lines[begin : number if closes else None]
                yield from _block(Document(file, begin + 1, name, "\n".join(block), "block", bad, heading))
                fence = ""
        elif found is not None:
            fence, name, begin = found.group(1), found.group(2).lower(), number + 1
            before = [part for part in prose[-4:] if part.strip()][-2:]
            bad = bool(context("bad_example").search(" ".join([heading, *before])))
            prose.append("")
        else:
            if line.startswith("#"):
                heading = line.strip("# ")
            prose.append(line)
    page = "\n".join(prose)
    hidden = hidden_parts(page)
    for start, _, content in hidden:
        yield Document(file, page.count("\n", 0, start) + 1, "prose", content, "comment")
    for start, end, _ in reversed(hidden):
        page = page[:start] + "\n" * page.count("\n", start, end) + page[end:]
    yield Document(file, 1, "prose", page, "page")
    for found in _INLINE.finditer(page):
        if _INLINE_SHELL.match(found.group(1)):
            start = page.rfind("\n", 0, found.start()) + 1
            about = bool(context("bad_example").search(page[max(start, found.start() - 200) : found.start()]))
            at = page.count("\n", 0, found.start()) + 1
            yield Document(file, at, "shell", found.group(1).lstrip("$ "), "inline", about)


def _block(block: Document) -> Iterator[Document]:
    language = _FENCES.get(block.language, "")
    text = block.text
    if not language and block.language in ("", "text", "txt", "plaintext", "markdown", "md", "yaml", "yml"):
        language = (
            "shell" if _SHELL_LIKE.search(text) and block.language not in ("markdown", "md", "yaml", "yml") else "prose"
        )
        if block.language in ("", "text", "txt", "plaintext") and re.match(r"\s*(?:import |from \w+ import )", text):
            language = "python"
    if block.language in ("console", "shell-session", "terminal") or re.search(r"(?m)^\$ ", text):
        text = re.sub(r"(?m)^(?:\w+@\S+)?[$#>] ", "", text)
    if context("bad_comment").search(text):
        block = replace(block, about_bad=True)
    if language == "json":
        yield from (replace(found, about_bad=block.about_bad) for found in _json(block.file, text, block.line))
    else:
        yield replace(block, language=language or "other", text=text)


def _json(file: str, text: str, first_line: int = 1) -> Iterator[Document]:
    """A JSON text: the servers and hooks it declares, each as the command it starts, and its descriptions."""
    if not re.search(r'"(?:command|hooks|mcpServers|description)"', text):
        yield Document(file, first_line, "other", text, "file" if first_line == 1 else "block")
        return
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        yield Document(file, first_line, "other", text, "file" if first_line == 1 else "block")
        return
    for command, env, content in _commands(loaded, 0):
        place = text.find(json.dumps(content)[1:-1][:40]) if content else -1
        line = first_line + (text.count("\n", 0, place) if place >= 0 else 0)
        yield Document(file, line, "shell", env + command, "server")
    for content in _descriptions(loaded, 0):
        place = text.find(json.dumps(content, ensure_ascii=False)[1:-1][:60])
        yield Document(file, first_line + (text.count("\n", 0, place) if place >= 0 else 0), "prose", content, "page")


def _commands(value: Any, depth: int) -> Iterator[tuple[str, str, str]]:
    """Each `command` with `args`, as shell text, the variables it is given, and what to look for in the file."""
    import shlex

    if depth > 12:
        return
    if isinstance(value, dict):
        command = value.get("command")
        if isinstance(command, str):
            args = [str(arg) for arg in value["args"]] if isinstance(value.get("args"), list) else []
            text = " ".join([shlex.quote(command) if args else command, *map(shlex.quote, args)])
            env = value.get("env")
            names = [name for name in env if re.fullmatch(r"\w+", str(name))] if isinstance(env, dict) else []
            yield text, "".join(f"export {name}=${{{name}}}; " for name in names), command
        for inner in value.values():
            yield from _commands(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _commands(inner, depth + 1)


def _descriptions(value: Any, depth: int) -> Iterator[str]:
    if depth > 12:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and len(inner) > 20 and key not in ("command",):
                yield inner
            else:
                yield from _descriptions(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, str) and len(inner) > 40:
                yield inner
            else:
                yield from _descriptions(inner, depth + 1)
