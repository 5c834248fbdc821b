"""Leaves out libraries that the SDKs import and a bridge never uses.

Both want `mcp`, and pydantic with it, for tool servers inside their own process, and one of them
`jsonschema` to check such calls. Here there are none: the servers of agents and sessions are the
CLI's. They are most of what a bridge's start takes; docs/decisions/0010-fork-server.md.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Nothing:
    """Stands in for each class and function, where it is imported or derived from."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ImportError(f"{type(self).__name__} is left out of the bridge")

    def __init_subclass__(cls, **_: Any) -> None:
        """Takes the options that the real one takes."""


class _Absent(ModuleType):
    """Has every name that is asked for."""

    def __getattr__(self, name: str) -> type[_Nothing]:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_Nothing,), {})


class _Finder(MetaPathFinder, Loader):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self._names:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def leave_out(*names: str) -> None:
    """Whoever imports one of these packages from now on gets one that is empty."""
    sys.meta_path.insert(0, _Finder(names))
