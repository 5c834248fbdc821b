"""The HTTP client of the command line; every failure is one line that says what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from ash.cli.sse import Frame, frames
from ash.cli.target import Target
from ash.errors import AshError

# Creating a session may wait for an install script; engine_start_timeout bounds it from there.
_PATIENCE = 120.0
_CONNECT = 5.0
# The server says `: ping` every 15 s, so four missed ones mean that it is gone.
_STREAM_TIMEOUT = httpx.Timeout(60.0, connect=_CONNECT)


class ServerError(AshError):
    """The server said no, or could not be reached; `status` is 0 then."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Client:
    """One server. Paths are the API's; answers are its JSON objects. Raises ServerError."""

    def __init__(self, target: Target) -> None:
        self.target = target
        headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
        self._http = httpx.Client(
            base_url=target.url,
            headers=headers,
            timeout=httpx.Timeout(_PATIENCE, connect=_CONNECT),
            # A proxy meant for the internet can't reach this machine's loopback.
            trust_env=not target.is_local,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        return self._ask("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: dict[str, Any], *, patience: float = _PATIENCE) -> Any:
        """Waits `patience` seconds for the answer."""
        timeout = httpx.Timeout(patience, connect=_CONNECT)
        return self._ask("POST", path, json=body, timeout=timeout)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask("PATCH", path, json=body)

    def delete(self, path: str) -> Any:
        return self._ask("DELETE", path)

    @contextmanager
    def send(self, session_id: str, body: dict[str, Any]) -> Iterator[Iterator[Frame]]:
        """Sends a message; gives the frames of its turn as they come.

        Leaving the context leaves the stream; the turn goes on without us.
        """
        url = path("sessions", session_id, "messages")
        with self._streamed("POST", url, json=body, timeout=_STREAM_TIMEOUT) as response:
            yield frames(response.iter_bytes())

    @contextmanager
    def watch(self, session_id: str, after: int | None) -> Iterator[Iterator[Frame]]:
        """The session's frames behind the id `after`, else from the running turn's start."""
        url = path("sessions", session_id, "stream")
        query = {} if after is None else {"after": after}
        with self._streamed("GET", url, params=query, timeout=_STREAM_TIMEOUT) as response:
            yield frames(response.iter_bytes())

    @contextmanager
    def download(self, path: str) -> Iterator[Iterator[bytes]]:
        """The bytes of the answer as they come."""
        with self._streamed("GET", path) as response:
            yield response.iter_bytes()

    @contextmanager
    def _streamed(self, method: str, url: str, **options: Any) -> Iterator[httpx.Response]:
        with self._explained(), self._http.stream(method, url, **options) as response:
            if not response.is_success:
                response.read()
                raise self._refusal(response)
            yield response

    def _ask(self, method: str, url: str, **options: Any) -> Any:
        with self._explained():
            response = self._http.request(method, url, **options)
        if not response.is_success:
            raise self._refusal(response)
        return self._json(response) if response.content else {}

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise ServerError(
                f"{response.url} did not answer with JSON: is this an ash server?"
            ) from None

    def _refusal(self, response: httpx.Response) -> ServerError:
        status = response.status_code
        if status == HTTPStatus.UNAUTHORIZED:
            sent = "the server refused the key" if self.target.key else "the server wants a key"
            return ServerError(f"{sent}; looked for one in {self.target.key_places}", status)
        try:
            text = str(response.json()["error"])
        except (ValueError, KeyError, TypeError):
            text = f"{response.url} answered {status}: is this an ash server?"
        return ServerError(text, status)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        url = self.target.url
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            hint = "; start a server with `ash start`" if self.target.is_local else ""
            why = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or "no answer"
            raise ServerError(f"cannot reach {url}: {why}{hint}") from None
        except httpx.TimeoutException:
            raise ServerError(f"no answer from {url}") from None
        except httpx.TransportError as error:
            raise ServerError(f"the connection to {url} broke off: {error}") from None
        except (httpx.InvalidURL, httpx.DecodingError) as error:
            raise ServerError(f"{url}: {error}") from None


def path(*parts: str) -> str:
    """`/api/…` with each part escaped, so that an odd name can't become another route."""
    return "/api/" + "/".join(map(_escaped, parts))


def _escaped(part: str) -> str:
    # Dots that stand alone would be taken for a way up: `files/..` is the session itself.
    return part.replace(".", "%2E") if part in {".", ".."} else quote(part, safe="")
