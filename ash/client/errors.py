"""The exception for every failed call, with words that say what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import httpx

from ash.client.address import ServerAddress
from ash.errors import AshError


class AshApiError(AshError):
    """The server refused, or could not be reached; then `status` is 0.

    `text` is what the server said. `headers` has its `Retry-After`, if it sent one.
    """

    def __init__(
        self, text: str, status: int = 0, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(text, headers=headers)
        self.status = status


class MessageInDoubt(AshApiError):
    """The connection broke before the first event: the message may have been accepted or not.

    It was sent once. Look at the session's messages before you send it again.
    """


def refusal(response: httpx.Response, address: ServerAddress) -> AshApiError:
    """The error for an answer that is no success; its body has been read."""
    status = response.status_code
    if status == HTTPStatus.UNAUTHORIZED:
        sent = "the server refused the key" if address.key else "the server wants a key"
        return AshApiError(f"{sent}; looked for one in {address.key_places}", status)
    try:
        text = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = f"{response.url} answered {status}: is this an ash server?"
    wait = response.headers.get("Retry-After")
    return AshApiError(text, status, headers={"Retry-After": wait} if wait else None)


@contextmanager
def explained(address: ServerAddress) -> Iterator[None]:
    """Turns errors of the connection into AshApiError."""
    try:
        yield
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise told(error, address) from None


def told(error: httpx.RequestError | httpx.InvalidURL, address: ServerAddress) -> AshApiError:
    """The connection's error in words."""
    url = address.url
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            hint = "; start a server with `ash start`" if address.is_local else ""
            why = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or "no answer"
            return AshApiError(f"cannot reach {url}: {why}{hint}")
        case httpx.TimeoutException():
            return AshApiError(f"no answer from {url}")
        case httpx.TransportError():
            return AshApiError(f"the connection to {url} broke off: {error}")
    return AshApiError(f"{url}: {error}")


def was_sent(error: httpx.RequestError) -> bool:
    """Whether the server may have received the request or a part of it."""
    unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
    return not isinstance(error, (*unsent, httpx.UnsupportedProtocol))
