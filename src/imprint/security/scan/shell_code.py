"""What shell code does: parsed by tree-sitter, its values followed through variables, pipes and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from imprint.security.scan.behaviour import (
    DECODED,
    ENVIRONMENT,
    FETCHED,
    NO_LABELS,
    NOTHING,
    SECRET,
    VARIABLE,
    Trace,
    Value,
    has,
    is_secret_name,
    join,
)
from imprint.security.scan.shell_commands import COMMANDS, Call

MAX_DEPTH = 60
MAX_NODES = 40_000
# Given text in another language found inside shell code (`python -c`), its name and line.
Inline = Callable[[str, str, int], None]


@lru_cache(maxsize=1)
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bash.language()))


def analyse_shell(
    text: str,
    trace: Trace,
    *,
    first_line: int = 1,
    variables: Mapping[str, Value] | None = None,
    unknown: frozenset[str] | None = None,
    inline: Inline,
) -> bool:
    """Follow a shell text and note what it does in `trace`; whether it was all of it shell.

    Args:
        variables: what is known of the variables it uses.
        unknown: labels of every other variable, where another language put its own values into the text.
        inline: called with (language, text, line) for programs given in it.
    """
    tree = _parser().parse(text.encode("utf-8", "replace"))
    _Shell(trace, first_line, dict(variables or {}), inline, unknown).run(tree.root_node, NOTHING)
    return not tree.root_node.has_error


class _Shell:
    """One run through a syntax tree. Every method takes what arrives on stdin and gives what leaves on stdout."""

    def __init__(
        self,
        trace: Trace,
        first_line: int,
        variables: dict[str, Value],
        inline: Inline,
        unknown: frozenset[str] | None = None,
    ) -> None:
        self.trace, self.first_line, self.variables, self.inline = trace, first_line, variables, inline
        self.unknown = unknown
        self.depth = self.nodes = 0

    def run(self, node: Node, stdin: Value) -> Value:
        self.nodes += 1
        if self.depth > MAX_DEPTH or self.nodes > MAX_NODES:
            return NOTHING
        self.depth += 1
        try:
            method = getattr(self, f"on_{node.type}", None)
            if method is not None:
                found: Value = method(node, stdin)
                return found
            return join([self.run(child, stdin) for child in node.named_children], " ")
        finally:
            self.depth -= 1

    def on_pipeline(self, node: Node, stdin: Value) -> Value:
        for child in node.named_children:
            stdin = self.run(child, stdin)
        return stdin

    def on_comment(self, node: Node, stdin: Value) -> Value:
        return NOTHING

    def on_function_definition(self, node: Node, stdin: Value) -> Value:
        body = node.child_by_field_name("body")
        return NOTHING if body is None else self.run(body, NOTHING)

    def on_variable_assignment(self, node: Node, stdin: Value) -> Value:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is not None:
            key = _text(name)
            found = NOTHING if value is None else self.word(value)
            self.variables[key] = found.add(f"{SECRET}:{key}") if not found.text and is_secret_name(key) else found
        return NOTHING

    def on_for_statement(self, node: Node, stdin: Value) -> Value:
        name, body = node.child_by_field_name("variable"), node.child_by_field_name("body")
        values = [self.word(child) for child in node.children_by_field_name("value")]
        if name is not None:
            self.variables[_text(name)] = Value(join(values).labels, "")
        return NOTHING if body is None else self.run(body, stdin)

    def on_while_statement(self, node: Node, stdin: Value) -> Value:
        condition, body = node.child_by_field_name("condition"), node.child_by_field_name("body")
        if condition is not None and _text(condition).lstrip().removeprefix("IFS= ").startswith("read"):
            for name in _text(condition).split()[1:]:
                if name.isidentifier():
                    self.variables[name] = Value(stdin.labels, "")
        elif condition is not None:
            self.run(condition, stdin)
        return NOTHING if body is None else self.run(body, stdin)

    def on_redirected_statement(self, node: Node, stdin: Value) -> Value:
        body = node.child_by_field_name("body")
        outputs = []
        for redirect in node.children_by_field_name("redirect"):
            if redirect.type == "heredoc_redirect":
                stdin = self._heredoc(redirect)
            elif redirect.type == "herestring_redirect":
                stdin = join([self.word(child) for child in redirect.named_children])
            else:
                target = redirect.child_by_field_name("destination")
                path = NOTHING if target is None else self.word(target)
                sign = (
                    redirect.children[0].type
                    if redirect.children[0].type != "file_descriptor"
                    else redirect.children[1].type
                )
                if sign in ("<", "<&"):
                    stdin = Value(self.trace.read(path.text) | path.labels, "")
                else:
                    outputs.append(path)
        found = self.run(body, stdin) if body is not None else NOTHING
        for path in outputs:
            self.trace.written(path.text, found.labels)
            self.trace.note("write", self._line(node), found.labels, "file", f"> {path.text} {found.text}")
        # What follows a here-document on its line (`cat <<EOF | sh`) hangs under the redirect.
        for redirect in node.children_by_field_name("redirect"):
            if redirect.type == "heredoc_redirect":
                for child in redirect.named_children:
                    if child.type in ("pipeline", "command", "list"):
                        found = self.run(child, found)
                    elif (
                        child.type == "file_redirect"
                        and (target := child.child_by_field_name("destination")) is not None
                    ):
                        path = self.word(target)
                        self.trace.written(path.text, found.labels)
                        self.trace.note("write", self._line(node), found.labels, "file", f"> {path.text} {found.text}")
        return found

    def _heredoc(self, node: Node) -> Value:
        for child in node.named_children:
            if child.type == "heredoc_body":
                return Value(join([self.word(part) for part in child.named_children]).labels, _text(child))
        return NOTHING

    def on_command(self, node: Node, stdin: Value) -> Value:
        name_node = node.child_by_field_name("name")
        for child in node.named_children:
            if child.type == "variable_assignment":
                self.run(child, NOTHING)
        if name_node is None:
            return NOTHING
        words = [self.word(name_node), *(self.word(child) for child in node.children_by_field_name("argument"))]
        for child in node.children_by_field_name("redirect"):
            if child.type == "herestring_redirect":
                stdin = join([self.word(part) for part in child.named_children])
        return self.call(words, stdin, self._line(node))

    def on_declaration_command(self, node: Node, stdin: Value) -> Value:
        words = _text(node).split()
        if words[:2] in (["export"], ["export", "-p"], ["declare", "-x"]) and len(words) < 3:
            return Value(frozenset({ENVIRONMENT}))
        for child in node.named_children:
            self.run(child, NOTHING)
        return NOTHING

    def on_negated_command(self, node: Node, stdin: Value) -> Value:
        return join([self.run(child, stdin) for child in node.named_children])

    def call(self, words: list[Value], stdin: Value, line: int) -> Value:
        """A simple command with its words."""
        text = join(words, " ").text
        self.trace.note("command", line, join(words).labels | stdin.labels, "", text)
        name = words[0].text.rsplit("/", 1)[-1].lstrip("\\")
        if is_secret_name(name) and name.isupper():  # `$(GITHUB_TOKEN)` is meant as a variable
            return Value(frozenset({f"{SECRET}:{name}"}))
        call = Call(self, name, words[0], words[1:], stdin, line)
        ran = self.trace.files.get(words[0].text.removeprefix("./"), NO_LABELS) | words[0].labels
        if has(ran, FETCHED, DECODED):
            self.trace.note("run", line, ran, "file", text)
        command = COMMANDS.get(name)
        if command is not None:
            return command(call)
        if name.startswith("$") and has(stdin.labels, FETCHED, DECODED):  # a program whose name is put together
            self.trace.note("run", line, stdin.labels, "stdin", text)
        # An unknown command may print what it was given.
        return Value(join(words[1:]).labels | stdin.labels, "")

    def nested(self, text: Value, line: int) -> Value:
        """Shell code inside a string (`sh -c`, `eval`)."""
        if self.depth > 8:
            return NOTHING
        tree = _parser().parse(text.text.encode("utf-8", "replace"))
        inner = _Shell(self.trace, line, self.variables, self.inline, self.unknown)
        inner.depth, inner.nodes = self.depth + 10, self.nodes
        return inner.run(tree.root_node, NOTHING)

    def word(self, node: Node) -> Value:
        """A word's value: quotes gone, known variables put in."""
        self.nodes += 1
        if self.depth > MAX_DEPTH or self.nodes > MAX_NODES:
            return NOTHING
        self.depth += 1
        try:
            return self._word(node)
        finally:
            self.depth -= 1

    def _word(self, node: Node) -> Value:
        kind = node.type
        if kind in ("simple_expansion", "expansion"):
            return self._expansion(node)
        if kind == "command_substitution":
            inner = join([self.run(child, NOTHING) for child in node.named_children])
            return Value(inner.labels, inner.text if _is_short(inner.text) else "$")
        if kind == "process_substitution":
            return join([self.run(child, NOTHING) for child in node.named_children])
        if kind in ("raw_string", "ansi_c_string"):
            return Value(text=_unquoted(_text(node)))
        if kind in ("string", "concatenation", "command_name", "array", "translated_string"):
            return self._parts(node)
        if kind == "arithmetic_expansion":
            return Value(text="0")
        text = _text(node)
        return Value(text=text.replace("\\\n", "").replace("\\", "") if kind == "word" else text)

    def _parts(self, node: Node) -> Value:
        """The parts of a string, with what lies between them."""
        source, start = node.text or b"", node.start_byte
        parts, at = [], 1 if node.type == "string" else 0
        end = len(source) - (1 if node.type == "string" and source.endswith(b'"') else 0)
        for child in node.named_children:
            begins, ends = child.start_byte - start, child.end_byte - start
            parts += [Value(text=source[at:begins].decode("utf-8", "replace")), self.word(child)]
            at = ends
        parts.append(Value(text=source[at:end].decode("utf-8", "replace")))
        between = " " if node.type == "array" else ""
        return join(parts, between)

    def _expansion(self, node: Node) -> Value:
        names = [_text(child) for child in node.named_children if child.type == "variable_name"]
        if not names:
            return Value(text="$")
        name = names[0]
        known = self.variables.get(name)
        if known is not None:
            text = known.text if _is_short(known.text) and known.text else f"${name}"
            return Value(known.labels, text)
        if self.unknown is not None:
            return Value(self.unknown, f"${name}")
        return Value(frozenset({f"{SECRET}:{name}" if is_secret_name(name) else VARIABLE}), f"${name}")

    def _line(self, node: Node) -> int:
        return self.first_line + int(node.start_point[0])


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _is_short(text: str) -> bool:
    return len(text) < 2_000 and "\n" not in text


def _unquoted(text: str) -> str:
    if text.startswith("$'"):
        return text[2:-1].encode("latin-1", "backslashreplace").decode("unicode_escape", "replace")
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == "'" else text
