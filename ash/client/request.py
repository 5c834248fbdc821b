"""One call, as data: what is sent, and what its answer means.

A client sends a `Request` over HTTP. The embedded library answers it in its own process
(`ash/embedded/transport.py`).
"""

from collections.abc import Mapping
from types import NoneType
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Struct, field

from ash.client.address import ServerAddress
from ash.client.errors import AshApiError, refusal
from ash.client.file_to_send import FileToSend, file_list
from ash.file_names import as_text
from ash.session_options import API_NAMES

T = TypeVar("T")

# Seconds. Enough for what the server does at once, on a machine that is busy with other things.
PATIENCE = 120.0
CONNECT = 5.0


class Request(Struct, Generic[T], frozen=True, kw_only=True):
    """`path` holds the parts below `/api`, as they were given: `("sessions", session_id)`.

    `result` is the type of the answer's field `under`, or of the whole answer if that is empty.
    It also gets those fields that the answer has `beside` that one.
    `files` are files by their paths; HTTP sends them in the body's field `files`.
    `patience` is how many seconds the head of the answer may take; None waits without end.
    """

    method: str
    path: tuple[str, ...]
    result: type[T]
    under: str = ""
    beside: tuple[str, ...] = ()
    params: dict[str, str | int] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    files: dict[str, FileToSend] | None = None
    patience: float | None = PATIENCE

    @property
    def options(self) -> dict[str, Any]:
        """The arguments for httpx."""
        return {
            "method": self.method,
            "url": url_path(self.path),
            "params": self.params or None,
            "json": self._json,
            "timeout": httpx.Timeout(self.patience, connect=CONNECT),
        }

    @property
    def _json(self) -> dict[str, Any] | None:
        if self.files is None:
            return self.body
        return {**(self.body or {}), "files": file_list(self.files)}


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def session_options(parameters: Mapping[str, Any], left_out: Any = None) -> dict[str, Any]:
    """The options of a session among a call's parameters, by the API's names."""
    said = {name: value for name, value in parameters.items() if value is not left_out}
    return {API_NAMES[name]: value for name, value in said.items() if name in API_NAMES}


def answer(request: Request[T], response: httpx.Response, address: ServerAddress) -> T:
    """The answer to the request, from a response that has been read. Raises AshApiError."""
    if not response.is_success:
        raise refusal(response, address)
    try:
        return msgspec.convert(_said(request, response), request.result)
    except (msgspec.ValidationError, ValueError, KeyError, TypeError):
        raise AshApiError(
            f"{response.url} did not answer as asked: is this an ash server?"
        ) from None


def _said(request: Request[Any], response: httpx.Response) -> Any:
    if request.result is NoneType:
        return None
    if request.result is bytes:
        return response.content
    # msgspec refuses half a surrogate pair, which tools do print; the standard library does not.
    said = response.json()
    if not request.under:
        return said
    beside = {name: said[name] for name in request.beside if name in said}
    return {**said[request.under], **beside} if beside else said[request.under]


def as_json(request: Request[Any]) -> Request[dict[str, Any]]:
    """The same request for the whole answer, as the server wrote it."""
    return msgspec.structs.replace(request, result=dict[str, Any], under="")


def url_path(parts: tuple[str, ...]) -> str:
    """The parts below `/api`. Each is escaped, so that an odd name can't become another route."""
    if parts == HEALTH:
        return "/health"
    return "/api/" + "/".join(map(_escaped, parts))


# The one route that is not below `/api`: it needs no key.
HEALTH = ("health",)


def _escaped(part: str) -> str:
    # A part of dots alone would mean the folder above: `files/..` is the session itself.
    return part.replace(".", "%2E") if part in {".", ".."} else quote(as_text(part), safe="")
