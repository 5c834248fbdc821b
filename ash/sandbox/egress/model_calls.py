"""Which requests to the model endpoint pass."""

import re

import h11

from ash.sandbox.egress.errors import EgressRefused

# What an agent needs. Everything else that the key opens belongs to the key's owner and not to
# this session: files, batches with other sessions' answers in them, the organisation.
_PASS = {
    (b"POST", b"/v1/messages"),
    (b"POST", b"/v1/messages/count_tokens"),
    (b"GET", b"/v1/models"),
    (b"GET", b"/"),
    (b"HEAD", b"/"),
}

# One segment, and none that means another place.
_MODEL = re.compile(rb"/v1/models/(?!\.+$)[A-Za-z0-9._:@-]+")


def check(request: h11.Request) -> None:
    """Raises Refused. The path is compared as it is: what is escaped or doubled is not ours."""
    path = request.target.partition(b"?")[0]
    if (request.method, path) in _PASS:
        return
    if request.method == b"GET" and _MODEL.fullmatch(path):
        return
    raise EgressRefused(
        f"{request.method.decode()} {path[:200].decode()} is not a model call. Those that pass"
        " are POST /v1/messages, POST /v1/messages/count_tokens and GET /v1/models"
    )
