"""The fields of SDK messages that are read. Values stay `msgspec.Raw`, as the CLI wrote them."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from ash.failure_words import text_of
from ash.protocol import subagents_run, with_whole_characters

NULL = Raw(b"null")


class _Delta(Struct):
    # UNSET, not None: msgspec treats a union of Raw and null as null.
    text: Raw | UnsetType = UNSET
    thinking: Raw | UnsetType = UNSET


class _StreamEvent(Struct):
    delta: _Delta | None = None


class Block(Struct):
    type: str = ""
    id: Raw = NULL
    name: Raw = NULL
    input: Raw = NULL
    text: Raw = NULL
    thinking: Raw = NULL
    tool_use_id: Raw = NULL
    content: Raw = NULL
    is_error: bool | None = None


class _Body(Struct):
    content: list[Block] | str = ""


class Head(Struct):
    type: str = ""
    subtype: str = ""
    session_id: Any = None
    event: _StreamEvent | None = None
    message: _Body | None = None
    parent_tool_use_id: Raw = NULL
    tool_use_result: Raw | UnsetType = UNSET
    num_turns: int = 0
    result: Raw = NULL
    is_error: bool = False
    errors: list[Any] = field(default_factory=list)
    subagent_stats: Raw = NULL
    mcp_servers: list[Any] = field(default_factory=list)
    # Of an assistant's message that the CLI made of an error of the model endpoint.
    error: Raw = NULL
    # Of an answer that was cut, and is asked for again.
    abandoned_blocks: Raw = NULL


class _Unusual(Struct):
    """The fields that a turn's end depends on, of any type and size."""

    type: Raw = NULL
    subtype: Raw = NULL
    is_error: Raw = NULL
    result: Raw = NULL


_decode_head = msgspec.json.Decoder(Head).decode
_decode_unusual = msgspec.json.Decoder(_Unusual).decode


def head_of(raw: bytes | memoryview) -> Head:
    try:
        try:
            return _decode_head(raw)
        except msgspec.DecodeError:
            return _decode_head(with_whole_characters(raw))
    except (msgspec.DecodeError, RecursionError):
        return _unusual_head_of(raw)


def _unusual_head_of(raw: bytes | memoryview) -> Head:
    """The end of a turn is an end whatever its other fields are; all else is passed on alone."""
    try:
        head = _decode_unusual(with_whole_characters(raw))
    except (msgspec.DecodeError, RecursionError):
        return Head()
    if text_of(head.type) != "result":
        return Head()
    failed = head.is_error != Raw(b"false")
    return Head("result", text_of(head.subtype), is_error=failed, result=head.result)


def blocks_of(head: Head) -> list[Block]:
    """The content blocks of a message; none if its content is a text."""
    content = head.message.content if head.message else ""
    return content if isinstance(content, list) else []


def parent_of(head: Head) -> Raw | None:
    """The id of the call that started the subagent whose message this is."""
    return None if head.parent_tool_use_id == NULL else head.parent_tool_use_id


def is_interim(head: Head) -> bool:
    """Whether a turn goes on after this result, because subagents have still to report."""
    return subagents_run(head.subagent_stats)


def json_object(**values: Any) -> bytes:
    """A JSON object of the values that are not None, each with its original bytes."""
    return msgspec.json.encode({name: value for name, value in values.items() if value is not None})
