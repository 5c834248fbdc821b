"""Sends model calls to the endpoint, over connections that each sandbox has for itself."""

import copy
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from types import TracebackType
from typing import Self

import h11
import httpx
import trio

from ash.egress.credentials import OAUTH_BETA, secrets
from ash.egress.errors import Unreachable
from ash.egress.headers import Header, Headers, from_model, length, to_model
from ash.egress.response import Scrub, UpstreamResponse
from ash.errors import ConfigError

ANTHROPIC = "https://api.anthropic.com"

CONNECT_SECONDS = 15.0
WRITE_SECONDS = 60.0
# Anthropic's SDKs, too, wait so long for an answer that does not stream.
SILENCE_SECONDS = 600.0
PATIENCE_SECONDS = 120.0

# Connections at a time are bounded for each sandbox, not here. Idle ones are closed before common
# servers and load balancers close them, which is after 60 s or more.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=4, keepalive_expiry=55)

# Ample: closing the connection of an unfinished answer takes a system call or two.
CLOSE_SECONDS = 5


class ModelUpstream:
    """The model endpoint. The daemon makes one and enters it before it opens a sandbox.

    `headers` are the daemon's own credentials, for sandboxes without others; the headers in
    `custom` are for all of them. No policy applies to the base URL, because the operator sets it.
    Calls to it go through the proxy that the daemon's environment names, unless the endpoint is on
    loopback.
    """

    def __init__(
        self,
        base_url: str | None,
        headers: Sequence[Header],
        custom: Sequence[Header] = (),
        *,
        silence: float = SILENCE_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """A call ends when the endpoint has sent nothing for `silence` seconds; 0 is never.

        After `patience` seconds of faults no call is tried again; 0 leaves that to the CLI.

        Raises ConfigError if `base_url` is not a URL that calls can be sent to.
        """
        self.headers: Headers = list(headers)
        self.custom: Headers = list(custom)
        self._base = _url(base_url or ANTHROPIC)
        self.patience = patience
        self.endpoint = str(self._base).rstrip("/")
        self.is_anthropic = self.endpoint == ANTHROPIC
        self._path = self._base.raw_path.rstrip(b"/")
        from_environment = not _on_loopback(self._base.host)
        self._new_client = partial(
            httpx.AsyncClient,
            # Made once, as reading all certificates takes 20 ms.
            verify=httpx.create_ssl_context(trust_env=from_environment),
            timeout=httpx.Timeout(
                connect=CONNECT_SECONDS, read=silence or None, write=WRITE_SECONDS, pool=None
            ),
            limits=LIMITS,
            trust_env=from_environment,
            follow_redirects=False,
        )
        self._client = self._open_client()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def apart(self) -> AsyncIterator["ModelUpstream"]:
        """The same endpoint, by connections that only one sandbox uses.

        On a shared one, a request that the endpoint reads in another way than we do could become
        the beginning of another session's, and that session would get the wrong answer.
        """
        own = copy.copy(self)
        own._client = self._open_client()  # noqa: SLF001 - a copy of this very object
        async with own:
            yield own

    @asynccontextmanager
    async def call(
        self,
        request: h11.Request,
        chunk: Callable[[], Awaitable[bytes | None]],
        headers: Sequence[Header],
    ) -> AsyncIterator[UpstreamResponse]:
        """Passes the request on, with `headers` in place of the credentials it came with.

        `chunk` gives the next part of its body, None at the end. Leaving the context before the
        answer's end closes the connection to the endpoint. Raises Unreachable, also inside the
        context, if the endpoint does not answer or breaks off. Secrets of `headers` that the
        endpoint repeats are removed from the answer.
        """
        outgoing = self._outgoing(request, chunk, headers)
        response: httpx.Response | None = None
        try:
            response = await self._client.send(outgoing, stream=True)
            yield _answer(request, response, Scrub(secrets(headers)))
        except httpx.HTTPError as error:
            raise Unreachable(
                _error_text(error, answered=response is not None),
                cause=_cause(error),
                timed_out=isinstance(error, httpx.TimeoutException),
            ) from None
        finally:
            if response is not None:
                with trio.move_on_after(CLOSE_SECONDS, shield=True):
                    await response.aclose()

    def _open_client(self) -> httpx.AsyncClient:
        return self._new_client(cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])))

    def _outgoing(
        self,
        request: h11.Request,
        chunk: Callable[[], Awaitable[bytes | None]],
        headers: Sequence[Header],
    ) -> httpx.Request:
        """Builds the request without httpx's `build_request`, which adds headers and cookies.

        It asks for an uncompressed answer, which can be searched for secrets.
        """
        ours = {name for name, _ in headers}
        headers = _with_betas_of(request.headers, headers)
        return httpx.Request(
            request.method.decode(),
            self._base.copy_with(raw_path=self._path + request.target),
            headers=[
                (b"host", self._base.netloc),
                *((name, value) for name, value in to_model(request.headers) if name not in ours),
                *length(request.headers),
                *headers,
                (b"accept-encoding", b"identity"),
            ],
            stream=_Body(chunk),
        )


