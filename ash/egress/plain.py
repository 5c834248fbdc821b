"""Forwards plain HTTP requests: finds out the host, sends the request, reads the answer."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import h11
import trio
from msgspec import Struct

from ash.egress.errors import Malformed, Unreachable
from ash.egress.headers import end_to_end, length, to_host
from ash.egress.policy import parse_authority
from ash.egress.proxy_connection import CHUNK, MAX_HEAD
from ash.egress.response import UpstreamResponse

# A host that accepts or sends nothing for so long is given up.
STALL_SECONDS = 300

# The status by which a host accepts another protocol.
SWITCHING = 101

_ABSOLUTE = re.compile(rb"http://([^/?#@]+)(/[^#]*)?", re.IGNORECASE)


class Destination(Struct, frozen=True):
    """The host of a request. `written` is the host as the client wrote it, `path` has the query."""

    host: str
    port: int
    written: bytes
    path: bytes = b""


def destination(request: h11.Request) -> Destination:
    """The host of a CONNECT or of a request in absolute form. Raises Malformed.

    A Host header must name the same host: otherwise we might check one host and ask another.
    """
    if request.method == b"CONNECT":
        found = _read(request.target)
    else:
        match = _ABSOLUTE.fullmatch(request.target)
        if match is None:
            raise Malformed("A proxy takes http:// URLs, without a user; for https use CONNECT")
        found = _read(match[1], port=80, path=match[2] or b"/")
        if any(_differs(value, found) for name, value in request.headers if name == b"host"):
            raise Malformed("The Host header and the URL name different hosts")
    return found


def _differs(host_header: bytes, found: Destination) -> bool:
    told = _read(host_header, port=80)
    return (told.host, told.port) != (found.host, found.port)


def _read(text: bytes, port: int | None = None, path: bytes = b"") -> Destination:
    try:
        host, given = parse_authority(text.decode("ascii", "replace"))
    except ValueError as error:
        raise Malformed(f"The request's host: {error}") from None
    if (port := given or port) is None:
        raise Malformed("CONNECT needs a host and a port")
    return Destination(host, port, text, path)


class ForwardedRequest:
    """One request over an open connection, and its answer.

    `ask` and reading the answer's chunks raise Unreachable. Does not close the stream.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)

    async def ask(
        self, request: h11.Request, to: Destination, chunk: Callable[[], Awaitable[bytes | None]]
    ) -> UpstreamResponse:
        """Sends the request. `chunk` gives the next part of its body, None at its end."""
        headers = [*to_host(list(request.headers), to.written), *length(request.headers)]
        await self._send(h11.Request(method=request.method, target=to.path, headers=headers))
        while (data := await chunk()) is not None:
            await self._send(h11.Data(data))
        await self._send(h11.EndOfMessage())
        head = await self._event()
        while isinstance(head, h11.InformationalResponse) and head.status_code != SWITCHING:
            head = await self._event()
        if not isinstance(head, h11.Response | h11.InformationalResponse):
            raise Unreachable("The host broke off")
        return UpstreamResponse(head.status_code, end_to_end(head.headers), self._chunks())

    @property
    def early(self) -> bytes:
        """What the host has sent behind its answer, in the protocol that it has changed to."""
        return bytes(self._http.trailing_data[0])

    async def _chunks(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def _send(self, event: h11.Event) -> None:
        """Sends; a broken connection is no error yet, since the host may have answered before."""
        data = self._http.send(event)
        try:
            with trio.fail_after(STALL_SECONDS):
                await self._stream.send_all(data or b"")
        except trio.TooSlowError:
            raise Unreachable("The host takes no more") from None
        except trio.BrokenResourceError:
            pass

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            with trio.fail_after(STALL_SECONDS):
                while (event := self._http.next_event()) is h11.NEED_DATA:
                    self._http.receive_data(bytes(await self._stream.receive_some(CHUNK)))
        except trio.TooSlowError:
            raise Unreachable("The host does not answer in time") from None
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            raise Unreachable("The host broke off, or speaks no HTTP/1.1") from None
        return event
