"""What all calls of an `Ash` share."""

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import trio

from ash.core import Core
from ash.errors import AshError
from ash.model import DEFAULT_TENANT

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound="Calls")

# A script is one owner; keys, which tell owners apart, are HTTP's.
TENANT = DEFAULT_TENANT


class Root:
    """An open tree, and the calls that are under way in it.

    A call is in the task of who makes it. When the tree ends, so do the calls: what they wait
    for will never come.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.over = False
        self._calls: set[trio.CancelScope] = set()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """A call, or a part of one: goes on while it need not wait. Raises AshError at the end."""
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            if self.over:
                scope.cancel()
            try:
                yield
            finally:
                self._calls.remove(scope)
        if scope.cancelled_caught:
            raise AshError("This Ash was closed during the call")

    def end(self) -> None:
        self.over = True
        for scope in self._calls:
            scope.cancel()


class Calls:
    _opened: Root | None = None

    @property
    def _root(self) -> Root:
        """Raises AshError if there is none."""
        if self._opened is None or self._opened.over:
            raise AshError("This Ash is not open: use it within `async with Ash(…) as ash:`")
        return self._opened

    @property
    def _core(self) -> Core:
        return self._root.core


def call(
    method: Callable[Concatenate[C, P], Awaitable[T]],
) -> Callable[Concatenate[C, P], Coroutine[Any, Any, T]]:
    """Lets the call end with the tree at the latest."""

    @wraps(method)
    async def run(self: C, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._root.under_way():
            return await method(self, *args, **kwargs)
        raise AssertionError

    return cast("Callable[Concatenate[C, P], Coroutine[Any, Any, T]]", run)
