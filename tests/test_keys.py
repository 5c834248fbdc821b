"""Who a request comes from."""

import stat

import pytest

from ash.authentication import ApiKeys, load_secret, write_private
from ash.clock import SystemClock
from ash.errors import Unauthorized
from ash.model import ApiKey
from ash.store import open_store

SECRET = b"0" * 32


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
    """Without any key one is made, in a file that only its owner can read."""
    file = await keys.load(tmp_path, None)
    assert (tmp_path / "initial-api-key", 0o600) == (file, mode(file))
    key = file.read_text().rstrip("\n")
    assert key.startswith("ash_")
    assert "default" == keys.tenant_of(bearer(key))


async def test_initial_key_opens_the_server_after_a_restart(keys, store, tmp_path):
    """The key of the first start stays the key; no other is made."""
    file = await keys.load(tmp_path, None)
    again = ApiKeys(store, SECRET, SystemClock())
    assert await again.load(tmp_path, None) is None
    assert "default" == again.tenant_of(bearer(file.read_text().strip()))


async def test_configured_key_opens_the_default_tenant(keys, tmp_path):
    """Who sets a key gets no other one made, and it is not written anywhere."""
    assert await keys.load(tmp_path, "sesame ü") is None
    assert "default" == keys.tenant_of(bearer("sesame ü"))
    assert not (tmp_path / "initial-api-key").exists()
    assert b"sesame" not in (tmp_path / "ash.db").read_bytes()


async def test_key_belongs_to_its_tenant(keys, store, tmp_path):
    """Each stored key opens the tenant that it was made for."""
    key = ApiKey(id="1", tenant_id="them", label=None, key_prefix="x", created_at="now")
    await store.add_key(key, keys._digest("theirs"))
    await keys.load(tmp_path, "ours")
    assert ["them", "default"] == [keys.tenant_of(bearer(key)) for key in ("theirs", "ours")]


async def test_key_is_not_stored(keys, store, tmp_path):
    """The database has a hash under a secret that is not in it."""
    file = await keys.load(tmp_path, None)
    ((_, digest),) = await store.keys()
    assert digest == keys._digest(file.read_text().strip())
    assert digest != ApiKeys(store, b"1" * 32, SystemClock())._digest(file.read_text().strip())
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("ash.db*"))
    assert file.read_bytes().strip() not in stored


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "An API key is missing"),
        (b"", "must be: Bearer <key>"),
        (b"Bearer", "must be: Bearer <key>"),
        (b"Bearer   ", "must be: Bearer <key>"),
        (b"Basic c2VzYW1l", "must be: Bearer <key>"),
        (b"sesame", "must be: Bearer <key>"),
        (b"Bearer open", "not known"),
        (b"Bearer sesame2", "not known"),
        (b"Bearer sesam", "not known"),
        (b"Bearer SESAME", "not known"),
        (b"Bearer \xff\xfe", "not known"),
    ],
)
async def test_request_without_a_known_key_is_refused(keys, tmp_path, header, words):
    """Missing, malformed and unknown keys are a 401 that says which, never what was sent."""
    await keys.load(tmp_path, "sesame")
    with pytest.raises(Unauthorized, match=words) as refused:
        keys.tenant_of(header)
    assert (401, {"WWW-Authenticate": "Bearer"}) == (refused.value.status, refused.value.headers)
    assert header is None or b"sesam" not in refused.value.text.encode()


@pytest.mark.parametrize("header", [b"bearer sesame", b"BEARER  sesame "])
async def test_scheme_is_read_as_http_has_it(keys, tmp_path, header):
    """The word Bearer may be in any case, with any blanks around the key."""
    await keys.load(tmp_path, "sesame")
    assert "default" == keys.tenant_of(header)


def test_secret_is_made_once(tmp_path):
    """The secret outlives restarts, is random, and is only its owner's to read."""
    secret = load_secret(tmp_path)
    assert 32 == len(secret)
    assert secret == load_secret(tmp_path)
    assert 0o600 == mode(tmp_path / "key-secret")
    other = tmp_path / "other"
    other.mkdir()
    assert secret != load_secret(other)


def test_private_file_replaces_another_at_once(tmp_path):
    """A file that others could read is replaced by one that they can't, and nothing is left."""
    file = tmp_path / "key"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, b"new")
    assert (b"new", 0o600) == (file.read_bytes(), mode(file))
    assert [file] == list(tmp_path.iterdir())
