"""Reads server-sent events from the bytes of a response."""

import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

# The server's ids go up to 2**53. An id that is no number is not from an ash server.
_ID_DIGITS = 16


class Event(Struct, frozen=True):
    """One event of a stream; `data` is the bytes that were sent.

    Pass `id` as `after` to go on after this event.
    """

    event: str
    data: bytes
    id: int | None = None

    def json(self) -> dict[str, Any]:
        """The data as a JSON object; empty if it is another kind of JSON."""
        data = json.loads(self.data)
        return data if isinstance(data, dict) else {}


class Reader:
    """Reads one response, whatever pieces its bytes come in. Comments are skipped.

    Lines end at line feeds only: other line separators may stand inside JSON. An event that is
    incomplete at the end of the stream is dropped, as the standard says.

    `last_id` is the latest id of an event, or of a block that has only an id. `blocks` counts
    all complete blocks, comments too.
    """

    def __init__(self) -> None:
        self.last_id: int | None = None
        self.blocks = 0
        self._buffer = bytearray()
        self._fields: dict[str, list[bytes]] = {}

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that the bytes complete."""
        for line in self._lines(chunk):
            if line:
                name, _, value = line.partition(b":")
                self._add(name.decode(errors="replace"), value.removeprefix(b" "))
            elif self._fields:
                yield from self._end_block()

    def _add(self, name: str, value: bytes) -> None:
        self._fields.setdefault(name, []).append(value)

    def _end_block(self) -> Iterator[Event]:
        fields, self._fields = self._fields, {}
        self.blocks += 1
        frame_id = _number(_last(fields, "id"))
        if frame_id is not None:
            self.last_id = frame_id
        if "data" in fields:
            name = _last(fields, "event").decode(errors="replace")
            yield Event(name or "message", b"\n".join(fields["data"]), frame_id)

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        buffer = self._buffer
        searched = len(buffer)
        buffer += chunk
        start = 0
        while (end := buffer.find(b"\n", max(start, searched))) >= 0:
            yield bytes(buffer[start:end]).removesuffix(b"\r")
            start = end + 1
        del buffer[:start]


def _last(fields: dict[str, list[bytes]], name: str) -> bytes:
    return fields.get(name, [b""])[-1]


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) <= _ID_DIGITS else None
