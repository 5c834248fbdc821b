"""Which headers of a request or an answer the proxy passes on."""

from collections.abc import Iterable

Header = tuple[bytes, bytes]
Headers = list[Header]

# Headers that are only for the next hop (RFC 9110, 7.6.1), and those that old clients add.
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

# Put beside those to a host, and to a client, that change to WebSocket.
UPGRADE = [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]

# What RFC 9209 calls the faults for which the proxy answers itself.
_PROXY_ERRORS = {
    400: "http_request_error",
    401: "proxy_configuration_error",
    403: "http_request_denied",
    502: "destination_unavailable",
}
_MAX_IN_HEAD = 500

# The headers that the Messages API and the CLI's own book-keeping need. It is an allow-list,
# because gateways obey many headers that change a request's path, method or sender; with such a
# header an agent could use the real key for something other than model calls.
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
    """The headers without those that the standard or the Connection header makes hop-by-hop."""
    given = [(name.lower(), value) for name, value in headers]
    named = {
        word.strip().lower()
        for name, value in given
        if name == b"connection"
        for word in value.split(b",")
    }
    return [(name, value) for name, value in given if name not in _HOP_BY_HOP | named]


def to_model(headers: Iterable[Header]) -> Headers:
    """The headers of a model call that are passed on: no credentials, cookies or body length."""
    return [
        (name, value)
        for name, value in end_to_end(headers)
        if name in _TO_MODEL or name.startswith(_TO_MODEL_PREFIXES)
    ]


def from_model(headers: Iterable[Header]) -> Headers:
    """The headers of an answer that are passed on: no cookies, which are for the daemon."""
    return [(name, value) for name, value in end_to_end(headers) if name != b"set-cookie"]


def to_host(headers: Headers, host: bytes) -> Headers:
    """The headers of a plain request to `host`; none of them shows that there is a proxy."""
    own = {b"host", b"expect", b"content-length"}
    kept = [(name, value) for name, value in end_to_end(headers) if name not in own]
    last = UPGRADE if wants_websocket(headers) else [(b"connection", b"close")]
    return [(b"host", host), *kept, *last]


def wants_websocket(headers: Iterable[Header]) -> bool:
    """Whether the client asks to change to WebSocket; no other protocol is passed on."""
    given = {name.lower(): value.strip().lower() for name, value in headers}
    words = [word.strip() for word in given.get(b"connection", b"").split(b",")]
    return given.get(b"upgrade") == b"websocket" and b"upgrade" in words


def proxy_status(status: int, text: str) -> bytes:
    """The header by which a proxy says that it answers itself, and why (RFC 9209)."""
    kind = _PROXY_ERRORS.get(status, "proxy_internal_error")
    details = _printable(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'ash; error={kind}; details="{details}"'.encode()


def reason_phrase(text: str) -> bytes:
    return _printable(text).encode()


def _printable(text: str) -> str:
    """What may stand in a head; a text of many lines can't forge another header."""
    return "".join(char if " " <= char <= "~" else " " for char in text)[:_MAX_IN_HEAD]


def length(headers: Iterable[Header]) -> Headers:
    """The header that frames the body in the same way as it came; none if there is no body."""
    given = dict(headers)
    if b"transfer-encoding" in given:
        return [(b"transfer-encoding", b"chunked")]
    return [(b"content-length", given[b"content-length"])] if b"content-length" in given else []
