"""The events of the timeline that follow from SDK messages.

They are not stored, as the messages are: `count` says how many there are, and `timeline` makes them
again when somebody asks.
"""

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ash.model import EventType
from ash.sdk_message import NULL, Head, blocks_of, head_of, is_interim, json_object, parent_of

_encode = msgspec.json.encode


class _ToolOutput(Struct):
    stdout: str | UnsetType = UNSET
    stderr: str | UnsetType = UNSET


_decode_output = msgspec.json.Decoder(_ToolOutput).decode


def count(head: Head) -> int:
    """How many events `timeline` makes of the message."""
    match head.type:
        case "assistant":
            return sum(_is_kept(block.type, head) for block in blocks_of(head))
        case "user":
            return sum(block.type == "tool_result" for block in blocks_of(head))
        case "system":
            return int(head.subtype == "init" and bool(head.mcp_servers))
        case "result":
            return int(not is_interim(head))
    return 0


def timeline(raw: bytes) -> list[tuple[EventType, str]]:
    """The type and the data of each event that follows from an SDK message."""
    head = head_of(raw)
    match head.type:
        case "assistant":
            return _of_assistant(head)
        case "user":
            return _of_user(head)
        case "system" if head.subtype == "init" and head.mcp_servers:
            return [("mcp_status", _encode({"servers": head.mcp_servers}).decode())]
        case "result" if not is_interim(head):
            return [("turn_complete", turn_complete(head).decode())]
    return []


def turn_complete(head: Head) -> bytes:
    """What a result says of its turn. A turn that failed has no answer."""
    answer = head.result if succeeded(head) else NULL
    return _encode({"numTurns": head.num_turns, "result": answer})


def succeeded(head: Head) -> bool:
    return not (head.is_error or head.subtype.startswith("error"))


def _is_kept(kind: str, head: Head) -> bool:
    # The CLI makes a message of an error of the endpoint; the turn's error tells of that.
    return kind in {"thinking", "tool_use"} or (kind == "text" and head.error == NULL)


def _of_assistant(head: Head) -> list[tuple[EventType, str]]:
    parent = parent_of(head)
    found: list[tuple[EventType, str]] = []
    for block in blocks_of(head):
        if not _is_kept(block.type, head):
            continue
        match block.type:
            case "text":
                data = json_object(text=block.text, parentToolUseId=parent)
                found.append(("text", data.decode()))
            case "thinking":
                data = json_object(thinking=block.thinking, parentToolUseId=parent)
                found.append(("reasoning", data.decode()))
            case "tool_use":
                call = {"toolName": block.name, "toolId": block.id, "input": block.input}
                data = json_object(**call, parentToolUseId=parent)
                found.append(("tool_start", data.decode()))
    return found


def _of_user(head: Head) -> list[tuple[EventType, str]]:
    parent = parent_of(head)
    found: list[tuple[EventType, str]] = []
    for block in blocks_of(head):
        if block.type == "tool_result":
            row = {
                "toolId": block.tool_use_id,
                **_tool_output(head.tool_use_result),
                "content": block.content,
                "isError": block.is_error,
                "parentToolUseId": parent,
            }
            found.append(("tool_result", json_object(**row).decode()))
    return found


def _tool_output(result: Raw | UnsetType) -> dict[str, str]:
    """The tool's stdout and stderr, if its result separates them."""
    if result is UNSET:
        return {}
    try:
        output = _decode_output(result)
    except msgspec.ValidationError:
        return {}
    found = {"stdout": output.stdout, "stderr": output.stderr}
    return {name: text for name, text in found.items() if text is not UNSET}
