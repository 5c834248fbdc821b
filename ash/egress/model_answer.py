"""Tells an answer of a model endpoint from that of something else, by its head and its body."""

import re
from collections.abc import Iterable
from urllib.parse import urljoin, urlsplit

from ash.egress.headers import Header

# Of an event stream only the end is kept: it holds the last event, or the error that it ends with.
TAIL = 4096
# A whole message may be longer. What its first part does not show is not looked for.
_HEAD = 256 * 1024

_MESSAGE = re.compile(rb'"type"\s*:\s*"message"')


def media_type(headers: Iterable[Header]) -> str:
    """The content type without its parameters; empty if there is none."""
    given = _first(headers, b"content-type")
    return given.partition(";")[0].strip().lower()


def is_of_api(media: str) -> bool:
    """Whether a model endpoint answers in this type; an answer without a type is let pass."""
    return not media or media.endswith("json") or is_stream(media)


def is_stream(media: str) -> bool:
    return media == "text/event-stream"


def redirect_target(headers: Iterable[Header], endpoint: str, path: str) -> str:
    """Where a redirect of a call to `path` leads, as a base URL; empty if it leads nowhere.

    Without user, password and query, which may be secret.
    """
    location = _first(headers, b"location")
    if not location:
        return ""
    try:
        to = urlsplit(urljoin(endpoint + path, location))
    except ValueError:
        return ""
    host = to.netloc.rpartition("@")[2]
    return f"{to.scheme}://{host}{to.path.removesuffix(path)}".rstrip("/")


class ModelAnswer:
    """The body of an answer: as much of it as shows whether the model has ended its message."""

    def __init__(self) -> None:
        self.is_json = False
        self._kept = bytearray()

    def feed(self, chunk: bytes) -> None:
        if not self._kept:
            self.is_json = chunk.lstrip().startswith(b"{")
        if self.is_json:
            self._kept += chunk[: _HEAD - len(self._kept)]
        else:
            self._kept += chunk
            del self._kept[:-TAIL]

    @property
    def is_whole(self) -> bool:
        if self.is_json:
            return _MESSAGE.search(self._kept) is not None
        # Some gateways leave out the very last event, and the CLI does not miss it.
        return b"message_stop" in self._kept or b"message_delta" in self._kept

    @property
    def last(self) -> bytes:
        """The JSON in which an error would be: that of a stream's last event, or all."""
        kept = bytes(self._kept)
        return kept if self.is_json else kept.rpartition(b"data:")[2]


def _first(headers: Iterable[Header], wanted: bytes) -> str:
    values = (value for name, value in headers if name.lower() == wanted)
    return next(values, b"").decode("latin-1")
