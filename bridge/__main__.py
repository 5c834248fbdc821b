"""`python -m bridge`: the daemon starts it inside the sandbox, in the workspace."""

import os
import socket
import sys

from ash.protocol import Ready, encode

# ash/sandbox/environment.py
_HELD_BACK = "ASH_LATER_"


def main() -> None:
    """Says `ready` before the slow imports; commands that come meanwhile wait in the socket."""
    try:
        link = socket.socket(fileno=int(os.environ.pop("ASH_BRIDGE_FD")))
        engine = os.environ.pop("ASH_ENGINE")
    except (KeyError, ValueError, OSError) as error:
        sys.exit(f"the bridge is started by ashd, not by hand: {error!r}")
    # The agent's programs must not inherit the daemon's socket or its PYTHONPATH.
    link.set_inheritable(False)
    os.environ.pop("PYTHONPATH", None)
    try:
        link.sendall(encode(Ready(os.getpid())))
    except BrokenPipeError:
        return
    _serve(link, engine)


def _give_back_environment() -> None:
    """Python, the C library and OpenSSL have started, so the agent's variables load nothing here.

    The programs that the bridge starts get them.
    """
    for name in [name for name in os.environ if name.startswith(_HELD_BACK)]:
        os.environ[name.removeprefix(_HELD_BACK)] = os.environ.pop(name)


def _serve(link: socket.socket, engine: str) -> None:
    import trio

    from bridge.import_stubs import leave_out
    from bridge.inspection import refuse_inspection
    from bridge.processes import kill_marked, mark_children
    from bridge.server import serve

    # Before the first command: until then no code of the agent runs.
    refuse_inspection()
    _give_back_environment()
    leave_out("mcp", "jsonschema")
    mark = mark_children()

    async def run() -> None:
        await serve(trio.SocketStream(trio.socket.from_stdlib_socket(link)), engine)

    try:
        trio.run(run)
    finally:
        kill_marked(mark)


main()
