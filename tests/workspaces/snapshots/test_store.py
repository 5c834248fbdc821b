"""What every snapshot store promises; the clouds and the test's folder pass the same tests."""

import os
import time

import pytest
import trio

from ash.workspaces.snapshots.object_store import PART_BYTES, connect, running
from ash.workspaces.snapshots.snapshot_store import Missing, StoreFailed
from tests.support.folder_store import FolderStore
from tests.support.gcs import running_gcs
from tests.support.s3 import BUCKET, running_s3


# Both are started before any test: `leaves_no_process` would find them in the first one that asks.
@pytest.fixture(scope="module", autouse=True)
def endpoint():
    with running_s3() as s3:
        yield s3


@pytest.fixture
def s3(endpoint, monkeypatch):
    endpoint.make_bucket()
    for name, value in endpoint.env.items():
        monkeypatch.setenv(name, value)
    return endpoint


@pytest.fixture(scope="module", autouse=True)
def google(tmp_path_factory):
    with running_gcs(tmp_path_factory.mktemp("google")) as gcs:
        yield gcs


@pytest.fixture
def gs(google, monkeypatch):
    google.make_bucket()
    for name, value in google.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["folder", "s3", "gs"])
async def store(request, tmp_path):
    if request.param == "folder":
        yield FolderStore(tmp_path / "store")
    else:
        request.getfixturevalue(request.param)
        async with running(connect(f"{request.param}://{BUCKET}/a/prefix")) as store:
            yield store


async def keys(store, prefix):
    return [stored.key for stored in await store.under(prefix)]


async def test_object_is_stored_byte_by_byte(store):
    """An object has the bytes that were put; a second put replaces them."""
    for content in (b"first", b"", b"second"):
        await store.put("a/b.json", content)
        assert content == await store.get("a/b.json")


async def test_file_is_put_and_fetched(store, tmp_path):
    """Files are put and fetched, also in several parts."""
    content = os.urandom(2 * PART_BYTES + 17)
    (tmp_path / "source").write_bytes(content)
    await store.put("a/large", tmp_path / "source")
    await store.fetch("a/large", tmp_path / "target")
    assert content == (tmp_path / "target").read_bytes()


async def test_object_that_is_not_there_is_missing(store, tmp_path):
    """Getting or fetching a missing object raises Missing; deleting it is fine."""
    with pytest.raises(Missing):
        await store.get("a/b")
    with pytest.raises(Missing):
        await store.fetch("a/b", tmp_path / "target")
    await store.delete(["a/b"])
    await store.delete([])


async def test_objects_are_listed_by_prefix(store):
    """Listing takes whole parts at any depth, sorted, with size and time."""
    before = time.time() - 2
    for key in ("a/2", "a/1/x", "ab/3", "b"):
        await store.put(key, key.encode())
    found = await store.under("a")
    assert [("a/1/x", 5), ("a/2", 3)] == [(stored.key, stored.size) for stored in found]
    assert all(before <= stored.modified <= time.time() + 2 for stored in found)
    assert [] == await keys(store, "none")


async def test_deleted_objects_are_gone(store):
    """Only the named objects are deleted."""
    for key in ("a/1", "a/2", "a/3"):
        await store.put(key, b"x")
    await store.delete(["a/1", "a/3"])
    assert ["a/2"] == await keys(store, "a")


async def test_key_of_a_tenant_keeps_its_characters(store, subject):
    """Keys of a tenant with odd characters are listed as they were put."""
    for tenant in ("a b", "a/b", "..", "ü~%2F", "a=b"):
        named = type(subject)("sessions", tenant, "id")
        await store.put(named.key("1", ".json"), tenant.encode())
        assert [named.key("1", ".json")] == await keys(store, named.prefix)
        assert tenant.encode() == await store.get(named.key("1", ".json"))
    assert 5 == len(await keys(store, "sessions"))


async def test_file_that_is_not_there_is_not_put(store, tmp_path):
    """Putting a missing file fails and makes no object."""
    with pytest.raises(StoreFailed):
        await store.put("a/b", tmp_path / "none")
    assert [] == await keys(store, "a")


async def test_cloud_without_a_bucket_fails(s3):
    """The error for a missing bucket contains no credentials."""
    async with running(connect("s3://another/a")) as store:
        for call in (store.put("a", b"x"), store.under("a")):
            with pytest.raises(StoreFailed) as failed:
                await call
            assert "a-secret" not in str(failed.value)


async def test_cloud_that_is_silent_can_be_left(s3):
    """Cancelling a call to a silent cloud ends it at once."""
    async with running(connect(f"s3://{BUCKET}/a")) as store:
        await store.put("a", b"x")
        s3.process.send_signal(19)
        try:
            with trio.move_on_after(0.2) as scope:
                await store.get("a")
            assert scope.cancelled_caught
        finally:
            s3.process.send_signal(18)


@pytest.mark.parametrize("url", ["s3://", "gopher://bucket"])
def test_url_that_is_no_store_is_refused(url):
    """An invalid URL is a StoreFailed with one line."""
    with pytest.raises(StoreFailed):
        connect(url)
