"""Finds the tenant that a request comes from, by its API key or its ticket.

A ticket lets a browser's `EventSource`, which can't send headers, open one stream.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import partial
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import trio
from msgspec import Struct

from ash.clock import Clock, now_iso
from ash.errors import Unauthorized
from ash.log import get_logger
from ash.model import DEFAULT_TENANT, ApiKey, iso
from ash.store import Store

log = get_logger()

INITIAL = "initial"
INITIAL_KEY_FILE = "initial-api-key"
SECRET_FILE = "key-secret"  # noqa: S105 - a file's name
PREFIX = "ash_"

# How long a new ticket is valid: from the answer that contains it to the page's `new EventSource`.
CONNECT_SECONDS = 60.0

# How long a ticket is valid for reconnecting. An `EventSource` reconnects with its old address; a
# page that is open for hours asks for another ticket. An open connection is never cut.
RECONNECT_SECONDS = 600.0


class ApiKeys:
    """Holds the keyed hashes of all keys in memory, because every request looks one up.

    What a client sends is hashed with a secret of this server before the look-up, so the time that
    the look-up takes reveals nothing about the keys.
    """

    def __init__(self, store: Store, secret: bytes, clock: Clock) -> None:
        self._store = store
        self._secret = secret
        self._clock = clock
        self._tenants: dict[bytes, str] = {}

    async def load(self, data_dir: Path, configured: str | None) -> Path | None:
        """Reads the stored keys. If there are none, makes one and returns the file with it.

        A configured key replaces the initial one for good: nobody would think of revoking that.
        """
        file = data_dir / INITIAL_KEY_FILE
        if configured:
            await self._revoke_initial(file)
            self._tenants[self._digest(configured)] = DEFAULT_TENANT
        for key, digest in await self._store.keys():
            self._tenants[digest] = key.tenant_id
        if self._tenants:
            return None
        await self._add_initial(file)
        return file

    def tenant_of(self, authorization: bytes | None) -> str:
        """The tenant for an Authorization header. Raises Unauthorized."""
        if authorization is None:
            text = "Missing Authorization header: send Authorization: Bearer <key>"
            raise Unauthorized(text)
        scheme, _, key = authorization.strip().partition(b" ")
        if scheme.lower() != b"bearer" or not key.strip():
            raise Unauthorized("The Authorization header must be: Bearer <key>")
        tenant = self._tenants.get(self._digest(key.strip()))
        if tenant is None:
            raise Unauthorized("Invalid API key: this server does not know it")
        return tenant

    async def _add_initial(self, file: Path) -> None:
        """Writes the key to the file before storing it, so a crash never leaves an unknown key."""
        secret = PREFIX + secrets.token_urlsafe(32)
        await trio.to_thread.run_sync(write_private, file, secret.encode() + b"\n")
        key = ApiKey(
            id=str(uuid4()),
            tenant_id=DEFAULT_TENANT,
            label=INITIAL,
            key_prefix=secret[:8],
            created_at=now_iso(self._clock),
        )
        digest = self._digest(secret)
        await self._store.add_key(key, digest)
        self._tenants[digest] = key.tenant_id

    async def _revoke_initial(self, file: Path) -> None:
        for key, _ in await self._store.keys():
            if key.label == INITIAL and await self._store.delete_key(key.tenant_id, key.id):
                log.info("key.revoked", label=INITIAL)
        await trio.to_thread.run_sync(partial(file.unlink, missing_ok=True))

    def _digest(self, key: str | bytes) -> bytes:
        data = key.encode() if isinstance(key, str) else key
        return hmac.digest(self._secret, data, sha256)


def load_secret(data_dir: Path) -> bytes:
    """The secret for hashing keys, which is made on first use. Blocks."""
    file = data_dir / SECRET_FILE
    if not file.exists():
        write_private(file, secrets.token_bytes(32))
    return file.read_bytes()


def write_private(file: Path, content: bytes) -> None:
    """Replaces the file atomically; other users can never read it. Blocks."""
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    fresh.touch(mode=0o600)
    fresh.write_bytes(content)
    fresh.replace(file)


class Ticket(Struct, frozen=True):
    ticket: str
    expires_at: str


class Tickets:
    """Issues and checks signed tickets, each for one stream of one tenant, without storing them."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        # A derived key, so that a signature made here is of no use elsewhere.
        self._key = hmac.digest(secret, b"stream tickets", sha256)
        self._clock = clock

    def issue(self, tenant: str, session_id: str) -> Ticket:
        now = int(self._clock.now())
        claim = _encode(f"{now}:{tenant}".encode())
        ticket = f"{claim}.{_encode(self._sign(session_id, claim))}"
        return Ticket(ticket, iso(now + CONNECT_SECONDS))

    def tenant_of(self, ticket: str, session_id: str, *, again: bool) -> str:
        """The tenant of the ticket. `again` means a reconnect. Raises Unauthorized."""
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
