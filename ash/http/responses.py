"""How the routes of Quart read requests and write responses, errors among them."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from ash.errors import AshError, Unauthorized
from ash.http.asgi import (
    JSON_HEADERS,
    UNEXPECTED,
    check_encoding,
    error_body,
    note_refused_key,
    too_large,
)
from ash.log import get_logger
from ash.requests.parsing import Get, decode, decode_with_warnings
from ash.requests.unknown_fields import refuse_mistyped

T = TypeVar("T")

log = get_logger()

_JSON_HEADERS = {name.decode(): value.decode() for name, value in JSON_HEADERS}
_encode = msgspec.json.encode


def json_response(status: int = 200, /, **fields: Any) -> Response:
    """A JSON object with these fields, each a Struct or a plain value."""
    return Response(_encode(fields), status, _JSON_HEADERS)


def created(location: str, /, **fields: Any) -> Response:
    """A 201, which says where the new thing is."""
    response = json_response(201, **fields)
    response.headers["Location"] = location
    return response


async def read_json(shape: msgspec.json.Decoder[T]) -> T:
    """The request's body as that shape. Raises BadRequest, naming the field."""
    return decode(await _body(), shape)


async def read_with_warnings(shape: msgspec.json.Decoder[T]) -> tuple[T, list[str]]:
    """The body as `read_json` gives it, and a warning for each field that has no effect."""
    return decode_with_warnings(await _body(), shape)


async def _body() -> bytes:
    check_encoding(request.headers.getlist("Content-Encoding"))
    data: Any = await request.get_data()
    return bytes(data)


def read_query(read: Callable[[Get], T]) -> T:
    """What `read` makes of the query, whose parameters it asks for by their names.

    Raises BadRequest for a parameter whose name looks like a typo of one of these.
    """
    known: list[str] = []

    def get(name: str) -> str | None:
        known.append(name)
        return request.args.get(name)

    found = read(get)
    refuse_mistyped(request.args, known)
    return found


def add_error_handlers(app: QuartTrio) -> None:
    """Every failure becomes a response with the body that all errors have."""
    app.register_error_handler(AshError, _ash_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected_error)


async def _ash_error(error: AshError) -> Response:
    if isinstance(error, Unauthorized):
        note_refused_key(request.method, request.path, request.remote_addr)
    return _error_response(error.status, error.text, error.headers)


async def _http_error(error: HTTPException) -> Response:
    """What Quart itself refuses: unknown routes, wrong methods, bodies that are too large."""
    status = error.code or 500
    texts = {
        404: f"There is no route {request.method} {request.path}",
        405: f"{request.method} is not allowed on {request.path}",
        413: too_large(request.max_content_length or 0).text,
    }
    allow = {n: v for n, v in error.get_headers() if n.lower() == "allow"}
    return _error_response(status, texts.get(status, error.description or UNEXPECTED), allow)


async def _unexpected_error(error: Exception) -> Response:
    log.error("http.failed", method=request.method, path=request.path, exc_info=error)
    return _error_response(500, UNEXPECTED, {})


def _error_response(status: int, text: str, headers: dict[str, str]) -> Response:
    return Response(error_body(status, text), status, {**_JSON_HEADERS, **headers})
