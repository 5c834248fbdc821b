"""Tickets for browsers: an `EventSource` can't send a key, only an address."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from msgspec import Struct

from ash.clock import Clock
from ash.errors import Unauthorized
from ash.model import iso

# From the answer that has the ticket to the page's `new EventSource`.
CONNECT_SECONDS = 60.0

# An `EventSource` that reconnects uses the address it has, so the ticket has to hold for longer;
# a page that stays open for hours asks for another. What is connected is never cut for it.
RECONNECT_SECONDS = 600.0


class Ticket(Struct, frozen=True):
    ticket: str
    expires_at: str


class Tickets:
    """Signs tickets, each for one stream of one tenant. Nothing is kept of them."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        # A key of its own: nothing signed here can pass for another use of the secret.
        self._key = hmac.digest(secret, b"stream tickets", sha256)
        self._clock = clock

    def issue(self, tenant: str, session_id: str) -> Ticket:
        now = int(self._clock.now())
        claim = _encode(f"{now}:{tenant}".encode())
        ticket = f"{claim}.{_encode(self._sign(session_id, claim))}"
        return Ticket(ticket, iso(now + CONNECT_SECONDS))

    def tenant_of(self, ticket: str, session_id: str, *, again: bool) -> str:
        """The tenant whose stream it opens; `again` if it was open before. Raises Unauthorized."""
        claim, _, signature = ticket.partition(".")
        expected = _encode(self._sign(session_id, claim))
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise Unauthorized("This ticket does not open this stream")
        issued, _, tenant = urlsafe_b64decode(f"{claim}==").decode().partition(":")
        if self._clock.now() - int(issued) > (RECONNECT_SECONDS if again else CONNECT_SECONDS):
            raise Unauthorized("This ticket has expired: ask for another one")
        return tenant

    def _sign(self, session_id: str, claim: str) -> bytes:
        return hmac.digest(self._key, f"{session_id}\0{claim}".encode(), sha256)


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
