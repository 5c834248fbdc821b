"""The small changes that can be made to a Python file, each of which a test should notice."""

import ast
import re
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
SWAPPED_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
# What is logged is told to people: no test has to hold each line of it.
LOGGERS = {"log", "_log", "logger"}
# No handler of ours ever means this one.
NEVER_RAISED = "ZeroDivisionError"

Change = tuple[int, int, str]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Mutation:
    """`where` is its function; `start` and `end` are offsets into the bytes of the file."""

    path: str
    line: int
    where: str
    start: int
    end: int
    old: str
    new: str

    @property
    def key(self) -> str:
        """Names it, also when the lines around it have moved."""
        words = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.path} {self.where}: " + " => ".join(words)

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]


def mutations(path: str, source: bytes) -> list[Mutation]:
    """All of them, in the order of the file. Those that do not compile are left out."""
    found = list(_Finder(path, source).visit_module(ast.parse(source)))
    return [each for each in found if _compiles(each.applied(source))]


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "mutated", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


class _Finder:
    def __init__(self, path: str, source: bytes) -> None:
        self._path = path
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def visit_module(self, module: ast.Module) -> Iterator[Mutation]:
        """What stands outside of functions are settings: only what a function does is changed."""
        for statement in module.body:
            if isinstance(statement, Definition):
                yield from self._visit_definition(statement, "")

    def _visit_definition(self, node: Definition, where: str) -> Iterator[Mutation]:
        inside = f"{where}.{node.name}".lstrip(".")
        if isinstance(node, ast.ClassDef):
            if not any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases):
                for statement in node.body:
                    if isinstance(statement, Definition):
                        yield from self._visit_definition(statement, inside)
        elif not any("overload" in ast.unparse(each) for each in node.decorator_list):
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                yield from self._visit(default, inside)
            for statement in node.body:
                yield from self._visit_inner(statement, inside)

    def _visit_inner(self, statement: ast.stmt, where: str) -> Iterator[Mutation]:
        if isinstance(statement, Definition):
            yield from self._visit_definition(statement, where)
        else:
            yield from self._visit(statement, where)

    def _visit(self, node: ast.AST, where: str) -> Iterator[Mutation]:
        if isinstance(node, ast.Assert | ast.JoinedStr) or _is_log_or_text(node):
            return
        if where.endswith("__init__") and isinstance(node, ast.Assign):
            return  # without a field nothing runs: noticed by anything
        for start, end, new in self._changes(node):
            old = self._source[start:end].decode()
            line = getattr(node, "lineno", 0)
            yield Mutation(self._path, line, where, start, end, old, new)
        for name, child in ast.iter_fields(node):
            if name in {"annotation", "returns", "type_params"}:
                continue
            for each in child if isinstance(child, list) else [child]:
                if isinstance(each, ast.stmt):
                    yield from self._visit_inner(each, where)
                elif isinstance(each, ast.AST):
                    yield from self._visit(each, where)

    def _changes(self, node: ast.AST) -> Iterator[Change]:  # noqa: C901, PLR0912 - a table
        match node:
            case ast.Expr() | ast.Raise() | ast.Continue() | ast.Break() | ast.AugAssign():
                yield self._replace(node, "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]) | ast.Delete():
                yield self._replace(node, "pass")
            case ast.Return(value=value) if value is None:
                yield self._replace(node, "pass")
            case ast.Return() if not _is_none(node.value):
                yield self._replace(node, "return None")
            case ast.With() | ast.AsyncWith():
                yield from self._without_each_item(node)
            case ast.If() | ast.IfExp() | ast.While():
                yield from self._negated(node.test)
            case ast.comprehension():
                for condition in node.ifs:
                    yield from self._negated(condition)
            case ast.ExceptHandler(type=ast.expr() as caught):
                yield self._replace(caught, NEVER_RAISED)
                yield from self._with_less(caught, "elts")
            case ast.Compare():
                yield from self._other_comparisons(node)
            case ast.BoolOp():
                yield from self._other_logic(node)
            case ast.UnaryOp(op=ast.Not()):
                yield self._replace(node, f"({ast.unparse(node.operand)})")
            case ast.BinOp(op=ast.Add() | ast.Sub()) if not _has_text(node):
                yield self._with_field(node, "op", _other_sign(node))
            case ast.Call(func=ast.Name(id=name)) if name in SWAPPED_NAMES:
                yield self._replace(node.func, SWAPPED_NAMES[name])
            case ast.Constant(value=value):
                yield from self._other_constant(node, value)
            case ast.MatchOr():
                yield from self._with_less(node, "patterns")
            case ast.match_case(guard=ast.expr() as guard):
                yield from self._negated(guard)

    def _replace(self, node: ast.AST, new: str) -> Change:
        return (*self._range(node), new)

    def _with_field(self, node: ast.expr | ast.pattern, field: str, value: object) -> Change:
        changed = copy(node)
        setattr(changed, field, value)
        text = ast.unparse(changed)
        return self._replace(node, text if isinstance(node, ast.pattern) else f"({text})")

    def _with_less(self, node: ast.AST, field: str) -> Iterator[Change]:
        parts = getattr(node, field, [])
        if isinstance(node, ast.expr | ast.pattern) and len(parts) > 1:
            for index in range(len(parts)):
                yield self._with_field(node, field, parts[:index] + parts[index + 1 :])

    def _negated(self, test: ast.expr) -> Iterator[Change]:
        """Unless another change makes the same of it."""
        simple = isinstance(test, ast.Compare) and len(test.ops) == 1
        opposite = simple and isinstance(
            test.ops[0], ast.Eq | ast.NotEq | ast.Is | ast.IsNot | ast.In | ast.NotIn
        )
        is_not = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        if not opposite and not is_not and not isinstance(test, ast.Constant):
            yield self._replace(test, f"not ({ast.unparse(test)})")

    def _other_comparisons(self, node: ast.Compare) -> Iterator[Change]:
        operands = [node.left, *node.comparators]
        for index, op in enumerate(node.ops):
            start, end = self._range(operands[index])[1], self._range(operands[index + 1])[0]
            between = self._source[start:end].decode()
            # Parentheses around an operand stand between them, too.
            old = ast.unparse(ast.Compare(ast.Name("x"), [op], [ast.Name("x")]))[2:-2]
            yield start, end, between.replace(old, COMPARISONS[type(op)], 1)
        for operand in node.comparators:
            if isinstance(operand, ast.Set | ast.Tuple):
                yield from self._with_less(operand, "elts")

    def _other_logic(self, node: ast.BoolOp) -> Iterator[Change]:
        yield self._with_field(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        for index in range(len(node.values)):
            left = node.values[:index] + node.values[index + 1 :]
            text = ast.unparse(left[0] if len(left) == 1 else ast.BoolOp(node.op, left))
            yield self._replace(node, f"({text})")

    def _other_constant(self, node: ast.Constant, value: object) -> Iterator[Change]:
        if isinstance(value, bool):
            yield self._replace(node, str(not value))
        elif isinstance(value, int):
            yield self._replace(node, str(value + 1))
        elif isinstance(value, float):
            yield self._replace(node, str(value * 2 or 1.0))

    def _without_each_item(self, node: ast.With | ast.AsyncWith) -> Iterator[Change]:
        start, end = self._range(node)[0], self._range(node.items[-1])[1]
        closing = re.match(rb"[\s,)]*:", self._source[end:])
        assert closing is not None
        for index, item in enumerate(node.items):
            if item.optional_vars is None:
                left = node.items[:index] + node.items[index + 1 :]
                word = "with" if isinstance(node, ast.With) else "async with"
                head = f"{word} {', '.join(map(ast.unparse, left))}:" if left else "if True:"
                yield start, end + closing.end(), head

    def _range(self, node: ast.AST) -> tuple[int, int]:
        if isinstance(node, ast.withitem):
            last = node.optional_vars or node.context_expr
            return self._range(node.context_expr)[0], self._range(last)[1]
        assert isinstance(node, ast.expr | ast.stmt | ast.pattern)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset


def _is_log_or_text(node: ast.AST) -> bool:
    """A line of the log, or a docstring."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name in LOGGERS
        case ast.Expr(value=ast.Constant()):
            return True
    return False


def _is_none(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _has_text(node: ast.BinOp) -> bool:
    sides = [*ast.walk(node.left), *ast.walk(node.right)]
    return any(
        isinstance(side, ast.JoinedStr | ast.List | ast.ListComp)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
        for side in sides
    )


def _other_sign(node: ast.BinOp) -> ast.operator:
    return ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
