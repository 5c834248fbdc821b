"""Reads requests and writes responses of the Messages API, for the stub model."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from ash import script
from ash.model_turn import ModelTurn, error_type, new_id, text_block

# How the CLI reports to the model that a command in the background has ended.
_TASK = re.compile(r'<summary>Background command "(.*)" (?:completed|failed)', re.DOTALL)
# The working directory in the CLI's system prompt.
_CWD = re.compile(r"[Ww]orking directory: (/[^\n]*)")
_SECRETS = ("x-api-key", "authorization", "cookie", "proxy-authorization")
_encode = msgspec.json.encode


class _Block(Struct):
    type: str = ""
    text: str = ""
    content: "str | list[_Block] | None" = None


class _Message(Struct):
    role: str
    content: str | list[_Block]


class _Tool(Struct):
    name: str = ""


class _Body(Struct):
    """The fields of a request's body that are checked."""

    messages: list[_Message]
    model: str = ""
    stream: bool = False
    system: str | list[_Block] = ""
    tools: list[_Tool] = []


class Request(Struct):
    """One recorded request. `headers` have lower-case names; its repr hides secrets."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    def __repr__(self) -> str:
        shown = {name: "***" if name in _SECRETS else v for name, v in self.headers.items()}
        return f"Request({self.method} {self.path} headers={shown} body={self.body})"

    def check(self) -> None:
        """Raises msgspec.ValidationError if the body does not fit the Messages API."""
        msgspec.convert(self.body, _Body)

    @property
    def texts(self) -> list[str]:
        """All texts of the user in this conversation, in order; the CLI's own are left out."""
        texts = [_user_text(block) for block in self.blocks("user")]
        return [text for text in texts if text is not None]

    @property
    def text(self) -> str:
        """The user's last text."""
        return self.texts[-1] if self.texts else ""

    @property
    def tools(self) -> list[str]:
        """The names of the tools that the model may call."""
        return [tool["name"] for tool in self.body.get("tools", ()) if "name" in tool]

    @property
    def tool_result(self) -> dict[str, Any] | None:
        """The tool result to answer, or None if the user has sent a text after it."""
        last: dict[str, Any] | None = None
        for block in self.blocks("user"):
            if block.get("type") == "tool_result":
                last = block
            elif _user_text(block) is not None or _task_of(block) is not None:
                last = None
        return last

    @property
    def ended_task(self) -> str | None:
        """The task in the background whose end is to be answered, as the CLI describes it."""
        last = None
        for block in self.blocks("user"):
            if block.get("type") == "tool_result" or _user_text(block) is not None:
                last = None
            elif (task := _task_of(block)) is not None:
                last = task
        return last

    @property
    def cwd(self) -> str | None:
        """The CLI's working directory, as the system prompt says it."""
        system = self.body.get("system", "")
        told = [text_block(system)] if isinstance(system, str) else system
        for block in [*told, *self.blocks("system"), *self.blocks("user")]:
            if match := _CWD.search(str(block.get("text", ""))):
                return match[1].strip()
        return None

    def blocks(self, role: str) -> Iterator[dict[str, Any]]:
        """The content blocks of that role's messages; a plain string counts as a text block."""
        for message in self.body.get("messages", ()):
            if message.get("role") == role:
                content = message["content"]
                yield from [text_block(content)] if isinstance(content, str) else _split(content)


def _split(content: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Takes apart user messages that the CLI has joined because no answer came between them.

    It joins them into one, and adds a line feed to each text but the last.
    """
    for block in content[:-1]:
        joined = block.get("type") == "text"
        yield {**block, "text": block["text"].removesuffix("\n")} if joined else block
    yield from content[-1:]


def _task_of(block: dict[str, Any]) -> str | None:
    """The task that the CLI's own text reports as ended; None if it is another text."""
    found = _TASK.search(str(block.get("text", "")))
    return found and found[1]


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


def _event(event: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), _encode(event))


def parts(turn: ModelTurn) -> Iterator[tuple[bytes, float]]:
    """The turn's event stream in parts to send, each with the seconds to wait after it."""
    ready = []
    for event, pause in turn.events():
        ready.append(_event(event))
        if pause:
            yield b"".join(ready), pause
            ready.clear()
    yield b"".join(ready), 0.0


def half(turn: ModelTurn) -> Iterator[tuple[bytes, float]]:
    """The turn's event stream up to its last delta, in one part."""
    ready = [event for event, _ in turn.events()]
    last = max(at for at, event in enumerate(ready) if event["type"] == "content_block_delta")
    yield b"".join(_event(event) for event in ready[: last + 1]), 0.0


def error_body(code: int, text: str) -> bytes:
    """The body of an HTTP error, in the API's form."""
    error = {"type": error_type(code), "message": text}
    return _encode({"type": "error", "error": error, "request_id": new_id("req")})
