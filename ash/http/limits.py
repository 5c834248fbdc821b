from msgspec import Struct


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """How long a connection waits for its client, in seconds, and what it buffers, in bytes."""

    keep_alive_timeout: float = 75.0
    """Between an answer and the next request; nginx's default, above what proxies pool for."""

    head_timeout: float = 30.0
    """From a request's first byte to the end of its head, and for a new connection to speak."""

    body_timeout: float = 30.0
    """Waiting for a request's body, all waits added up; time the app takes doesn't count …"""

    body_rate: float = 1024.0
    """… and each byte that comes earns 1/body_rate seconds more, as in Apache's MinRate: a
    phone on a slow network can send 50 MB, a client that drips bytes can't stay."""

    send_timeout: float = 30.0
    """With the send buffer full, until the client has taken a byte."""

    linger_timeout: float = 10.0
    """After an answer that came before all of its request was read: closing at once would
    reset the connection, and the client might never see the answer."""

    linger_timeout_draining: float = 1.0
    """The same while the server shuts down: an answer underway still gets there."""

    max_head: int = 16 * 1024
    """Request line and headers, as in Node; what one read brings (16 KiB) may go over it."""


DEFAULT_LIMITS = ConnectionLimits()
