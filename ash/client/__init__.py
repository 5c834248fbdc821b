"""The Python client: `AshClient`, and `AsyncAshClient` for trio and asyncio.

`calls` describes each call once, for both clients and the embedded library; `api` makes methods
of them. `reconnecting` decides, without I/O, what a stream does when its connection breaks.
"""

from ash.client.answer import AnswerText
from ash.client.asynchronous import AsyncAshClient, AsyncEventStream
from ash.client.errors import AshApiError, MessageInDoubt
from ash.client.file_to_send import FileToSend
from ash.client.sse import Event
from ash.client.sync import AshClient, EventStream

__all__ = [
    "AnswerText",
    "AshApiError",
    "AshClient",
    "AsyncAshClient",
    "AsyncEventStream",
    "Event",
    "EventStream",
    "FileToSend",
    "MessageInDoubt",
]
