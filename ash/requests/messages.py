from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Raw, Struct, structs

from ash.errors import BadRequest
from ash.protocol import Query
from ash.requests.parsing import decode, explain
from ash.requests.unknown_fields import refuse_mistyped
from ash.session_options import given, with_options
from ash.sessions.session_entry import WhenBusy
from ash.shapes import Body, one_of

MAX_CONTENT = 500_000
MAX_BLOCKS = 20
# Bytes of the whole body.
MAX_BODY = 50 * 1024 * 1024
_CHECKED_FOR_TYPOS = 1024 * 1024
# Of a message: a document of many pages, say.
MAX_PARTS = 200_000


@with_options("turn")
class SendMessage(Body):
    """`content` is a string or a list of content blocks. Its JSON is kept as it was written."""

    content: Raw


class Options(Struct, rename="camel"):
    """What to do if the session is busy, if the client leaves, if the session is not active."""

    when_busy: WhenBusy = "refuse"
    on_disconnect: Literal["continue", "interrupt"] = "continue"
    resume: Literal["no", "auto"] | None = None


class _Block(Struct):
    type: Annotated[str, one_of("text", "image", "document")]


_OPTIONS = [each.encode_name for each in structs.fields(Options)]

_message = msgspec.json.Decoder(SendMessage)
_text = msgspec.json.Decoder(str)
_blocks = msgspec.json.Decoder(list[_Block])


def options(asked: Mapping[str, Any]) -> Options:
    """Raises BadRequest for a word that an option does not know, and for a mistyped option."""
    refuse_mistyped(asked, _OPTIONS)
    try:
        return msgspec.convert(asked, Options)
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error)) from None


def message_query(session_id: str, body: bytes) -> Query:
    """Raises BadRequest, naming the field."""
    # The look for typos reads the whole body again, which the loop has no time for.
    wanted = decode(
        body, _message, typos=len(body) <= _CHECKED_FOR_TYPOS, mend=True, parts=MAX_PARTS
    )
    prompt = check_content(wanted.content)
    return Query(prompt=prompt, session_id=session_id, **given(wanted, "turn"))


def check_content(content: Raw) -> Raw:
    """The content as one line. Raises BadRequest if a message can't have this content."""
    data = bytes(content)
    try:
        str(data, "utf-8")
        if data.startswith(b"["):
            count = len(_blocks.decode(data))
            if not 1 <= count <= MAX_BLOCKS:
                raise BadRequest(f"content: 1 to {MAX_BLOCKS} blocks are allowed, not {count}")
        elif len(text := _text.decode(data)) > MAX_CONTENT:
            raise BadRequest(
                f"content: a string of up to {MAX_CONTENT} characters is allowed, not {len(text)}"
            )
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error, "content")) from None
    except UnicodeDecodeError:
        raise BadRequest("content: this is not UTF-8") from None
    # The bridge reads lines. In JSON a line feed can only stand between tokens, like a blank.
    return content if b"\n" not in data else Raw(data.replace(b"\n", b" "))
