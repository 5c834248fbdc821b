"""Which headers go on to the other side."""

from collections.abc import Iterable

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
