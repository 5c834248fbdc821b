"""Reads what the CLI says of hooks, for the session's log: those that failed, and why."""

import msgspec
from msgspec import Struct

from ash.protocol import with_whole_characters

# The messages that may tell of one.
HOOK_SUBTYPES = ("hook_response", "informational")
_QUOTED = 500


class _HookMessage(Struct):
    hook_name: str = ""
    outcome: str = "success"
    exit_code: int | None = None
    stderr: str = ""
    tag: str = ""
    content: str = ""


_decode = msgspec.json.Decoder(_HookMessage).decode


def hook_trouble(line: bytes | memoryview) -> str:
    """A line for the log; empty if the hook did well."""
    try:
        message = _decode(with_whole_characters(line))
    except ValueError:
        return ""
    if message.tag == "hook_no_verdict":
        return f"{message.content} The action went on."
    if message.outcome == "success":
        return ""
    said = message.stderr.strip()[:_QUOTED]
    return f"hook {message.hook_name}: {message.outcome} (exit code {message.exit_code}): {said}"
