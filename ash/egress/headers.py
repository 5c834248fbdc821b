"""What came back from outside, on its way in."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

import trio
from msgspec import Struct

Header = tuple[bytes, bytes]
Headers = list[Header]

# For the next hop alone (RFC 9110, 7.6.1), with what old clients send to proxies.
_HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}

# What the Messages API and the CLI's own book-keeping need. An allow-list: gateways heed all
# sorts of headers that change a request's path, method or sender, and whoever may send such
# ones with the real key in the same request would use it for other than model calls.
_TO_MODEL = {
    b"accept",
    b"content-encoding",
    b"content-type",
    b"idempotency-key",
    b"traceparent",
    b"tracestate",
    b"user-agent",
    b"x-app",
}
_TO_MODEL_PREFIXES = (b"anthropic-", b"x-claude-", b"x-stainless-")


def end_to_end(headers: Iterable[Header]) -> Headers:
    """Without what is for this hop, be it so by the standard or by the Connection header."""
    given = [(name.lower(), value) for name, value in headers]
    named = {
        word.strip().lower()
        for name, value in given
        if name == b"connection"
        for word in value.split(b",")
    }
    return [(name, value) for name, value in given if name not in _HOP_BY_HOP | named]


def to_model(headers: Iterable[Header]) -> Headers:
    """What a model call brings along from inside. No credentials, no cookies, no body length."""
    return [
        (name, value)
        for name, value in end_to_end(headers)
        if name in _TO_MODEL or name.startswith(_TO_MODEL_PREFIXES)
    ]


def from_model(headers: Iterable[Header]) -> Headers:
    """What the answer to a model call brings along. Cookies would be the daemon's."""
    return [(name, value) for name, value in end_to_end(headers) if name != b"set-cookie"]


def to_host(headers: Iterable[Header], host: bytes) -> Headers:
    """What a plain request brings along to `host`, which is told nothing about a proxy."""
    own = {b"host", b"expect", b"content-length"}
    kept = [(name, value) for name, value in end_to_end(headers) if name not in own]
    return [(b"host", host), *kept, (b"connection", b"close")]


def length(headers: Iterable[Header]) -> Headers:
    """The header that frames the body as the other side did; none if there is no body."""
    given = dict(headers)
    if b"transfer-encoding" in given:
        return [(b"transfer-encoding", b"chunked")]
    return [(b"content-length", given[b"content-length"])] if b"content-length" in given else []


class UpstreamResponse(Struct):
    """`headers` are those to pass on; `chunks` is read once, by `each_chunk`."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]


async def each_chunk(
    chunks: AsyncIterator[bytes], take: Callable[[bytes], Awaitable[None]]
) -> None:
    """Gives `take` each chunk as it comes; what it raises ends the reading and comes out.

    Reading ends by cancellation of the next read. An HTTP client's generators that are left
    between two chunks, one in the other, would be closed by the garbage collector some time.
    """
    failure: BaseException | None = None
    with trio.CancelScope() as reading:
        async for chunk in chunks:
            if failure is None:
                try:
                    await take(chunk)
                except BaseException as error:  # noqa: BLE001 - raised again below
                    failure = error
                    reading.cancel()
    if failure is not None:
        raise failure


# What is shorter is no secret, and might be a word of the answer.
MIN_SECRET = 8


class Scrub:
    """Puts asterisks, as many as there are bytes, in place of each secret.

    Sans-IO: feed it the chunks, and take the rest at the end. Bytes are held back where a
    secret might begin, by two rules that do not look at the secrets: up to the last line feed
    nothing is, as no secret has one, and after it as much as the longest secret is long. Else
    who sees how the chunks are cut could find out the secrets byte by byte.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = sorted((s for s in secrets if len(s) >= MIN_SECRET), key=len, reverse=True)
        self._hold = max(map(len, self._secrets), default=1) - 1
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        data = self.whole(self._held + chunk)
        cut = max(data.rfind(b"\n") + 1, len(data) - self._hold)
        self._held = data[cut:]
        return data[:cut]

    def rest(self) -> bytes:
        rest, self._held = self._held, b""
        return rest

    def whole(self, data: bytes) -> bytes:
        """All of something that comes in one piece."""
        for secret in self._secrets:
            data = data.replace(secret, b"*" * len(secret))
        return data
