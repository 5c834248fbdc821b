"""Why a request from inside a sandbox is not answered by whom it is for."""

from msgspec import Struct

from ash.errors import AshError


class EgressRefused(AshError):
    """Not allowed; the text says why, and how to allow it."""

    status = 403


class Unreachable(AshError):
    """Allowed, but who should answer can't be reached, or broke off."""

    status = 502


class Malformed(AshError):
    """No request that this proxy could understand in one way only."""

    status = 400

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Traffic(Struct):
    """What went through one sandbox's proxy. Bytes are those of bodies and tunnels."""

    model_calls: int = 0
    hosts: int = 0
    turned_away: int = 0
    sent: int = 0
    received: int = 0
