"""What both clients share: the server they talk to and its HTTP settings."""

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import httpx

from ash.client.address import ServerAddress, find_server
from ash.client.reconnecting import ReconnectingStream, StreamRequest
from ash.client.request import CONNECT, PATIENCE

Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)


class HttpClient(Generic[Http]):
    """Talks to one server: ASH_SERVER_URL's or this machine's by default, with ASH_API_KEY.

    The client finds the key that a server on this machine made for itself. It calls
    `on_reconnect` with a sentence when a stream has lost its connection and reconnects. Every
    failure is an AshApiError; an invalid URL is a ConfigError.
    """

    _kind: type[Http]

    def __init__(
        self,
        server_url: str | None = None,
        api_key: str | None = None,
        *,
        target: ServerAddress | None = None,
        on_reconnect: Callable[[str], None] | None = None,
    ) -> None:
        self.target = target or find_server(server_url, api_key, None, os.environ)
        self._on_reconnect = on_reconnect
        self._http: Http = self._kind(**_options(self.target))

    def _reconnecting(self, request: StreamRequest) -> ReconnectingStream:
        return ReconnectingStream(request, self.target, self._on_reconnect)


def _options(address: ServerAddress) -> dict[str, Any]:
    return {
        "base_url": address.url,
        "headers": {"Authorization": f"Bearer {address.key}"} if address.key else {},
        "timeout": httpx.Timeout(PATIENCE, connect=CONNECT),
        # Each stream holds a connection; the script decides how many it opens.
        "limits": httpx.Limits(max_connections=None),
        # A proxy for the internet can't reach this machine's loopback.
        "trust_env": not address.is_local,
    }
