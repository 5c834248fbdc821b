"""One call, as data: what is sent, and what its answer means."""

from types import NoneType
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Struct, field

from ash.client.errors import AshApiError, refusal
from ash.client.target import Target

T = TypeVar("T")

# Of what the server does at once, on a machine that is busy with other things.
PATIENCE = 120.0
CONNECT = 5.0


class Request(Struct, Generic[T], frozen=True, kw_only=True):
    """`result` is the type of what the answer holds `under` a field, or of all of it.

    `patience` is how many seconds the head of the answer may take; None is without end.
    """

    method: str
    path: str
    result: type[T]
    under: str = ""
    params: dict[str, str | int] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    patience: float | None = PATIENCE

    @property
    def options(self) -> dict[str, Any]:
        """The arguments for httpx."""
        return {
            "method": self.method,
            "url": self.path,
            "params": self.params or None,
            "json": self.body,
            "timeout": httpx.Timeout(self.patience, connect=CONNECT),
        }


def answer(request: Request[T], response: httpx.Response, target: Target) -> T:
    """What was asked for, out of a response that has been read. Raises AshApiError."""
    if not response.is_success:
        raise refusal(response, target)
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
    # Not msgspec: half a surrogate pair, which tools do print, is good JSON to us.
    said = response.json()
    return said[request.under] if request.under else said


def as_json(request: Request[Any]) -> Request[dict[str, Any]]:
    """The same request for the whole answer, as the server wrote it."""
    return msgspec.structs.replace(request, result=dict[str, Any], under="")


def path(*parts: str) -> str:
    """`/api/…` with each part escaped, so that an odd name can't become another route."""
    return "/api/" + "/".join(map(_escaped, parts))


def _escaped(part: str) -> str:
    # Dots that stand alone would be taken for a way up: `files/..` is the session itself.
    return part.replace(".", "%2E") if part in {".", ".."} else quote(part, safe="")
