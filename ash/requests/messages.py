from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from ash.errors import BadRequest
from ash.protocol import Query
from ash.requests.parsing import Body, decode, explain, one_of
from ash.sessions.live_session import WhenBusy

MAX_CONTENT = 500_000
MAX_BLOCKS = 20
# Of the body all in all.
MAX_BODY = 50 * 1024 * 1024


class Thinking(Body, omit_defaults=True):
    type: Annotated[str, one_of("adaptive", "enabled", "disabled")]
    budget_tokens: Annotated[int, Meta(ge=1)] | None = None


class OutputFormat(Body):
    type: Annotated[str, one_of("json_schema")]
    schema: dict[str, Any]


class SendMessage(Body):
    """`content` is a string or a list of content blocks, kept as it was written."""

    content: Raw
    include_partial_messages: bool = False
    model: str | None = None
    max_turns: Annotated[int, Meta(ge=1)] | None = None
    max_budget_usd: Annotated[float, Meta(gt=0)] | None = None
    effort: Annotated[str, one_of("low", "medium", "high", "max")] | None = None
    thinking: Thinking | None = None
    output_format: OutputFormat | None = None


class Options(Struct, rename="camel"):
    """What is done about a busy session, a reader who leaves, and one that is not active."""

    when_busy: WhenBusy = "refuse"
    on_disconnect: Literal["continue", "interrupt"] = "continue"
    resume: Literal["no", "auto"] | None = None


class _Block(Struct):
    type: Annotated[str, one_of("text", "image", "document")]


_message = msgspec.json.Decoder(SendMessage)
_text = msgspec.json.Decoder(str)
_blocks = msgspec.json.Decoder(list[_Block])


def options(given: Mapping[str, Any]) -> Options:
    """Raises BadRequest for a word that is none of an option's."""
    try:
        return msgspec.convert(given, Options)
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error)) from None


def message_query(session_id: str, body: bytes) -> Query:
    """Raises BadRequest, naming the field."""
    wanted = decode(body, _message)
    return Query(
        prompt=check_content(wanted.content),
        session_id=session_id,
        include_partial_messages=wanted.include_partial_messages,
        model=wanted.model,
        max_turns=wanted.max_turns,
        max_budget_usd=wanted.max_budget_usd,
        effort=wanted.effort,
        thinking=msgspec.to_builtins(wanted.thinking),
        output_format=msgspec.to_builtins(wanted.output_format),
    )


def check_content(content: Raw) -> Raw:
    """The content on one line. Raises BadRequest if it is not what a message may hold."""
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
    # The bridge reads lines. In JSON a line feed stands only between tokens, as a blank does.
    return content if b"\n" not in data else Raw(data.replace(b"\n", b" "))
