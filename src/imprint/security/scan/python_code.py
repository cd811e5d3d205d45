"""What Python code does: its syntax tree, never the code itself, followed value by value.

Functions are followed into at their calls, also those that another file of the skill defines.
"""

from __future__ import annotations

import ast
import warnings
from collections import ChainMap
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field

from imprint.security.scan.behaviour import ENVIRONMENT, NO_LABELS, NOTHING, Trace, Value, join
from imprint.security.scan.python_calls import CALLS, METHODS, PythonCall, variable

MAX_DEPTH = 60
MAX_STEPS = 30_000
MAX_CHARACTERS = 400_000
Scope = MutableMapping[str, Value]
Inline = Callable[[str, str, int, frozenset[str]], None]


def parse_python(text: str) -> ast.Module:
    """The syntax tree.

    Raises:
        SyntaxError: it is not Python, or too large or too deep to look at.
    """
    if len(text) > MAX_CHARACTERS:
        raise SyntaxError(f"over {MAX_CHARACTERS:,} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error)) from error


@dataclass(slots=True)
class PythonModule:
    """One Python text, its trace, and the other modules of the skill by name.

    Attributes:
        inline: called with (language, text, line, labels of what is not constant in it) for code in strings.
    """

    tree: ast.Module
    trace: Trace
    inline: Inline
    first_line: int = 1
    others: dict[str, PythonModule] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # what a name stands for: `r` is `requests`
    globals: dict[str, Value] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    depth: int = 0
    steps: int = 0
    results: dict[str, Value] = field(default_factory=dict)  # of calls, by name and arguments

    def __post_init__(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.names[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.names[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}".lstrip(".")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.setdefault(node.name, node)

    def analyse(self) -> None:
        """Follow the module's own statements, then each function with nothing known of its arguments."""
        self.body(self.tree.body, self.globals)
        for name, function in self.functions.items():
            if not any(key.startswith(f"{name}(") for key in self.results):
                self.enter(function, [], {})

    def enter(
        self, function: ast.FunctionDef | ast.AsyncFunctionDef, args: list[Value], named: dict[str, Value]
    ) -> Value:
        """Follow a function's body with what its arguments are known to hold."""
        known = [sorted(value.labels) for value in args], sorted((k, sorted(v.labels)) for k, v in named.items())
        key = f"{function.name}({known})"
        if key in self.results or self.depth > MAX_DEPTH // 3:
            return self.results.get(key, NOTHING)
        self.results[key] = NOTHING  # for as long as it runs, should it call itself
        names = [arg.arg for arg in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
        if names[:1] in (["self"], ["cls"]):
            names = names[1:]
        scope: Scope = ChainMap({}, self.globals)
        scope.update(
            dict(zip(names, args, strict=False)) | {name: value for name, value in named.items() if name in names}
        )
        self.results[key] = self.body(function.body, scope)
        return self.results[key]

    def body(self, statements: list[ast.stmt], scope: Scope) -> Value:
        """Follow statements in their order; gives what they return."""
        found = NOTHING
        for statement in statements:
            found |= self.statement(statement, scope)
        return found

    def statement(self, node: ast.stmt, scope: Scope) -> Value:
        self.steps += 1
        if self.steps > MAX_STEPS or self.depth > MAX_DEPTH:
            return NOTHING
        self.depth += 1
        try:
            return self._statement(node, scope)
        finally:
            self.depth -= 1

    def _statement(self, node: ast.stmt, scope: Scope) -> Value:
        match node:
            case ast.Return(value=value):
                return NOTHING if value is None else self.value(value, scope)
            case ast.Assign(targets=targets, value=value):
                found = self.value(value, scope)
                for target in targets:
                    self.assign(target, found, scope, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self.assign(target, self.value(value, scope), scope, value)
            case ast.AugAssign(target=target, value=value):
                found = join([self.value(target, scope), self.value(value, scope)])
                self.assign(target, found, scope, value)
            case ast.For(target=target, iter=iterated) | ast.AsyncFor(target=target, iter=iterated):
                self.assign(target, Value(self.value(iterated, scope).labels), scope, iterated)
                return self.body([*node.body, *node.orelse], scope)
            case ast.While(test=test) | ast.If(test=test):
                self.value(test, scope)
                return self.body([*node.body, *node.orelse], scope)
            case ast.With(items=items) | ast.AsyncWith(items=items):
                for item in items:
                    found = self.value(item.context_expr, scope)
                    if item.optional_vars is not None:
                        self.assign(item.optional_vars, found, scope, item.context_expr)
                return self.body(node.body, scope)
            case ast.Try() | ast.TryStar():
                handlers = [statement for handler in node.handlers for statement in handler.body]
                return self.body([*node.body, *handlers, *node.orelse, *node.finalbody], scope)
            case ast.ClassDef():
                self.body([s for s in node.body if not isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef)], scope)
            case ast.Match(subject=subject, cases=cases):
                self.value(subject, scope)
                return self.body([statement for case in cases for statement in case.body], scope)
            case ast.Expr(value=value):
                self.value(value, scope)
            case _:
                pass
        return NOTHING

    def assign(self, target: ast.expr, value: Value, scope: Scope, source: ast.expr) -> None:
        match target:
            case ast.Name(id=name):
                known = scope.get(name, NOTHING)
                keeps = known.labels if self.depth > 2 else NO_LABELS  # inside branches both may hold
                scope[name] = Value(value.labels | keeps, value.text)
                dotted = self.dotted(source)
                if dotted and isinstance(source, ast.Attribute | ast.Name | ast.Call):
                    self.names.setdefault(name, dotted)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                parts = source.elts if isinstance(source, ast.Tuple | ast.List) else []
                for place, element in enumerate(elements):
                    same = len(parts) == len(elements)
                    self.assign(
                        element, self.value(parts[place], scope) if same else Value(value.labels), scope, source
                    )
            case ast.Subscript(value=base):
                name = self.dotted(base)
                scope[name] = Value(scope.get(name, NOTHING).labels | value.labels, "")
            case ast.Attribute():
                self.globals[self.dotted(target)] = value
            case ast.Starred(value=base):
                self.assign(base, value, scope, source)

    def value(self, node: ast.expr, scope: Scope) -> Value:
        """What an expression's value is known to be."""
        self.steps += 1
        if self.steps > MAX_STEPS or self.depth > MAX_DEPTH:
            return NOTHING
        self.depth += 1
        try:
            return self._value(node, scope)
        finally:
            self.depth -= 1

    def _value(self, node: ast.expr, scope: Scope) -> Value:
        match node:
            case ast.Constant(value=str() | int() | float() as constant):
                return Value(text=str(constant)[:200_000])
            case ast.Constant(value=bytes() as constant):
                return Value(text=constant.decode("latin-1")[:200_000])
            case ast.Name(id=name):
                known = scope.get(name)
                if known is not None:
                    return known if known.text else Value(known.labels, f"${{{name}}}")
                return Value(self._source(self.names.get(name, name)), f"${{{name}}}")
            case ast.Attribute(value=base):
                dotted = self.dotted(node)
                if dotted in self.globals:
                    return self.globals[dotted]
                source = self._source(dotted)
                return Value(source or self.value(base, scope).labels, f"${{{node.attr}}}")
            case ast.Subscript(value=base, slice=index):
                key = self.value(index, scope)
                if self.dotted(base) == "os.environ":
                    return variable(key.text)
                return Value(self.value(base, scope).labels, "${item}")
            case ast.JoinedStr(values=values):
                return join([self.value(value, scope) for value in values])
            case ast.FormattedValue(value=value):
                return self.value(value, scope)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return join([self.value(left, scope), self.value(right, scope)], "/")
            case ast.BinOp(left=left, right=right):
                return join([self.value(left, scope), self.value(right, scope)])
            case ast.Call():
                return self.call(node, scope)
            case ast.Dict(keys=keys, values=values):
                parts = [self.value(part, scope) for part in (*keys, *values) if part is not None]
                return Value(join(parts).labels, "${map}")
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return join([self.value(element, scope) for element in elements], " ")
            case ast.IfExp(body=one, orelse=other):
                return self.value(one, scope) | self.value(other, scope)
            case ast.BoolOp(values=values):
                found = NOTHING
                for value in values:
                    found |= self.value(value, scope)
                return found
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self._comprehension(node, scope)
            case ast.Await(value=value) | ast.Starred(value=value) | ast.UnaryOp(operand=value):
                return self.value(value, scope)
            case ast.NamedExpr(target=target, value=value):
                found = self.value(value, scope)
                self.assign(target, found, scope, value)
                return found
            case ast.Compare(left=left, comparators=others):
                for part in (left, *others):
                    self.value(part, scope)
            case ast.Lambda(body=body):
                return self.value(body, scope)
        return NOTHING

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scope: Scope) -> Value:
        inner: Scope = ChainMap({}, scope)
        labels = NO_LABELS
        for generator in node.generators:
            found = self.value(generator.iter, inner)
            labels |= found.labels
            self.assign(generator.target, Value(found.labels), inner, generator.iter)
        elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        return Value(labels | join([self.value(element, inner) for element in elements]).labels, "")

    def _source(self, dotted: str) -> frozenset[str]:
        return frozenset({ENVIRONMENT}) if dotted in ("os.environ", "environ", "os.environb") else NO_LABELS

    def call(self, node: ast.Call, scope: Scope) -> Value:
        dotted = self.dotted(node.func)
        args = [self.value(argument, scope) for argument in node.args]
        named = {keyword.arg or "**": self.value(keyword.value, scope) for keyword in node.keywords}
        base = self.value(node.func.value, scope) if isinstance(node.func, ast.Attribute) else NOTHING
        call = PythonCall(self, node, dotted, args, named, base, self.first_line + node.lineno - 1)
        known = CALLS.get(dotted)
        if known is not None:
            return known(call)
        function = self._function(dotted)
        if function is not None:
            owner, definition = function
            return owner.enter(definition, args, named)
        method = METHODS.get(dotted.rpartition(".")[2])
        if method is not None and isinstance(node.func, ast.Attribute):
            return method(call)
        labels = join([base, *args, *named.values()]).labels
        return Value(labels, "")

    def _function(self, dotted: str) -> tuple[PythonModule, ast.FunctionDef | ast.AsyncFunctionDef] | None:
        name = dotted.removeprefix("self.").removeprefix("cls.")
        if name in self.functions:
            return self, self.functions[name]
        module, _, name = dotted.rpartition(".")
        other = self.others.get(module.rpartition(".")[2]) if module else None
        if other is not None and other is not self and name in other.functions:
            return other, other.functions[name]
        return None

    def dotted(self, node: ast.expr) -> str:
        """The full name that an expression stands for (`r.post` is `requests.post`); empty if it has none."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name, name)
            case ast.Attribute(value=base, attr=attribute):
                inner = self.dotted(base) if self.depth < MAX_DEPTH else ""
                return f"{inner}.{attribute}"
            case (
                ast.Call(func=ast.Name(id="__import__"), args=[name, *_])
                | ast.Call(func=ast.Attribute(attr="import_module"), args=[name, *_])
            ):
                return self.value(name, self.globals).text
            case ast.Call(func=ast.Name(id="getattr"), args=[base, name, *_]):
                return f"{self.dotted(base)}.{self.value(name, self.globals).text}".removeprefix(
                    "builtins."
                ).removeprefix("__builtins__.")
            case ast.Call(func=function):
                self.depth += 1
                try:
                    inner = self.dotted(function) if self.depth < MAX_DEPTH else ""
                finally:
                    self.depth -= 1
                return f"{inner}()" if inner else ""
        return ""
