"""Starts the CLI with sockets in place of pipes.

Whoever has the CLI's user can open a pipe of the CLI once more, by /proc/PID/fd/1, and write
messages into it that the CLI never wrote. The kernel lets nobody open a socket that way.
"""

import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import anyio
from anyio.abc import Process, UNIXSocketStream

from bridge.children import CHILDREN

_STREAMS = ("stdin", "stdout", "stderr")


async def open_cli(command: Sequence[str], *, env: Mapping[str, str], **options: Any) -> Process:
    """As `anyio.open_process` with three pipes. Raises OSError if the CLI can't be started."""
    with ExitStack() as ours, ExitStack() as theirs:
        # A pair for each: a socket that is closed with unread input makes the other end fail.
        pairs = {name: socket.socketpair() for name in _STREAMS}
        for our, their in pairs.values():
            ours.enter_context(our)
            theirs.enter_context(their)
        options |= {name: their.fileno() for name, (_, their) in pairs.items()}
        process = await CHILDREN.start(partial(anyio.open_process, command, env=env, **options))
        for name, (our, _) in pairs.items():
            # anyio makes such streams only for pipes that it has made itself.
            setattr(process, f"_{name}", await UNIXSocketStream.from_socket(our))
        ours.pop_all()
    return process
