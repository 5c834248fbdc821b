"""The snapshot store in S3 or Google Cloud Storage, through obstore."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import obstore
import trio
import trio_asyncio
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from ash.workspaces.snapshots.snapshot_store import Missing, Stored, StoreFailed

T = TypeVar("T")

# S3 allows 10,000 parts of at least 5 MB; with this size an archive may have 80 GB. Only the parts
# that are sent at the same time are in memory.
PART_BYTES = 8 * 1024 * 1024
PARALLEL_PARTS = 4

# A silent store is given up after 30 s, but a part on a slow line may take ten minutes.
_CLIENT: dict[str, Any] = {
    "connect_timeout": "10s",
    "read_timeout": "30s",
    "timeout": "600s",
    "user_agent": "ash",
}

# Few and short retries, because the uploader itself repeats with longer pauses.
_RETRY: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=30)}


def connect(url: str) -> ObjectStore:
    """The store for `s3://bucket/prefix` or `gs://bucket/prefix`.

    Credentials, region and endpoint come from the environment, as for the clouds' own tools. It
    does not connect yet. Raises StoreFailed if the URL or the settings are invalid.
    """
    # For Google only the operator's own account file can name an endpoint with plain http.
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    plain_http = endpoint.startswith("http://") or url.startswith("gs://")
    options: Any = {**_CLIENT, "allow_http": plain_http}
    try:
        return from_url(url, client_options=options, retry_config=_RETRY)
    except (BaseError, ValueError) as error:
        raise StoreFailed(_first_line(error)) from None


@asynccontextmanager
async def running(store: ObjectStore) -> AsyncIterator["ObjectSnapshotStore"]:
    """A snapshot store for the block; its calls run in an asyncio loop inside the trio loop."""
    async with trio_asyncio.open_loop() as loop:
        yield ObjectSnapshotStore(store, loop)


class ObjectSnapshotStore:
    """Cancelling a call ends it at once; no thread goes on waiting for the cloud."""

    def __init__(self, store: ObjectStore, loop: Any) -> None:
        self._store = store
        self._loop = loop

    async def put(self, key: str, content: bytes | Path) -> None:
        async def put() -> None:
            await obstore.put_async(
                self._store,
                key,
                content,
                chunk_size=PART_BYTES,
                max_concurrency=PARALLEL_PARTS,
            )

        await self._call(put)

    async def get(self, key: str) -> bytes:
        async def get() -> bytes:
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())

        return await self._call(get)

    async def fetch(self, key: str, target: Path) -> None:
        async def begin() -> Any:
            found = await obstore.get_async(self._store, key)
            return aiter(found.stream(PART_BYTES))

        chunks = await self._call(begin)

        async def more() -> bytes:
            return bytes(await anext(chunks, b""))

        file = await trio.to_thread.run_sync(_create, target)
        try:
            while chunk := await self._call(more):
                await trio.to_thread.run_sync(file.write, chunk)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(file.close)

    async def under(self, prefix: str) -> list[Stored]:
        async def objects() -> Any:
            return await obstore.list(self._store, prefix).collect_async()

        found = await self._call(objects)
        stored = [Stored(o["path"], o["size"], o["last_modified"].timestamp()) for o in found]
        return sorted(stored, key=lambda one: one.key)

    async def delete(self, keys: Iterable[str]) -> None:
        doomed = list(keys)

        async def delete() -> None:
            await obstore.delete_async(self._store, doomed)

        if doomed:
            try:
                await self._call(delete)
            except Missing:
                return

    async def _call(self, function: Callable[[], Awaitable[T]]) -> T:
        try:
            result: T = await trio_asyncio.aio_as_trio(function, loop=self._loop)()
        except FileNotFoundError:
            raise Missing("there is no such object, or no such bucket") from None
        except (BaseError, OSError, ValueError) as error:
            raise StoreFailed(_first_line(error)) from None
        return result


def _create(target: Path) -> BinaryIO:
    return target.open("xb")


def _first_line(error: Exception) -> str:
    """The first line of an error; the others show requests and answers in full."""
    return str(error).partition("\n")[0][:300]
