"""The Messages API as the stub model speaks it: what a request asks, what a response holds."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

from bridge import script

# A path in the CLI's own description of where it runs.
_CWD = re.compile(r"[Ww]orking directory: (/[^\n]*)")
_SECRETS = ("x-api-key", "authorization", "cookie", "proxy-authorization")
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Request(Struct):
    """One recorded request. `headers` have lower-case names; the repr leaves the keys out."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    def __repr__(self) -> str:
        shown = {name: "***" if name in _SECRETS else v for name, v in self.headers.items()}
        return f"Request({self.method} {self.path} headers={shown} body={self.body})"

    @property
    def texts(self) -> list[str]:
        """All texts of the user in this conversation, in order; the CLI's own are left out."""
        return [text for text in map(_user_text, self.blocks("user")) if text is not None]

    @property
    def text(self) -> str:
        """The user's last text."""
        return self.texts[-1] if self.texts else ""

    @property
    def tools(self) -> list[str]:
        """The names of the tools that the model may call."""
        return [tool["name"] for tool in self.body.get("tools") or () if "name" in tool]

    @property
    def tool_result(self) -> dict[str, Any] | None:
        """The result that this request brings, if it is a tool's turn and not the user's."""
        last: dict[str, Any] | None = None
        for block in self.blocks("user"):
            if block.get("type") == "tool_result":
                last = block
            elif _user_text(block) is not None:
                last = None
        return last

    @property
    def cwd(self) -> str | None:
        """Where the CLI runs, as it has told the model."""
        system = self.body.get("system") or ()
        told = [{"text": system}] if isinstance(system, str) else list(system)
        told += [*self.blocks("system"), *self.blocks("user")]
        for block in told:
            if match := _CWD.search(str(block.get("text", ""))):
                return match[1].strip()
        return None

    def blocks(self, role: str) -> Iterator[dict[str, Any]]:
        """The content blocks of that role's messages; a plain string counts as a text block."""
        for message in self.body.get("messages") or ():
            if message.get("role") == role:
                content = message.get("content") or ()
                yield from [text_block(content)] if isinstance(content, str) else content


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _user_text(block: dict[str, Any]) -> str | None:
    if block.get("type") != "text":
        return None
    text: str = block.get("text", "")
    return text if script.said_by_user(text) else None


def tool_output(result: dict[str, Any]) -> str:
    """The text of a tool_result block."""
    content = result.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")


class Turn:
    """One model answer as the API would tell it: in events, or whole."""

    def __init__(self, request: Request, answer: script.Say | script.Use) -> None:
        self._model = str(request.body.get("model", "stub"))
        self._answer = answer
        self._blocks = list(_content(answer))
        self._usage = {
            "input_tokens": script.tokens(*request.texts),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": _cost(answer),
        }
        self._id = f"msg_stub_{uuid4().hex[:20]}"

    def whole(self) -> bytes:
        """The body of an answer that is not streamed."""
        message = self._message(self._blocks, self._stop_reason, self._usage)
        return msgspec.json.encode(message)

    def events(self) -> Iterator[tuple[bytes, float]]:
        """What to send together, and the seconds to wait after it."""
        begun = {**self._usage, "output_tokens": 1}
        ready = sse({"type": "message_start", "message": self._message([], None, begun)})
        for index, block in enumerate(self._blocks):
            ready += sse(_at(index, "content_block_start", content_block=_empty(block)))
            for delta, pause in _deltas(block, self._answer):
                ready += sse(_at(index, "content_block_delta", delta=delta))
                if pause:
                    yield ready, pause
                    ready = b""
            ready += sse(_at(index, "content_block_stop"))
        stop = {"stop_reason": self._stop_reason, "stop_sequence": None}
        ready += sse({"type": "message_delta", "delta": stop, "usage": self._usage})
        yield ready + sse({"type": "message_stop"}), 0.0

    @property
    def _stop_reason(self) -> str:
        return "tool_use" if isinstance(self._answer, script.Use) else "end_turn"

    def _message(
        self, content: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, int]
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": usage,
        }


def sse(event: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(event))


def error_body(code: int, text: str) -> bytes:
    """The body that the API sends with an HTTP error."""
    kind = _KINDS.get(code, "api_error" if code >= 500 else "invalid_request_error")
    request_id = f"req_stub_{uuid4().hex[:20]}"
    error = {"type": kind, "message": text}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


def _content(answer: script.Say | script.Use) -> Iterator[dict[str, Any]]:
    if isinstance(answer, script.Use):
        identity = f"toolu_stub_{uuid4().hex[:20]}"
        yield {"type": "tool_use", "id": identity, "name": answer.tool, "input": answer.input}
        return
    if answer.thinking:
        yield {"type": "thinking", "thinking": answer.thinking, "signature": "c3R1Yg=="}
    yield text_block(answer.text)


def _at(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, **fields}


def _empty(block: dict[str, Any]) -> dict[str, Any]:
    """The block as content_block_start has it, before its deltas."""
    if block["type"] == "tool_use":
        return {**block, "input": {}}
    return {name: value if name == "type" else "" for name, value in block.items()}


def _deltas(
    block: dict[str, Any], answer: script.Say | script.Use
) -> Iterator[tuple[dict[str, str], float]]:
    if block["type"] == "tool_use":
        partial = json.dumps(block["input"], ensure_ascii=False)
        yield {"type": "input_json_delta", "partial_json": partial}, 0.0
    elif block["type"] == "thinking":
        yield {"type": "thinking_delta", "thinking": block["thinking"]}, 0.0
        yield {"type": "signature_delta", "signature": block["signature"]}, 0.0
    elif isinstance(answer, script.Say):
        for piece in answer.pieces:
            yield {"type": "text_delta", "text": piece}, answer.pause


def _cost(answer: script.Say | script.Use) -> int:
    if isinstance(answer, script.Use):
        return script.tokens(*answer.input.values())
    return script.tokens(answer.thinking, answer.text)
