"""How both clients are made."""

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import httpx

from ash.client.following import Following, Streamed
from ash.client.request import CONNECT, PATIENCE
from ash.client.target import Target, find

Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)


class Connected(Generic[Http]):
    """One server: by default ASH_SERVER_URL or this machine's, with ASH_API_KEY.

    The key that a server on this machine made for itself is found. `on_reconnect` is called
    with a sentence when a stream has lost its connection and comes back. Every failure is an
    AshApiError; ConfigError for what is not a URL.
    """

    _kind: type[Http]

    def __init__(
        self,
        server_url: str | None = None,
        api_key: str | None = None,
        *,
        target: Target | None = None,
        on_reconnect: Callable[[str], None] | None = None,
    ) -> None:
        self.target = target or find(server_url, api_key, None, os.environ)
        self._on_reconnect = on_reconnect
        self._http: Http = self._kind(**_options(self.target))

    def _following(self, streamed: Streamed) -> Following:
        return Following(streamed, self.target, self._on_reconnect)


def _options(target: Target) -> dict[str, Any]:
    return {
        "base_url": target.url,
        "headers": {"Authorization": f"Bearer {target.key}"} if target.key else {},
        "timeout": httpx.Timeout(PATIENCE, connect=CONNECT),
        # A stream holds a connection; how many there are is the script's business.
        "limits": httpx.Limits(max_connections=None),
        # A proxy meant for the internet can't reach this machine's loopback.
        "trust_env": not target.is_local,
    }
