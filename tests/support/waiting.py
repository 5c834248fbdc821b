"""Asks again and again, for what nobody tells us: most often it is another process's doing."""

import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable

import trio

# For a machine that is busy with other things.
PATIENCE = 30.0
_STEP = 0.01


async def until(condition: Callable[[], object | Awaitable[object]]) -> None:
    with trio.fail_after(PATIENCE):
        while not await _answer(condition):  # noqa: ASYNC110 - as said
            await trio.sleep(_STEP)


def block_until(condition: Callable[[], object], seen: Callable[[], object] = str) -> None:
    """As `until`, outside of trio. When it gives up, it says what is `seen`."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, seen()
        time.sleep(_STEP)


async def _answer(condition: Callable[[], object | Awaitable[object]]) -> object:
    found = condition()
    return await found if isawaitable(found) else found
