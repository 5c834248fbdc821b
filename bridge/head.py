"""The few fields of a message that the bridge looks at; the rest is not even parsed."""

from typing import Any

import msgspec
from msgspec import Struct

from ash.protocol import with_whole_characters


class MessageHead(Struct):
    """`Any`, because a shape that we do not know is passed on as it is."""

    type: Any = None
    subtype: Any = None
    state: Any = None
    sdk_host_only: Any = None


_decode = msgspec.json.Decoder(MessageHead).decode


def read_head(line: bytes | memoryview) -> MessageHead:
    """Raises ValueError if the line is not a JSON object."""
    try:
        return _decode(line)
    except msgspec.DecodeError:
        return _decode(with_whole_characters(line))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
