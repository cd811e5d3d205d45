"""What JavaScript does (and TypeScript, as far as it parses as such): its syntax tree, followed value by value."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, MutableMapping
from functools import lru_cache

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser

from imprint.security.scan.behaviour import (
    DECODED,
    ENCODED,
    ENVIRONMENT,
    FETCHED,
    HOST_FACTS,
    NOTHING,
    SECRET,
    VARIABLE,
    Trace,
    Value,
    has,
    is_secret_name,
    join,
    only,
)
from imprint.security.scan.encodings import decoded_text

MAX_DEPTH = 80
MAX_NODES = 60_000
Scope = MutableMapping[str, Value]
Inline = Callable[[str, str, int, frozenset[str]], None]
_FUNCTIONS = (
    "function_declaration",
    "arrow_function",
    "function_expression",
    "method_definition",
    "generator_function_declaration",
)
_SENDS = re.compile(
    r"^(?:axios|got|ky|superagent|needle|request|\$|http|https)(?:\.(?:post|put|patch|request|get|delete|"
    r"head))?$|^(?:fetch|node-fetch|window\.fetch|globalThis\.fetch|undici\.(?:fetch|request)|navigator\.sendBeacon)$"
)
_RUNS = re.compile(r"^(?:eval|Function|vm\.run\w+|globalThis\.eval|window\.eval)$")
_COMMANDS = re.compile(
    r"(?:^|\.)(?:exec|execSync|spawn|spawnSync|execFile|execFileSync)$|^(?:\$|execa|Bun\.spawn|Deno\.run)$"
)
_READS = re.compile(r"(?:^|\.)(?:readFileSync|readFile|createReadStream|readTextFile|readTextFileSync)$")
_WRITES = re.compile(r"(?:^|\.)(?:writeFileSync|writeFile|appendFileSync|appendFile|createWriteStream)$")
_FACTS = re.compile(r"^os\.(?:hostname|userInfo|networkInterfaces|platform|homedir)$")


@lru_cache(maxsize=1)
def _parser() -> Parser:
    return Parser(Language(tree_sitter_javascript.language()))


def analyse_javascript(text: str, trace: Trace, inline: Inline, first_line: int = 1) -> bool:
    """Follow a text and note what it does in `trace`; whether it was all of it JavaScript."""
    tree = _parser().parse(text.encode("utf-8", "replace"))
    _JavaScript(trace, inline, first_line).run(tree.root_node)
    return not tree.root_node.has_error


class _JavaScript:
    """One run through a syntax tree."""

    def __init__(self, trace: Trace, inline: Inline, first_line: int) -> None:
        self.trace, self.inline, self.first_line = trace, inline, first_line
        self.names: dict[str, str] = {}  # what a name stands for: `cp` is `child_process`
        self.functions: dict[str, Node] = {}
        self.results: dict[str, Value] = {}  # of calls, by name and arguments
        self.depth = self.nodes = 0

    def run(self, root: Node) -> None:
        scope: Scope = {}
        self.value(root, scope)
        for name, function in list(self.functions.items()):
            if not any(key.startswith(f"{name}(") for key in self.results):
                self.enter(name, function, [], scope)

    def value(self, node: Node | None, scope: Scope) -> Value:
        """The value of an expression; statements are followed for what they do."""
        self.nodes += 1
        if node is None or self.depth > MAX_DEPTH or self.nodes > MAX_NODES:
            return NOTHING
        self.depth += 1
        try:
            method = getattr(self, f"on_{node.type}", None)
            if method is not None:
                found: Value = method(node, scope)
                return found
            return Value(join([self.value(child, scope) for child in node.named_children]).labels)
        finally:
            self.depth -= 1

    def on_comment(self, node: Node, scope: Scope) -> Value:
        return NOTHING

    def on_import_statement(self, node: Node, scope: Scope) -> Value:
        source = node.child_by_field_name("source")
        module = "" if source is None else _text(source).strip("'\"`").removeprefix("node:")
        for found in re.finditer(r"(?:(\w+) as )?(\w+)(?=\s*[,}]|\s+from)", _text(node)):
            original, name = found.group(1) or found.group(2), found.group(2)
            braces = "{" in _text(node)[: found.start()]
            self.names[name] = f"{module}.{original}" if braces else module
        return NOTHING

    def on_variable_declarator(self, node: Node, scope: Scope) -> Value:
        return self._assign(node.child_by_field_name("name"), node.child_by_field_name("value"), scope)

    def on_assignment_expression(self, node: Node, scope: Scope) -> Value:
        return self._assign(node.child_by_field_name("left"), node.child_by_field_name("right"), scope)

    def on_augmented_assignment_expression(self, node: Node, scope: Scope) -> Value:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        found = join([self.value(left, scope), self.value(right, scope)])
        if left is not None:
            scope[_text(left)] = found
        return found

    def on_for_in_statement(self, node: Node, scope: Scope) -> Value:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        labels = self.value(right, scope).labels
        for name in re.findall(r"\w+", _text(left)) if left is not None else []:
            scope[name] = Value(labels)
        return self.value(node.child_by_field_name("body"), scope)

    def on_function_declaration(self, node: Node, scope: Scope) -> Value:
        name = node.child_by_field_name("name")
        self.functions[_text(name) if name is not None else "?"] = node
        return NOTHING

    def on_method_definition(self, node: Node, scope: Scope) -> Value:
        return self.on_function_declaration(node, scope)

    def on_arrow_function(self, node: Node, scope: Scope) -> Value:
        """A function given as an argument is followed where it stands."""
        return self.value(node.child_by_field_name("body"), ChainMap({}, scope))

    on_function_expression = on_arrow_function

    def on_string(self, node: Node, scope: Scope) -> Value:
        text = _text(node)[1:-1]
        return Value(text=_escaped(text) if "\\" in text else text)

    def on_number(self, node: Node, scope: Scope) -> Value:
        return Value(text=_text(node))

    def on_template_string(self, node: Node, scope: Scope) -> Value:
        source, start, at, parts = node.text or b"", node.start_byte, 1, []
        for child in node.named_children:
            if child.type != "template_substitution":
                continue
            parts.append(Value(text=source[at : child.start_byte - start].decode("utf-8", "replace")))
            parts.append(self.value(child.named_children[0] if child.named_children else None, scope))
            at = child.end_byte - start
        parts.append(Value(text=source[at:-1].decode("utf-8", "replace")))
        return join(parts)

    def on_identifier(self, node: Node, scope: Scope) -> Value:
        name = _text(node)
        known = scope.get(name, NOTHING)
        return known if known.text else Value(known.labels, f"${{{name}}}")

    def on_member_expression(self, node: Node, scope: Scope) -> Value:
        base, name = node.child_by_field_name("object"), node.child_by_field_name("property")
        if self.dotted(base) == "process.env" and name is not None:
            return _variable(_text(name))
        if self.dotted(node) == "process.env":
            return Value(frozenset({ENVIRONMENT}))
        return Value(self.value(base, scope).labels, f"${{{_text(name) if name is not None else 'x'}}}")

    def on_subscript_expression(self, node: Node, scope: Scope) -> Value:
        base, index = node.child_by_field_name("object"), self.value(node.child_by_field_name("index"), scope)
        if self.dotted(base) == "process.env":
            return _variable(index.text)
        return Value(self.value(base, scope).labels, "${item}")

    def on_binary_expression(self, node: Node, scope: Scope) -> Value:
        return join([self.value(node.child_by_field_name(side), scope) for side in ("left", "right")])

    def on_await_expression(self, node: Node, scope: Scope) -> Value:
        return join([self.value(child, scope) for child in node.named_children])

    on_parenthesized_expression = on_await_expression

    def on_array(self, node: Node, scope: Scope) -> Value:
        return join([self.value(child, scope) for child in node.named_children], " ")

    def on_new_expression(self, node: Node, scope: Scope) -> Value:
        return self._call(node, self.dotted(node.child_by_field_name("constructor")), NOTHING, scope)

    def on_call_expression(self, node: Node, scope: Scope) -> Value:
        function = node.child_by_field_name("function")
        base = NOTHING
        if function is not None and function.type == "member_expression":
            base = self.value(function.child_by_field_name("object"), scope)
        return self._call(node, self.dotted(function), base, scope)

    def _assign(self, target: Node | None, source: Node | None, scope: Scope) -> Value:
        if target is None or source is None:
            return NOTHING
        if source.type in _FUNCTIONS and target.type == "identifier":
            self.functions[_text(target)] = source
            return NOTHING
        found = self.value(source, scope)
        dotted = self.dotted(source)
        if target.type == "object_pattern":
            for name in re.findall(r"\w+", _text(target)):
                if dotted == "process.env":
                    scope[name] = _variable(name)
                else:
                    scope[name] = Value(found.labels)
                    self.names[name] = f"{dotted}.{name}" if dotted else name
            return found
        if target.type in ("member_expression", "subscript_expression"):
            base = target.child_by_field_name("object")
            name = "" if base is None else _text(base)
            scope[name] = Value(scope.get(name, NOTHING).labels | found.labels)
        scope[_text(target)] = found
        if dotted:
            self.names[_text(target)] = dotted
        return found

    def enter(self, name: str, function: Node, args: list[Value], scope: Scope) -> Value:
        key = f"{name}({[sorted(value.labels) for value in args]})"
        if key in self.results or self.depth > MAX_DEPTH // 2:
            return self.results.get(key, NOTHING)
        self.results[key] = NOTHING  # for as long as it runs, should it call itself
        parameters = function.child_by_field_name("parameters") or function.child_by_field_name("parameter")
        names = re.findall(r"\w+", _text(parameters)) if parameters is not None else []
        inner: Scope = ChainMap(dict(zip(names, args, strict=False)), scope)
        self.results[key] = self.value(function.child_by_field_name("body"), inner)
        return self.results[key]

    def _call(self, node: Node, dotted: str, base: Value, scope: Scope) -> Value:
        listed = node.child_by_field_name("arguments")
        nodes = [child for child in listed.named_children if child.type != "comment"] if listed is not None else []
        args = [self.value(child, scope) for child in nodes]
        first, labels = args[0] if args else NOTHING, join(args).labels
        line = self.first_line + int(node.start_point[0])
        name = dotted.rpartition(".")[2]
        if _SENDS.match(dotted) or name in ("sendBeacon",):
            return self._send(dotted, nodes, args, line, scope)
        if _RUNS.match(dotted):
            self.trace.note("run", line, labels, "argument", f"{dotted}({first.text})")
            return Value(labels)
        if _COMMANDS.search(dotted) and ("child_process" in dotted or name not in ("exec",)):
            return self._command(args, labels, line)
        if _READS.search(dotted):
            return Value(self.trace.read(first.text) | first.labels)
        if _WRITES.search(dotted):
            self.trace.written(first.text, labels)
            self.trace.note("write", line, labels, "file", f"> {join(args[:2], ' ').text}")
            return NOTHING
        if _FACTS.match(dotted):
            return Value(frozenset({HOST_FACTS}), "~" if name == "homedir" else "")
        known = self._plain(dotted, name, base, args, line)
        if known is not None:
            return known
        function = self.functions.get(dotted.removeprefix("this."))
        if function is not None:
            return self.enter(dotted.removeprefix("this."), function, args, scope)
        if (name in ("send", "write", "end", "post", "put") and labels & _SENSITIVE_LABELS) or (
            name == "send" and labels
        ):
            self.trace.note("send", line, labels, "body", base.text if "://" in base.text else "$")
        return Value(base.labels | labels)

    def _plain(self, dotted: str, name: str, base: Value, args: list[Value], line: int) -> Value | None:
        """Functions without effects outside; None if it is none of them."""
        first = args[0] if args else NOTHING
        labels = join(args).labels
        if dotted in ("path.join", "path.resolve"):
            return join(args, "/")
        if dotted == "atob" or (
            dotted == "Buffer.from" and len(args) > 1 and args[1].text in ("base64", "hex", "base64url")
        ):
            return Value(first.labels | {DECODED}, decoded_text(first.text))
        if dotted == "btoa" or (name == "toString" and first.text in ("base64", "hex")):
            return Value(base.labels | labels | {ENCODED})
        if name in ("toString", "trim", "toLowerCase", "replace", "concat"):
            return Value(base.labels | labels, base.text)
        if dotted == "JSON.stringify":
            self.trace.note("serialise", line, labels, "", dotted)
            return Value(labels)
        if dotted.startswith(("console.", "process.stdout.")):
            self.trace.note("print", line, labels, "stdout", join(args, " ").text)
            return NOTHING
        if dotted.startswith("dns."):
            self.trace.note("resolve", line, labels, "url", first.text)
            return Value(frozenset({FETCHED}))
        if dotted == "require":
            return NOTHING
        if name in ("createHash", "update", "digest", "createHmac"):
            return NOTHING
        return None

    def _send(self, dotted: str, nodes: list[Node], args: list[Value], line: int, scope: Scope) -> Value:
        url = args[0] if args else NOTHING
        body, header = NOTHING, NOTHING
        plain = dotted.rpartition(".")[2] in ("post", "put", "patch", "sendBeacon")
        for place, (node, value) in enumerate(zip(nodes, args, strict=True)):
            fields = self._fields(node, scope) if node.type == "object" else {}
            if place == 0 and not fields:
                continue
            url = join([url, *(fields[key] for key in ("url", "uri", "hostname", "host", "path") if key in fields)])
            header = join([header, *(fields[key] for key in ("headers", "auth") if key in fields)])
            body = join([body, *(fields[key] for key in ("body", "data", "json", "form") if key in fields)])
            if plain and place == 1 and not ({"headers", "body", "method"} & fields.keys()):
                body = join([body, value])
        for where, data in (("body", body), ("header", header), ("url", url)):
            if data.labels or (where == "body" and data.text):
                self.trace.note("send", line, data.labels, where, url.text or "$")
        self.trace.note("fetch", line, url.labels, "", url.text)
        return Value(frozenset({f"{FETCHED}:{url.text}"}) | (url.labels & {DECODED}))

    def _fields(self, node: Node, scope: Scope) -> dict[str, Value]:
        """The values of an object literal by key."""
        found = {}
        for child in node.named_children:
            key, value = child.child_by_field_name("key"), child.child_by_field_name("value")
            if child.type == "pair" and key is not None:
                found[_text(key).strip("'\"")] = self.value(value, scope)
            elif child.type == "shorthand_property_identifier":
                found[_text(child)] = self.on_identifier(child, scope)
        return found

    def _command(self, args: list[Value], labels: frozenset[str], line: int) -> Value:
        text = (
            join(args[:2], " ").text
            if len(args) > 1 and args[1].text and not args[1].text.startswith("${")
            else (args[0].text if args else "")
        )
        if text:
            self.inline("shell", text, line, labels)
        if has(labels, FETCHED, DECODED):
            self.trace.note("run", line, labels, "argument", text)
        return Value(only(labels, FETCHED, DECODED))

    def dotted(self, node: Node | None) -> str:
        """The full name that an expression stands for; empty if it has none."""
        if node is None or self.depth > MAX_DEPTH:
            return ""
        if node.type in ("identifier", "this"):
            return self.names.get(_text(node), _text(node))
        if node.type == "member_expression":
            base, name = node.child_by_field_name("object"), node.child_by_field_name("property")
            self.depth += 1
            inner = self.dotted(base)
            self.depth -= 1
            return f"{inner}.{_text(name)}" if name is not None else inner
        if node.type == "subscript_expression":
            index = self.value(node.child_by_field_name("index"), {})
            return f"{self.dotted(node.child_by_field_name('object'))}.{index.text}"
        if node.type in ("await_expression", "parenthesized_expression") and node.named_children:
            return self.dotted(node.named_children[0])
        if node.type == "call_expression" and _text(node.child_by_field_name("function")) in ("require", "import"):
            listed = node.child_by_field_name("arguments")
            first = listed.named_children[0] if listed is not None and listed.named_children else None
            return self.value(first, {}).text.removeprefix("node:")
        return ""


_SENSITIVE_LABELS = frozenset({ENVIRONMENT})


def _variable(name: str) -> Value:
    return Value(frozenset({f"{SECRET}:{name}" if is_secret_name(name) else VARIABLE}))


def _text(node: Node | None) -> str:
    return "" if node is None else (node.text or b"").decode("utf-8", "replace")


def _escaped(text: str) -> str:
    """`\\x68` and `\\u0068` as the characters that they are."""
    return re.sub(
        r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))", lambda found: chr(int(found.group(1) or found.group(2), 16)), text
    )
