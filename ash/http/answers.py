"""How routes read what they are asked and write what they answer."""

from typing import Any, TypeVar

import msgspec
from quart import Response, request

from ash.errors import BadRequest
from ash.http.requests import decode

T = TypeVar("T")

_encode = msgspec.json.encode


def answer(status: int = 200, /, **body: Any) -> Response:
    """A JSON object of what ash keeps and plain values."""
    return Response(_encode(body), status, {"Content-Type": "application/json"})


async def body(shape: msgspec.json.Decoder[T]) -> T:
    """The request's body. Raises BadRequest, naming the field."""
    data: Any = await request.get_data()
    return decode(data, shape)


def whole_number(name: str, default: int, *, least: int = 0, most: int = 2**53) -> int:
    """A number from the query. Raises BadRequest, naming it and its range."""
    text = request.args.get(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise BadRequest(f'{name}: expected a whole number from {least} to {most}, got "{text}"')
    return number


def choice(name: str, choices: tuple[T, ...]) -> T | None:
    """One of the words allowed from the query. Raises BadRequest, naming them."""
    text = request.args.get(name)
    if text is None:
        return None
    for word in choices:
        if word == text:
            return word
    raise BadRequest(f'{name}: expected one of {", ".join(map(str, choices))}, got "{text}"')
