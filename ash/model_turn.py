"""One answer of a model in the shapes of the Messages API: as a stream of events, or whole."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec

from ash import script

# The CLI does not check a thinking block's signature, so any text will do.
_SIGNATURE = "c2NyaXB0ZWQ="
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ModelTurn:
    """An answer as a message. `blocks` is its content, `usage` its tokens."""

    def __init__(self, model: str, answer: script.Say | script.Use, input_tokens: int) -> None:
        self.id = new_id("msg")
        self.model = model
        self.blocks = [*_content(answer)]
        self.usage = {
            "input_tokens": input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": _output_tokens(answer),
        }
        self._answer = answer

    @property
    def stop_reason(self) -> str:
        return "tool_use" if isinstance(self._answer, script.Use) else "end_turn"

    def whole(self) -> dict[str, Any]:
        """The response to a request without `stream`."""
        return self._message(self.blocks, self.stop_reason, self.usage)

    def begun(self, *content: dict[str, Any]) -> dict[str, Any]:
        """The message as it is while it is being streamed."""
        return self._message([*content], None, {**self.usage, "output_tokens": 1})

    def events(self) -> Iterator[tuple[dict[str, Any], float]]:
        """The events of the stream in order, each with the seconds to wait after it."""
        yield {"type": "message_start", "message": self.begun()}, 0.0
        for index, block in enumerate(self.blocks):
            yield _at(index, "content_block_start", content_block=_empty(block)), 0.0
            for delta, pause in self._deltas(block):
                yield _at(index, "content_block_delta", delta=delta), pause
            yield _at(index, "content_block_stop"), 0.0
        stop = {"stop_reason": self.stop_reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": stop, "usage": self.usage}, 0.0
        yield {"type": "message_stop"}, 0.0

    def _message(
        self, content: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, int]
    ) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": usage,
        }

    def _deltas(self, block: dict[str, Any]) -> Iterator[tuple[dict[str, str], float]]:
        if isinstance(self._answer, script.Use):
            partial = msgspec.json.encode(block["input"]).decode()
            yield {"type": "input_json_delta", "partial_json": partial}, 0.0
        elif block["type"] == "thinking":
            yield {"type": "thinking_delta", "thinking": block["thinking"]}, 0.0
            yield {"type": "signature_delta", "signature": block["signature"]}, 0.0
        else:
            for piece in self._answer.pieces:
                yield {"type": "text_delta", "text": piece}, self._answer.pause


def new_id(kind: str) -> str:
    """An id in the API's form that shows that no model made it: `msg_stub_…`."""
    return f"{kind}_stub_{uuid4().hex[:20]}"


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def error_type(code: int) -> str:
    """The API's name for an error with that HTTP status."""
    return _ERROR_TYPES.get(code, "api_error" if code >= 500 else "invalid_request_error")


def _content(answer: script.Say | script.Use) -> Iterator[dict[str, Any]]:
    if isinstance(answer, script.Use):
        call = {"id": new_id("toolu"), "name": answer.tool, "input": answer.input}
        yield {"type": "tool_use", **call}
        return
    if answer.thinking:
        yield {"type": "thinking", "thinking": answer.thinking, "signature": _SIGNATURE}
    yield text_block(answer.text)


def _empty(block: dict[str, Any]) -> dict[str, Any]:
    """The block as `content_block_start` shows it, before its deltas."""
    if block["type"] == "tool_use":
        return {**block, "input": {}}
    return {name: value if name == "type" else "" for name, value in block.items()}


def _at(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, **fields}


def _output_tokens(answer: script.Say | script.Use) -> int:
    if isinstance(answer, script.Use):
        return script.tokens(*map(str, answer.input.values()))
    return script.tokens(answer.thinking, answer.text)
