"""Reads messages of clients: large ones in a process of its own, as that may take seconds."""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from ash.errors import BadRequest
from ash.helper_process import HelperProcess, serve
from ash.protocol import Query
from ash.requests.messages import message_query

# A body up to this size is read in the event loop. At worst, if it is full of escapes, that takes
# 15 ms.
LARGE = 128 * 1024

# How long reading one may take. The largest take a second.
READ_SECONDS = 15.0


class _Read(Struct, tag=True):
    prompt: memoryview
    options: dict[str, Any]


class _Refused(Struct, tag=True):
    why: str


_decode = msgspec.msgpack.Decoder(_Read | _Refused).decode


class MessageReader:
    """The reader of one daemon."""

    def __init__(self) -> None:
        self._helper = HelperProcess("ash.requests.large_messages", READ_SECONDS)
        self.statistics = self._helper.statistics
        self.run = self._helper.run

    async def read(self, session_id: str, body: bytes) -> Query:
        """See `message_query`. Raises BadRequest."""
        if len(body) <= LARGE:
            return message_query(session_id, body)
        answer = await self._helper.ask(body)
        if answer is None:
            raise BadRequest("The body could not be read: it takes too long, or too much memory")
        read = _decode(answer)
        if isinstance(read, _Refused):
            raise BadRequest(read.why)
        return Query(prompt=Raw(read.prompt), session_id=session_id, **read.options)


def _answer(body: bytes) -> bytes:
    try:
        query = message_query("", body)
    except BadRequest as error:
        return msgspec.msgpack.encode(_Refused(error.text))
    options = {
        name: value
        for name, value in msgspec.structs.asdict(query).items()
        if name not in {"prompt", "session_id"}
    }
    return msgspec.msgpack.encode(_Read(memoryview(query.prompt), options))


if __name__ == "__main__":
    serve(_answer)
