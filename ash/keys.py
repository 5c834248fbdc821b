"""API keys: who a request comes from."""

import hmac
import secrets
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import trio

from ash.clock import Clock, now_iso
from ash.errors import Unauthorized
from ash.model import DEFAULT_TENANT, ApiKey
from ash.store import Store

INITIAL_KEY_FILE = "initial-api-key"
SECRET_FILE = "key-secret"  # noqa: S105 - a file's name
PREFIX = "ash_"


class ApiKeys:
    """Knows keys by their keyed hash only, held in memory: each request asks.

    The hash is of what the client sent, under a secret of this server, so that the time a
    look-up takes tells nothing of the keys there are.
    """

    def __init__(self, store: Store, secret: bytes, clock: Clock) -> None:
        self._store = store
        self._secret = secret
        self._clock = clock
        self._tenants: dict[bytes, str] = {}

    async def load(self, data_dir: Path, configured: str | None) -> Path | None:
        """Reads what is stored. Without any key makes one, and returns the file it is in."""
        for key, digest in await self._store.keys():
            self._tenants[digest] = key.tenant_id
        if configured:
            self._tenants[self._digest(configured)] = DEFAULT_TENANT
        if self._tenants:
            return None
        file = data_dir / INITIAL_KEY_FILE
        await self._add_initial(file)
        return file

    def tenant_of(self, authorization: bytes | None) -> str:
        """The tenant for an Authorization header. Raises Unauthorized."""
        if authorization is None:
            raise Unauthorized("An API key is missing: send the header Authorization: Bearer <key>")
        scheme, _, key = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not key.strip():
            raise Unauthorized("The Authorization header must be: Bearer <key>")
        tenant = self._tenants.get(self._digest(key.strip()))
        if tenant is None:
            raise Unauthorized("This API key is not known")
        return tenant

    async def _add_initial(self, file: Path) -> None:
        """Writes the key out before it is stored: a crash in between leaves no key unknown."""
        secret = PREFIX + secrets.token_urlsafe(32)
        await trio.to_thread.run_sync(write_private, file, secret.encode() + b"\n")
        key = ApiKey(
            id=str(uuid4()),
            tenant_id=DEFAULT_TENANT,
            label="initial",
            key_prefix=secret[:8],
            created_at=now_iso(self._clock),
        )
        digest = self._digest(secret)
        await self._store.add_key(key, digest)
        self._tenants[digest] = key.tenant_id

    def _digest(self, key: str | bytes) -> bytes:
        data = key.encode() if isinstance(key, str) else key
        return hmac.digest(self._secret, data, sha256)


def load_secret(data_dir: Path) -> bytes:
    """The secret that keys are hashed with, made on first use. Blocks."""
    file = data_dir / SECRET_FILE
    if not file.exists():
        write_private(file, secrets.token_bytes(32))
    return file.read_bytes()


def write_private(file: Path, content: bytes) -> None:
    """Replaces the file at once, never readable for others. Blocks."""
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    fresh.touch(mode=0o600)
    fresh.write_bytes(content)
    fresh.replace(file)
