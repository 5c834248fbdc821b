"""Which requests to the model endpoint are allowed."""

import re

import h11

from ash.egress.errors import EgressRefused

# The requests that an agent needs. The key would allow more, which belongs to the key's owner and
# not to this session: files, batches with other sessions' answers, the organisation.
_PASS = {
    (b"POST", b"/v1/messages"),
    (b"POST", b"/v1/messages/count_tokens"),
    (b"GET", b"/v1/models"),
    (b"GET", b"/"),
    (b"HEAD", b"/"),
}

# A model's id as one path segment, but not `.` or `..`.
_MODEL = re.compile(rb"/v1/models/(?!\.+$)[A-Za-z0-9._:@-]+")


def is_message(request: h11.Request) -> bool:
    """Whether the model is to answer, so that a turn depends on it."""
    return request.method == b"POST" and request.target.partition(b"?")[0] == b"/v1/messages"


def check_model_call(request: h11.Request) -> None:
    """Raises EgressRefused unless the path is, unescaped and character by character, allowed.

    No body where none belongs: an endpoint that leaves it unread takes it for the next request on
    the connection, which may be another session's and has the key.
    """
    path = request.target.partition(b"?")[0]
    if request.method != b"POST" and _has_body(request):
        raise EgressRefused(f"A model call by {request.method.decode()} takes no body")
    if (request.method, path) in _PASS:
        return
    if request.method == b"GET" and _MODEL.fullmatch(path):
        return
    raise EgressRefused(
        f"{request.method.decode()} {path[:200].decode()} is not a model call. Those that pass"
        " are POST /v1/messages, POST /v1/messages/count_tokens and GET /v1/models"
    )


def _has_body(request: h11.Request) -> bool:
    """Whether its head announces one; `Content-Length: 0` does not."""
    headers = dict(request.headers)
    return b"transfer-encoding" in headers or int(headers.get(b"content-length", b"0")) > 0
