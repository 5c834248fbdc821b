"""Which requests to the model endpoint are allowed, and the credentials they are sent with."""

import re
from collections.abc import Iterable

import h11

from ash.egress.errors import EgressRefused
from ash.egress.headers import Header, Headers
from ash.errors import BadRequest, ConfigError

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


_API_KEY = b"x-api-key"

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?")

# The proxy itself sets these headers.
_NOT_CUSTOM = {b"accept-encoding", b"connection", b"content-length", b"host", b"transfer-encoding"}

# Names of custom headers whose value is a secret. Other values, such as a team's name, may be
# ordinary words of an answer and are not hidden in it.
_SECRET = re.compile(rb"api-?key|auth|cookie|credential|key$|password|secret|token")


def check_model_call(request: h11.Request) -> None:
    """Raises EgressRefused unless the path is, unescaped and character by character, allowed."""
    path = request.target.partition(b"?")[0]
    if (request.method, path) in _PASS:
        return
    if request.method == b"GET" and _MODEL.fullmatch(path):
        return
    raise EgressRefused(
        f"{request.method.decode()} {path[:200].decode()} is not a model call. Those that pass"
        " are POST /v1/messages, POST /v1/messages/count_tokens and GET /v1/models"
    )


def credential_headers(api_key: str | None, custom: str | None = None) -> Headers:
    """The headers for an API key and for ANTHROPIC_CUSTOM_HEADERS, which take precedence.

    `custom` has one `Name: value` a line. Raises ConfigError; its text contains no value.
    """
    headers = {}
    if api_key:
        headers[_API_KEY] = _value(api_key, "The key for the model endpoint")
    for line in (custom or "").splitlines():
        if line.strip():
            name, value = _custom(line)
            headers[name] = value
    return list(headers.items())


def with_key(headers: Iterable[Header], api_key: str) -> Headers:
    """The daemon's headers with a session's own key in place of the daemon's.

    Other headers, which a gateway may need, stay. Raises BadRequest; its text has no key.
    """
    if not _VALUE.fullmatch(api_key):
        raise BadRequest("The session's API key has characters that no header may have")
    return [*(h for h in headers if h[0] != _API_KEY), (_API_KEY, api_key.encode())]


def secrets(headers: Iterable[Header]) -> list[bytes]:
    """The byte strings in the headers that a sandbox must not see.

    For `Bearer abc` these are the whole value and `abc` alone.
    """
    values = [value for name, value in headers if _SECRET.search(name)]
    return [word for value in values for word in {value, value.split()[-1]}]


def _custom(line: str) -> Header:
    name, colon, value = line.partition(":")
    if not colon or not _NAME.fullmatch(name.strip()):
        raise ConfigError("anthropic_custom_headers must have one `Name: value` a line")
    key = name.strip().lower().encode()
    if key in _NOT_CUSTOM:
        raise ConfigError(f"anthropic_custom_headers must not set {name.strip()}")
    return key, _value(value.strip(), f"anthropic_custom_headers: the value of {name.strip()}")


def _value(text: str, what: str) -> bytes:
    if not _VALUE.fullmatch(text):
        raise ConfigError(f"{what} is empty or has characters that no header may have")
    return text.encode()
