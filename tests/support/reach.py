"""Finds out from the code which tests start processes, so that nobody has to keep a list."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from inspect import unwrap
from types import CodeType, FunctionType, ModuleType
from typing import Any

import trio

_STARTS = (
    subprocess.Popen,
    subprocess.run,
    subprocess.check_call,
    subprocess.check_output,
    trio.run_process,
    trio.lowlevel.open_process,
    asyncio.create_subprocess_exec,
    os.fork,
    os.forkpty,
    os.posix_spawn,
    os.system,
)
# The same, as the names of audit events.
STARTING = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system")

_READ = ("ash", "bridge", "tests", "conftest", "test_")


class Reach:
    """Follows global names from function to function; it does not know what arguments are."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {id(start): True for start in _STARTS}
        self._kept: list[Any] = []  # or their ids could be reused

    def starts_process(self, value: Any) -> bool:
        """Whether this function or class, or one that it refers to, can start a process."""
        seen: set[int] = set()
        found = self._search(value, seen)
        if not found:
            self._known.update(dict.fromkeys(seen, False))
        return found

    def _search(self, value: Any, seen: set[int]) -> bool:
        if id(value) in self._known:
            return self._known[id(value)]
        if id(value) in seen:
            return False
        seen.add(id(value))
        self._kept.append(value)
        found = any(self._search(named, seen) for named in _named(value))
        if found:
            self._known[id(value)] = True
        return found


def _named(value: Any) -> Iterator[Any]:
    if isinstance(value, partial):
        yield value.func
    elif isinstance(value, type) and _is_ours(value):
        yield from (*value.__bases__, *map(_plain, vars(value).values()))
    elif callable(value) and isinstance(plain := unwrap(value), FunctionType) and _is_ours(plain):
        for code in _codes(plain.__code__):
            if "getfixturevalue" in code.co_names:
                yield subprocess.Popen  # can be any fixture
            yield from _globals(code.co_names, plain.__globals__)


def _is_ours(value: Any) -> bool:
    return str(value.__module__).startswith(_READ)


def _plain(member: Any) -> Any:
    """The function behind a method of any kind."""
    return getattr(member, "fget", None) or getattr(member, "__func__", member)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _globals(names: Iterable[str], scope: dict[str, Any]) -> Iterator[Any]:
    """What the names can refer to: globals, modules, and members of these modules."""
    for name in names:
        value = scope.get(name, sys.modules.get(name) if name.startswith(_READ) else None)
        if isinstance(value, ModuleType):
            others = [other for other in names if other != name]
            yield from _globals(others, vars(value))
        else:
            yield value
