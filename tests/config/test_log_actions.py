"""The log's actions: what the code writes is what docs/running.md says."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
ROW = re.compile(r"^\| `([\w.]+)` \| (\w+) \| (.*?) \| .+ \| .+ \|$", re.MULTILINE)


class Line(NamedTuple):
    action: str
    level: str
    fields: frozenset[str]


@cache
def sources():
    return {path: ast.parse(path.read_text()) for path in sorted((ROOT / "ash").rglob("*.py"))}


def makes_logger(node):
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith("get_logger")


def calls(tree):
    """Every call of a method of a logger, by whatever name the module has the logger."""
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    named = {t.id for node in assigned if makes_logger(node.value) for t in node.targets}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if makes_logger(owner) or (isinstance(owner, ast.Name) and owner.id in named):
                yield node


def keys_of(given, tree):
    """The keys of a dict that is passed as `**`.

    It is what a function of the same module returns, or a property of a class of `ash.model`.
    """
    if isinstance(given, ast.Attribute):
        name, tree = given.attr, sources()[ROOT / "ash" / "model.py"]
    else:
        name = ast.unparse(given.func)
    (function,) = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    return {key.value for key in function.body[-1].value.keys}


def fields_of(call, tree):
    found = set()
    for keyword in call.keywords:
        found |= {keyword.arg} if keyword.arg else keys_of(keyword.value, tree)
    return frozenset(found - {"exc_info"})


def written():
    """What the code writes. ash/log.py passes on what other packages write."""
    found = set()
    for path, tree in sources().items():
        for call in calls(tree):
            if path.name != "log.py":
                assert call.func.attr in LEVELS, ast.unparse(call)
                level = call.func.attr.replace("exception", "error")
                found.add(Line(ast.literal_eval(call.args[0]), level, fields_of(call, tree)))
    return found


def documented():
    page = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    _, _, section = page.partition("\n## The log\n")
    table = section.partition("\n## ")[0]
    return [
        Line(action, level, frozenset(re.findall(r"`(\w+)`", fields)))
        for action, level, fields in ROW.findall(table)
    ]


def test_actions_are_noun_and_verb():
    """What it is about and what happened to it, so that a prefix finds all about one thing."""
    assert [] == [
        line.action for line in written() if not re.fullmatch(r"[a-z]+\.[a-z_]+", line.action)
    ]


def test_actions_are_documented():
    """Each action stands in the table once, with its level and its fields, and no other does."""
    assert sorted(written()) == sorted(documented())


def test_loggers_are_ashs_own():
    """A script that embeds ash decides where its log goes: only ash.log knows the libraries."""
    found = set()
    for path, tree in sources().items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            if {name.partition(".")[0] for name in names} & {"logging", "structlog"}:
                found.add(str(path.relative_to(ROOT)))
    assert {"ash/log.py"} == found
