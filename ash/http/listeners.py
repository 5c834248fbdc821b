import trio
from trio.socket import IPPROTO_TCP, TCP_USER_TIMEOUT

_UNACKNOWLEDGED_MS = 30_000


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listens for TCP on each address of `host`; the caller owns the listeners.

    With port 0 the system chooses, and only the first address is used: a second would get
    another port. Raises `OSError` whose text says which address can't be had, and why.

    Connections inherit TCP_USER_TIMEOUT: a peer that acknowledges nothing for 30 s (its cable
    is out, its machine is off) is gone, though small writes into its socket succeed for long.
    trio sets SO_REUSEADDR here, and TCP_NODELAY on each connection.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise OSError(error.errno, f"Can't listen on {host}:{port}: {error.strerror}") from error
    for listener in listeners:
        listener.socket.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
    if port == 0:
        for spare in listeners[1:]:
            spare.socket.close()
        del listeners[1:]
    return listeners
