"""Server-sent events out of the bytes of a response."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct


class Frame(Struct, frozen=True):
    """One event; `data` is what was sent, untouched."""

    event: str
    data: bytes
    id: str = ""

    def json(self) -> dict[str, Any]:
        """The data as a JSON object; empty if it is another kind of JSON."""
        data = json.loads(self.data)
        return data if isinstance(data, dict) else {}


def frames(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """The events in the stream, however its bytes are cut; comments are left out.

    Splits on line feeds alone: other separators that text knows may stand inside JSON. An
    event that was not ended when the stream did is dropped, as the standard says.
    """
    fields: dict[str, list[bytes]] = {}
    for line in _lines(chunks):
        if line:
            name, _, value = line.partition(b":")
            fields.setdefault(name.decode(errors="replace"), []).append(value.removeprefix(b" "))
        elif "data" in fields:
            yield _frame(fields)
            fields = {}
        else:
            fields = {}


def _frame(fields: dict[str, list[bytes]]) -> Frame:
    event, frame_id = (fields.get(name, [b""])[-1].decode() for name in ("event", "id"))
    return Frame(event or "message", b"\n".join(fields["data"]), frame_id)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    buffer = bytearray()
    for chunk in chunks:
        searched = len(buffer)
        buffer += chunk
        start = 0
        while (end := buffer.find(b"\n", max(start, searched))) >= 0:
            yield bytes(buffer[start:end]).removesuffix(b"\r")
            start = end + 1
        del buffer[:start]
