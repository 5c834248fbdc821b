"""Which tests start processes, found out by reading their code: nobody has to keep a list."""

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
# The same as the interpreter tells of it.
STARTING = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system")

_READ = ("ash", "bridge", "tests", "conftest", "test_")


class Reach:
    """Follows names, not values: who is handed something else in place of a process starts none."""

    def __init__(self) -> None:
        self._starts: dict[int, bool] = {id(start): True for start in _STARTS}
        self._kept: list[Any] = []

    def starts_process(self, value: Any) -> bool:
        """Whether the code of a function or class, or any that it names, can start one."""
        if id(value) in self._starts:
            return self._starts[id(value)]
        self._starts[id(value)] = False  # it may name itself
        self._kept.append(value)  # as long as its id is used
        found = any(map(self.starts_process, _named(value)))
        self._starts[id(value)] = found
        return found


def _named(value: Any) -> Iterator[Any]:
    if isinstance(value, partial):
        yield value.func
    elif isinstance(value, type) and _is_ours(value):
        yield from (*value.__bases__, *map(_plain, vars(value).values()))
    elif callable(value) and isinstance(plain := unwrap(value), FunctionType) and _is_ours(plain):
        for code in _codes(plain.__code__):
            if "getfixturevalue" in code.co_names:
                yield subprocess.Popen  # which one is known when it runs
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
    """What the names can stand for: globals, late imports, and what is asked of modules."""
    for name in names:
        value = scope.get(name, sys.modules.get(name) if name.startswith(_READ) else None)
        if isinstance(value, ModuleType):
            others = [other for other in names if other != name]
            yield from _globals(others, vars(value))
        else:
            yield value
