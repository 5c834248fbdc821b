"""How a call fails: one exception, in words that say what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import httpx

from ash.client.target import Target
from ash.errors import AshError


class AshApiError(AshError):
    """The server said no, or could not be reached: `status` is 0 then.

    `text` is what the server said; `headers` holds its `Retry-After`, if there was one.
    """

    def __init__(
        self, text: str, status: int = 0, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(text, headers=headers)
        self.status = status


class MessageInDoubt(AshApiError):
    """The connection broke before the first frame: the message may have been accepted, or not.

    It was sent once. Look at the session's messages before you send it again.
    """


def refusal(response: httpx.Response, target: Target) -> AshApiError:
    """What an answer that is no success says; its body has been read."""
    status = response.status_code
    if status == HTTPStatus.UNAUTHORIZED:
        sent = "the server refused the key" if target.key else "the server wants a key"
        return AshApiError(f"{sent}; looked for one in {target.key_places}", status)
    try:
        text = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = f"{response.url} answered {status}: is this an ash server?"
    wait = response.headers.get("Retry-After")
    return AshApiError(text, status, headers={"Retry-After": wait} if wait else None)


@contextmanager
def explained(target: Target) -> Iterator[None]:
    """Raises AshApiError for what goes wrong on the way to the server and back."""
    try:
        yield
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise told(error, target) from None


def told(error: httpx.RequestError | httpx.InvalidURL, target: Target) -> AshApiError:
    """The failure in words."""
    url = target.url
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            hint = "; start a server with `ash start`" if target.is_local else ""
            why = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or "no answer"
            return AshApiError(f"cannot reach {url}: {why}{hint}")
        case httpx.TimeoutException():
            return AshApiError(f"no answer from {url}")
        case httpx.TransportError():
            return AshApiError(f"the connection to {url} broke off: {error}")
    return AshApiError(f"{url}: {error}")


def was_sent(error: httpx.RequestError) -> bool:
    """Whether the server may have got the request, or a part of it."""
    unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
    return not isinstance(error, (*unsent, httpx.UnsupportedProtocol))
