"""Prints a turn: its text on stdout with remarks on stderr, or its frames as JSON lines."""

import json
import sys
from collections.abc import Iterable
from typing import Any

import click
import msgspec

from ash.cli.output import dim, one_line, warn, write
from ash.client import Event
from ash.client.answer import text_of

# A tool call is cut to this length, so that it takes about one line of a terminal.
_TOOL_LINE = 100


class TurnOutcome:
    """Finds out, from a turn's frames, how it ended.

    A turn ends well if there is no `error` frame and no failed result, and the reason of its
    `done`, if any, is `completed`.
    """

    def __init__(self) -> None:
        self.done = False
        self.reason = ""
        self.error = ""
        self._detail = ""
        self._words = ""
        self._result = ""

    def see(self, frame: Event, data: Any) -> None:
        match frame.event:
            case "done":
                self.done = True
                self.reason = data.get("reason") or "completed"
                if detail := data.get("detail"):
                    # The engine's own words say which limit it was.
                    self._detail = self._words or detail
                # Other servers that speak this API send no `error` frame for a failed result.
                if self.reason == "completed":
                    self.error = self.error or self._result
            case "error":
                self.error = str(data.get("error"))
            case "message" if data.get("type") == "result" and data.get("is_error"):
                self._words = "; ".join(str(text) for text in data.get("errors") or ())
                self._result = self._words or str(data.get("result") or data.get("subtype"))

    @property
    def well(self) -> bool:
        return self.done and self.reason == "completed" and not self.error

    def explain(self) -> None:
        if self.error:
            click.echo(f"error: {one_line(self.error)}", err=True)
        if self.reason not in {"", "completed", "error"}:
            more = f" ({self._detail})" if self._detail else ""
            click.echo(f"the turn ended early: {self.reason}{more}", err=True)


class TextPrinter:
    """Prints the agent's text from the deltas, or from the message if no deltas came.

    What is printed can't be taken back. When an answer broke off and comes again, a terminal shows
    it anew. Elsewhere the part that is there already is left out; if the answer comes in other
    words, all of it is printed on a new line.
    """

    def __init__(self) -> None:
        self._outcome = TurnOutcome()
        self._streamed = False
        self._missed = False
        self._said: list[str] = []
        self._taken_back = ""
        self._in_line = False

    def print(self, frames: Iterable[Event]) -> bool:
        """Prints the frames of one turn; returns whether it ended well."""
        try:
            for frame in frames:
                data = frame.json()
                self._outcome.see(frame, data)
                self._show(frame.event, data)
                if self._outcome.done:
                    break
        finally:
            self._end_line()
        self._outcome.explain()
        return self._outcome.well

    def _show(self, event: str, data: Any) -> None:
        match event:
            case "text_delta" if not (self._missed or data.get("parentToolUseId")):
                self._streamed = True
                self._say(data["delta"])
            case "message" if data.get("type") == "assistant" and data.get("error"):
                # The engine's own text for an error, which has a frame of its own.
                self._end_line()
            case "message" if data.get("type") == "assistant" and not data.get(
                "parent_tool_use_id"
            ):
                self._show_whole(data)
            case "retry":
                if data.get("discard") and not data.get("parentToolUseId"):
                    self._take_back()
                dim(_retry(data))
            case "gap":
                self._end_line()
                dim(f"… frames {data['requested']} to {data['earliest'] - 1} are no longer there")
                # Deltas were lost, so the message that follows is printed completely.
                self._begin_anew()
                self._missed = True
            case "mcp_status":
                self._end_line()
                _print_missing_servers(data["servers"])
            case "recovered":
                self._end_line()
                warn(str(data.get("warning")))
            case "tool_use":
                self._end_line()
                call = f"{data.get('name')} {json.dumps(data.get('input'), ensure_ascii=False)}"
                dim(f"→ {call}"[:_TOOL_LINE])

    def _show_whole(self, message: Any) -> None:
        text = text_of(message)
        if not text:
            return
        if not self._streamed:
            self._say(text)
        if self._taken_back:
            # The new answer is shorter than what was printed of the first one.
            self._end_line()
            self._write("".join(self._said))
        self._begin_anew()
        self._end_line()

    def _begin_anew(self) -> None:
        self._streamed = self._missed = False
        self._said, self._taken_back = [], ""

    def _take_back(self) -> None:
        half = "".join(self._said)
        self._begin_anew()
        if sys.stdout.isatty():
            self._end_line()
        else:
            self._taken_back = half

    def _say(self, text: str) -> None:
        """Prints the next part of an answer, unless it is printed already."""
        self._said.append(text)
        if not self._taken_back:
            self._write(text)
            return
        said, half = "".join(self._said), self._taken_back
        if len(said) < len(half) and half.startswith(said):
            return
        self._taken_back = ""
        if said.startswith(half):
            self._write(said.removeprefix(half))
        else:
            self._end_line()
            self._write(said)

    def _write(self, text: str) -> None:
        write(text)
        if text:
            self._in_line = not text.endswith("\n")

    def _end_line(self) -> None:
        if self._in_line:
            write("\n")
            self._in_line = False


def _retry(data: Any) -> str:
    """What a `retry` frame says, on one line."""
    text = f"… {one_line(data['error'])}"
    if data.get("retryInMs") is not None:
        text += f"; try {data['attempt'] + 1} of {data['of'] + 1} in {data['retryInMs'] / 1000:g} s"
    return f"{text}; the answer begins again" if data.get("discard") else text


def _print_missing_servers(servers: list[dict[str, str]]) -> None:
    for server in servers:
        if server["status"] != "connected":
            why = f": {one_line(server['error'])}" if "error" in server else ""
            dim(f"MCP server {server['name']} is {server['status']}{why}")


def print_frames(frames: Iterable[Event]) -> bool:
    """Prints each frame as `{"event", "data", "id"?}`; returns whether the turn ended well."""
    outcome = TurnOutcome()
    for frame in frames:
        outcome.see(frame, frame.json())
        line: dict[str, Any] = {"event": frame.event, "data": msgspec.Raw(frame.data)}
        if frame.id is not None:
            line["id"] = str(frame.id)
        click.echo(msgspec.json.encode(line))
        if outcome.done:
            break
    outcome.explain()
    return outcome.well
