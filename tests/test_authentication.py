"""API keys and tickets: which tenant a request comes from."""

import stat

import pytest

from ash.authentication import (
    CONNECT_SECONDS,
    RECONNECT_SECONDS,
    ApiKeys,
    Tickets,
    load_secret,
    write_private,
)
from ash.clock import SystemClock
from ash.errors import Unauthorized
from ash.model import ApiKey
from ash.store import open_store

SECRET = b"0" * 32
SESSION = "5e551017-0000-4000-8000-000000000000"


@pytest.fixture
async def store(tmp_path):
    async with open_store(tmp_path / "ash.db") as store:
        yield store


@pytest.fixture
def keys(store):
    return ApiKeys(store, SECRET, SystemClock())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def bearer(key):
    return f"Bearer {key}".encode()


async def test_first_start_makes_a_key(keys, tmp_path):
    """Without any key, one is made in a file that only its owner can read."""
    file = await keys.load(tmp_path, None)
    assert (tmp_path / "initial-api-key", 0o600) == (file, mode(file))
    key = file.read_text().rstrip("\n")
    assert key.startswith("ash_")
    assert "default" == keys.tenant_of(bearer(key))


async def test_initial_key_opens_the_server_after_a_restart(keys, store, tmp_path):
    """The initial key is valid after a restart, and no other is made."""
    file = await keys.load(tmp_path, None)
    again = ApiKeys(store, SECRET, SystemClock())
    assert await again.load(tmp_path, None) is None
    assert "default" == again.tenant_of(bearer(file.read_text().strip()))


async def test_configured_key_replaces_the_initial_one(keys, store, tmp_path):
    """The initial key opens nothing any more, also when the configured one is gone again."""
    file = await keys.load(tmp_path, None)
    initial = file.read_text().strip()

    fresh = ApiKeys(store, SECRET, SystemClock())
    assert await fresh.load(tmp_path, "configured") is None

    assert "default" == fresh.tenant_of(bearer("configured"))
    with pytest.raises(Unauthorized):
        fresh.tenant_of(bearer(initial))
    assert ([], False) == (await store.keys(), file.exists())


async def test_configured_key_opens_the_default_tenant(keys, tmp_path):
    """With a configured key no other is made, and it is not stored."""
    assert await keys.load(tmp_path, "sesame ü") is None
    assert "default" == keys.tenant_of(bearer("sesame ü"))
    assert not (tmp_path / "initial-api-key").exists()
    assert b"sesame" not in (tmp_path / "ash.db").read_bytes()


async def test_key_belongs_to_its_tenant(keys, store, tmp_path):
    """Each stored key opens its own tenant."""
    key = ApiKey(id="1", tenant_id="them", label=None, key_prefix="x", created_at="now")
    await store.add_key(key, keys._digest("theirs"))
    await keys.load(tmp_path, "ours")
    assert ["them", "default"] == [keys.tenant_of(bearer(key)) for key in ("theirs", "ours")]


async def test_key_is_not_stored(keys, store, tmp_path):
    """The database has only a keyed hash of the key, and not the secret."""
    file = await keys.load(tmp_path, None)
    ((_, digest),) = await store.keys()
    assert digest == keys._digest(file.read_text().strip())
    assert digest != ApiKeys(store, b"1" * 32, SystemClock())._digest(file.read_text().strip())
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("ash.db*"))
    assert file.read_bytes().strip() not in stored


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "Missing Authorization header"),
        (b"", "must be: Bearer <key>"),
        (b"Bearer", "must be: Bearer <key>"),
        (b"Bearer   ", "must be: Bearer <key>"),
        (b"Basic c2VzYW1l", "must be: Bearer <key>"),
        (b"sesame", "must be: Bearer <key>"),
        (b"Bearer open", "Invalid API key"),
        (b"Bearer sesame2", "Invalid API key"),
        (b"Bearer sesam", "Invalid API key"),
        (b"Bearer SESAME", "Invalid API key"),
        (b"Bearer \xff\xfe", "Invalid API key"),
    ],
)
async def test_request_without_a_known_key_is_refused(keys, tmp_path, header, words):
    """Missing, malformed and unknown keys are refused with different texts."""
    await keys.load(tmp_path, "sesame")
    with pytest.raises(Unauthorized, match=words) as refused:
        keys.tenant_of(header)
    assert (401, {"WWW-Authenticate": "Bearer"}) == (refused.value.status, refused.value.headers)
    assert header is None or b"sesam" not in refused.value.text.encode()