def _with_betas_of(given: Iterable[Header], headers: Sequence[Header]) -> Headers:
    """The headers of a call; the beta of a subscription's token is added to the request's own."""
    own = [value for name, value in given if name.lower() == b"anthropic-beta"]
    return [
        (header[0], b",".join([*own, header[1]])) if header == OAUTH_BETA else header
        for header in headers
    ]


class _Body(httpx.AsyncByteStream):
    """A request's body. Not a generator, because an unfinished one is left to be collected."""

    def __init__(self, chunk: Callable[[], Awaitable[bytes | None]]) -> None:
        self._chunk = chunk

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if (chunk := await self._chunk()) is None:
            raise StopAsyncIteration
        return chunk


def _url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise ConfigError("anthropic_base_url is not a URL") from None
    if url.userinfo:
        raise ConfigError(
            "anthropic_base_url must not have a user or password in it: set"
            " anthropic_custom_headers to `Authorization: …`"
        )
    if url.query or url.fragment or not url.host:
        raise ConfigError(
            "anthropic_base_url must be an address such as https://gateway.example.com/path,"
            " without anything behind ? or #: the path of each call is added to its end"
        )
    if url.path.rstrip("/").endswith("/v1"):
        raise ConfigError(
            "anthropic_base_url must not end in /v1, which is part of each call's own path:"
            f" set it to {str(url).rstrip('/').removesuffix('/v1')}"
        )
    return url


def _on_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _answer(request: h11.Request, response: httpx.Response, scrub: Scrub) -> UpstreamResponse:
    headers = [(name, scrub.whole(value)) for name, value in from_model(response.headers.raw)]
    encoding = response.headers.get("content-encoding", "identity")
    if response.status_code < 200 or (encoding != "identity" and request.method != b"HEAD"):
        raise Unreachable("The model endpoint answers in a way it was not asked to")
    return UpstreamResponse(response.status_code, headers, _scrubbed(response, scrub))


async def _scrubbed(response: httpx.Response, scrub: Scrub) -> AsyncIterator[bytes]:
    async for chunk in response.aiter_raw():
        if clean := scrub.feed(chunk):
            yield clean
    if rest := scrub.rest():
        yield rest


def _error_text(error: httpx.HTTPError, *, answered: bool) -> str:
    """A text for the sandbox. The error's own text may name hosts that it must not know."""
    if isinstance(error, httpx.TimeoutException):
        return "The model endpoint does not answer in time"
    if answered or isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return "The model endpoint broke off"
    return "The model endpoint can't be reached"


def _cause(error: BaseException) -> str:
    """What the system says, as httpx only names the address; it is not for the sandbox."""
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:g} s"
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({found.verify_message})"
        if isinstance(found, OSError) and found.strerror:
            # trio's own text repeats the address, and errors of look-ups have negative numbers.
            number = found.errno or 0
            return (os.strerror(number) if number > 0 else found.strerror).lower()
        found = found.__cause__ or found.__context__
    return ""
