"""The Python client: `AshClient`, and `AsyncAshClient` for trio and asyncio.

Both are thin. What is asked is described in `calls`, once; what a stream does when its
connection breaks is in `following`, without I/O.
"""

from ash.client.asynchronous import AsyncAshClient, AsyncEventStream
from ash.client.errors import AshApiError, MessageInDoubt
from ash.client.sse import Event
from ash.client.sync import AshClient, EventStream

__all__ = [
    "AshApiError",
    "AshClient",
    "AsyncAshClient",
    "AsyncEventStream",
    "Event",
    "EventStream",
    "MessageInDoubt",
]
