"""How routes read what they are asked and write what they answer."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from quart import Response, request

from ash.agents import Agents
from ash.authentication import ApiKeys, Tickets
from ash.requests.parsing import decode
from ash.sessions.files import SessionFiles
from ash.sessions.service import Sessions

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


JSON = (b"content-type", b"application/json")

# For a fault of the server's own: no stack and no paths.
UNEXPECTED = "Unexpected failure: the server's log says more"


def error_body(status: int, text: str) -> bytes:
    """The body of every error: `{"error": <words a caller can act on>, "statusCode": <int>}`."""
    return msgspec.json.encode({"error": text, "statusCode": status})


Health = Callable[[], dict[str, Any]]


class Services(Struct, frozen=True):
    agents: Agents
    sessions: Sessions
    files: SessionFiles
    keys: ApiKeys
    tickets: Tickets
    health: Health
