"""Says why a turn has failed, from what the CLI says in its `result`."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

_decode = msgspec.json.Decoder(str).decode

# It names the address of our own proxy inside the sandbox.
_GATEWAY = re.compile(r" If it persists, check your inference gateway \([^)]*\)\.")

MAX_TEXT = 10_000

# What a failure is called that comes without any text.
_FAILURES = {
    "": "The agent failed, and does not say why",
    "success": "The agent failed, and does not say why",
    "error_during_execution": "The agent stopped in the middle of its turn, and does not say why",
    "error_max_structured_output_retries": (
        "The agent's answers did not fit outputFormat, however often it tried"
    ),
}


def failure_text(subtype: str, errors: Sequence[Any], result: Raw) -> str:
    """The CLI's own text: in `errors` if the CLI failed, in `result` if the endpoint did.

    What is longer than MAX_TEXT is cut; the message has it all.
    """
    if texts := [text for text in errors if isinstance(text, str) and text]:
        return "; ".join(texts)[:MAX_TEXT]
    text = _GATEWAY.sub("", text_of(result)[:MAX_TEXT])
    return (
        text or _FAILURES.get(subtype) or f"The agent failed, and says only: {subtype[:MAX_TEXT]}"
    )


def text_of(raw: Raw) -> str:
    """The text that the JSON is; empty if it is something else."""
    try:
        return _decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return ""