@pytest.mark.parametrize("header", [b"bearer sesame", b"BEARER  sesame "])
async def test_scheme_is_read_as_http_has_it(keys, tmp_path, header):
    """The word Bearer may have any case, and blanks may surround the key."""
    await keys.load(tmp_path, "sesame")
    assert "default" == keys.tenant_of(header)


def test_secret_is_made_once(tmp_path):
    """The secret survives restarts, is random, and only its owner can read it."""
    secret = load_secret(tmp_path)
    assert 32 == len(secret)
    assert secret == load_secret(tmp_path)
    assert 0o600 == mode(tmp_path / "key-secret")
    other = tmp_path / "other"
    other.mkdir()
    assert secret != load_secret(other)


def test_private_file_replaces_another_at_once(tmp_path):
    """A readable file is replaced atomically by a private one."""
    file = tmp_path / "key"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, b"new")
    assert (b"new", 0o600) == (file.read_bytes(), mode(file))
    assert [file] == list(tmp_path.iterdir())


class Clock:
    def __init__(self):
        self.time = 1e9

    def now(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tickets(clock):
    return Tickets(b"secret", clock)


@pytest.fixture
def ticket(tickets):
    return tickets.issue("a:tenant", SESSION).ticket


def test_ticket_names_its_tenant(tickets, ticket):
    """A ticket names its tenant; nothing is stored to check it."""
    assert "a:tenant" == tickets.tenant_of(ticket, SESSION, again=False)


def test_ticket_fits_into_a_url(ticket):
    """A ticket needs no escapes in a URL."""
    assert set(ticket) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def test_ticket_is_for_one_session(tickets, ticket):
    """A ticket does not open another session's stream."""
    with pytest.raises(Unauthorized, match="does not open this stream"):
        tickets.tenant_of(ticket, "another", again=False)


def test_ticket_is_for_one_server(clock, ticket):
    """A ticket of a server with another secret is refused."""
    with pytest.raises(Unauthorized, match="does not open this stream"):
        Tickets(b"other", clock).tenant_of(ticket, SESSION, again=False)


@pytest.mark.parametrize("bad", ["", ".", "x", "é.é", "a.b.c", "MTow.", "%00.%00"])
def test_text_that_is_no_ticket_is_refused(tickets, bad):
    """A text that is no ticket is refused."""
    with pytest.raises(Unauthorized, match="does not open this stream"):
        tickets.tenant_of(bad, SESSION, again=True)


def test_ticket_can_not_be_changed(tickets, ticket):
    """A ticket with any character changed is refused."""
    claim, _, signature = ticket.partition(".")
    for position in range(len(claim)):
        letter = "A" if claim[position] != "A" else "B"
        changed = f"{claim[:position]}{letter}{claim[position + 1 :]}.{signature}"
        with pytest.raises(Unauthorized):
            tickets.tenant_of(changed, SESSION, again=True)


def test_ticket_expires(tickets, ticket, clock):
    """A ticket is valid for a minute, and for ten minutes to reconnect."""
    clock.time += CONNECT_SECONDS
    tickets.tenant_of(ticket, SESSION, again=False)
    clock.time += 1
    with pytest.raises(Unauthorized, match="expired: ask for another"):
        tickets.tenant_of(ticket, SESSION, again=False)
    clock.time += RECONNECT_SECONDS - CONNECT_SECONDS - 1
    tickets.tenant_of(ticket, SESSION, again=True)
    clock.time += 1
    with pytest.raises(Unauthorized, match="expired"):
        tickets.tenant_of(ticket, SESSION, again=True)


def test_ticket_shows_when_it_expires(tickets):
    """The expiry is in the API's form of time."""
    assert "2001-09-09T01:47:40.000Z" == tickets.issue("t", SESSION).expires_at


async def test_blanks_around_a_key_are_ignored(keys, tmp_path):
    """Wherever they stand in the header."""
    await keys.load(tmp_path, "sesame")
    for header in (b" Bearer sesame", b"Bearer  sesame ", b"\tBearer \tsesame\t"):
        assert "default" == keys.tenant_of(header)
