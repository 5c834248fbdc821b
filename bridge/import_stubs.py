"""Replaces libraries that the SDKs import, but the bridge never uses, by empty stubs.

Both SDKs import `mcp` (with pydantic) to run tool servers inside their own process, and one
imports `jsonschema` to check such calls. In a bridge the CLI runs all tool servers. Importing
these libraries would take most of a bridge's start; see docs/decisions/0010-fork-server.md.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Stub:
    """Stands in for any class or function of a stubbed module; it can be subclassed, not called."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ImportError(f"{type(self).__name__} is left out of the bridge")

    def __init_subclass__(cls, **_: Any) -> None:
        """Accepts any class options, as the real class may."""


class _StubModule(ModuleType):
    """A module in which every name can be imported; each is a stub."""

    def __getattr__(self, name: str) -> type[_Stub]:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_Stub,), {})


class _Finder(MetaPathFinder, Loader):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self._names:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StubModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def leave_out(*names: str) -> None:
    """From now on, imports of these packages and their submodules give stubs."""
    sys.meta_path.insert(0, _Finder(names))
