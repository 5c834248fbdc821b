"""How routes read what they are asked and write what they answer."""

from typing import Any, TypeVar

import msgspec
from quart import Response, request

from ash.requests.body import decode

T = TypeVar("T")

_encode = msgspec.json.encode


def answer(status: int = 200, /, **body: Any) -> Response:
    """A JSON object of what ash keeps and plain values."""
    return Response(_encode(body), status, {"Content-Type": "application/json"})


async def body(shape: msgspec.json.Decoder[T]) -> T:
    """The request's body. Raises BadRequest, naming the field."""
    data: Any = await request.get_data()
    return decode(data, shape)


def asked(name: str) -> str | None:
    """What the query says under a name."""
    return request.args.get(name)
