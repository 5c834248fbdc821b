"""The credentials that model calls are sent with; no sandbox sees them."""

import re
from collections.abc import Iterable, Mapping, Sequence

from ash.egress.headers import Header, Headers
from ash.errors import BadRequest, ConfigError

# The variables that hold a credential. If several are set, the first one is used, as in the CLI.
CREDENTIALS = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
_, _API_KEY, _OAUTH_TOKEN = CREDENTIALS

# The endpoint takes a subscription's token only from calls that name this beta.
OAUTH_BETA = (b"anthropic-beta", b"oauth-2025-04-20")

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?")

# The proxy itself sets these headers.
_NOT_CUSTOM = {b"accept-encoding", b"connection", b"content-length", b"host", b"transfer-encoding"}

# Names of custom headers whose value is a secret. Other values, such as a team's name, may be
# ordinary words of an answer and are not hidden in it.
_SECRET = re.compile(rb"api-?key|auth|cookie|credential|key$|password|secret|token")


def in_use(given: Mapping[str, str]) -> str | None:
    """The name of the credential that is used of those given; None if there is none."""
    return next((name for name in CREDENTIALS if given.get(name)), None)


def credential_headers(given: Mapping[str, str], custom: str | None = None) -> Headers:
    """The headers of a credential and of ANTHROPIC_CUSTOM_HEADERS, which take precedence.

    `given` has credentials by the names of their variables. Raises ConfigError; its text contains
    no value.
    """
    headers: Headers = []
    if name := in_use(given):
        if not _VALUE.fullmatch(given[name]):
            raise ConfigError(f"{name} is empty or has characters that no header may have")
        headers = _headers_of(name, given[name])
    return _with(headers, custom_headers(custom))


def custom_headers(text: str | None) -> Headers:
    """The headers of ANTHROPIC_CUSTOM_HEADERS, one `Name: value` a line. Raises ConfigError."""
    return list(dict(_custom(line) for line in (text or "").splitlines() if line.strip()).items())


def with_own(custom: Sequence[Header], given: Mapping[str, str]) -> Headers:
    """The daemon's custom headers, which a gateway may need, with a session's own credential.

    Raises BadRequest; its text contains no value.
    """
    name = in_use(given)
    assert name is not None
    if not _VALUE.fullmatch(given[name]):
        raise BadRequest(f"The session's {name} has characters that no header may have")
    return _with(custom, _headers_of(name, given[name]))


def secrets(headers: Iterable[Header]) -> list[bytes]:
    """The byte strings in the headers that a sandbox must not see.

    For `Bearer abc` these are the whole value and `abc` alone.
    """
    values = [value for name, value in headers if _SECRET.search(name)]
    return [word for value in values for word in {value, value.split()[-1]}]


def _headers_of(name: str, value: str) -> Headers:
    if name == _API_KEY:
        return [(b"x-api-key", value.encode())]
    bearer = (b"authorization", b"Bearer " + value.encode())
    return [bearer, OAUTH_BETA] if name == _OAUTH_TOKEN else [bearer]


def _with(headers: Sequence[Header], more: Sequence[Header]) -> Headers:
    """All of them; of two with one name the one in `more`."""
    return list({**dict(headers), **dict(more)}.items())


def _custom(line: str) -> Header:
    name, colon, value = (part.strip() for part in line.partition(":"))
    if not colon or not _NAME.fullmatch(name):
        raise ConfigError("anthropic_custom_headers must have one `Name: value` a line")
    key = name.lower().encode()
    if key in _NOT_CUSTOM:
        raise ConfigError(f"anthropic_custom_headers must not set {name}")
    if not _VALUE.fullmatch(value):
        raise ConfigError(
            f"anthropic_custom_headers: the value of {name} is empty or has characters that no"
            " header may have"
        )
    return key, value.encode()
