"""Prints a turn: its text on stdout with remarks on stderr, or its frames as JSON lines."""

import json
from collections.abc import Iterable
from typing import Any

import click
import msgspec

from ash.cli.output import dim, one_line, warn, write
from ash.client import Event

# A tool call is cut to this length, so that it takes about one line of a terminal.
_TOOL_LINE = 100

# Reasons of turns that were ended from outside.
_CUT_SHORT = {"interrupted", "stopped", "shutdown"}


class TurnOutcome:
    """Finds out, from a turn's frames, how it ended.

    A turn ends well if there is no `error` frame and no failed result, and the reason of its
    `done`, if any, is `completed`.
    """

    def __init__(self) -> None:
        self.done = False
        self.reason = ""
        self.error = ""
        self._result = ""

    def see(self, frame: Event, data: Any) -> None:
        match frame.event:
            case "done":
                self.done = True
                self.reason = data.get("reason") or "completed"
                # The engine's result of such a turn is a failure, which only repeats the reason.
                if self.reason not in _CUT_SHORT:
                    self.error = self.error or self._result
            case "error":
                self.error = str(data.get("error"))
            case "message" if data.get("type") == "result" and data.get("is_error"):
                self._result = str(data.get("result") or data.get("subtype"))

    @property
    def well(self) -> bool:
        return self.done and self.reason == "completed" and not self.error

    def explain(self) -> None:
        if self.error:
            click.echo(f"error: {one_line(self.error)}", err=True)
        if self.reason not in {"", "completed", "error"}:
            click.echo(f"the turn ended early: {self.reason}", err=True)


class TextPrinter:
    """Prints the agent's text from the deltas, or from the message if no deltas came."""

    def __init__(self) -> None:
        self._outcome = TurnOutcome()
        self._streamed = False
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
            case "text_delta":
                self._streamed = True
                self._write(data["delta"])
            case "message" if data.get("type") == "assistant" and not data.get(
                "parent_tool_use_id"
            ):
                self._show_whole(data)
            case "gap":
                self._end_line()
                dim(f"… frames {data['requested']} to {data['earliest'] - 1} are no longer there")
                # Deltas were lost, so the message that follows is printed completely.
                self._streamed = False
            case "recovered":
                self._end_line()
                warn(str(data.get("warning")))
            case "tool_use":
                self._end_line()
                call = f"{data.get('name')} {json.dumps(data.get('input'), ensure_ascii=False)}"
                dim(f"→ {call}"[:_TOOL_LINE])

    def _show_whole(self, message: Any) -> None:
        blocks = message.get("message", {}).get("content", [])
        texts = [b["text"] for b in blocks if isinstance(b, dict) and b.get("type") == "text"]
        if texts and not self._streamed:
            self._write("".join(texts))
        if texts:
            self._streamed = False
            self._end_line()

    def _write(self, text: str) -> None:
        write(text)
        if text:
            self._in_line = not text.endswith("\n")

    def _end_line(self) -> None:
        if self._in_line:
            write("\n")
            self._in_line = False


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
