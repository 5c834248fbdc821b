"""Reads the CLI's stdout and decides for each line who gets it, and when a turn has ended.

Clients are promised the CLI's messages byte for byte, so a message must not pass through an SDK,
which would parse it into objects. Each engine therefore gives its SDK a transport that reads
stdout here. Only a line's head (`type`, `subtype`, `state`) is decoded. Control messages are
parsed and given to the SDK, which speaks the control protocol with the CLI; every other line is
handed, unchanged, to the turn that is running.

The CLI also writes between turns: when a command in the background has ended, it begins a turn by
itself. Those lines are kept, up to a limit, and open the next turn.

A `result` alone does not end a turn, because an agent in the background may report later and the
model then answers the report. The turn ends when the CLI has written a `result` and says that it
is idle. A CLI that never reports its state ends the turn with its first `result`.
docs/decisions/0004-engines.md has the observations behind this.
"""

import json
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import msgspec
import trio
from msgspec import Raw, Struct

from ash.protocol import Lines, LineTooLong, is_uuid, with_whole_characters
from bridge.engine import Emit, WriteLog
from bridge.hook_trouble import HOOK_SUBTYPES, hook_trouble

# At most this many bytes written between two turns are kept for the next one. Beyond that we stop
# reading, and the CLI blocks on its full pipe.
MAX_BETWEEN_TURNS = 8 * 1024 * 1024

_CONTROL = {"control_request", "control_response", "control_cancel_request"}


class MessageHead(Struct):
    """The fields that we look at. They are `Any`: a line of unknown shape is passed on too."""

    type: Any = None
    subtype: Any = None
    state: Any = None
    session_id: Any = None
    sdk_host_only: Any = None
    mcp_servers: Any = ()


class _RawHead(Struct):
    type: Raw = Raw(b"null")
    subtype: Raw = Raw(b"null")
    state: Raw = Raw(b"null")
    session_id: Raw = Raw(b"null")
    sdk_host_only: Raw = Raw(b"null")


_decode = msgspec.json.Decoder(MessageHead).decode
_decode_raw = msgspec.json.Decoder(_RawHead).decode


def read_head(line: bytes | memoryview) -> MessageHead:
    """Raises ValueError if the line is not a JSON object."""
    try:
        return _decode(line)
    except ValueError:
        # A field may have half a character, bytes that are no text, or too large a number.
        head = _decode_raw(with_whole_characters(line))
        names = _RawHead.__struct_fields__
        return MessageHead(**{name: _value(getattr(head, name)) for name in names})
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _value(raw: Raw) -> Any:
    """None if it can't be read."""
    try:
        return msgspec.json.decode(raw)
    except ValueError:
        return None


class TurnLines:
    """The progress of one turn, as seen in the CLI's lines.

    `prompt_sent` is true once the prompt is being written to the CLI, `result_seen` after its
    first `result`. `begun` is set when the CLI has taken the prompt: it forgets an interrupt that
    comes earlier. `mcp_servers` is what its `init` says of them. `over` is set when no further
    line belongs to the turn. `fault` says why the turn has failed although the CLI lives.
    """

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.prompt_sent = False
        self.result_seen = False
        self.mcp_servers: Any = []
        self.begun = trio.Event()
        self.over = trio.Event()
        self.fault = ""

    def end(self) -> None:
        self.begun.set()
        self.over.set()


class RawLines:
    """Sorts the lines of one CLI process.

    `turn` is the running turn. `exit_reason` is empty while the CLI may still write, and then says
    why it no longer does; `on_end` is called with it if that happens while no turn runs.
    """

    def __init__(self, write_log: WriteLog) -> None:
        self._write_log = write_log
        self.turn: TurnLines | None = None
        self._between: deque[bytes] = deque()
        self._between_size = 0
        self._released = trio.Event()
        # The state that the CLI last reported; None if it never reports one.
        self._state: Any = None
        self._idle = trio.Event()
        self._idle.set()
        # A turn was abandoned after its prompt was sent, so the CLI may still be working on it.
        self._abandoned = False
        self.exit_reason = ""
        self.on_end: WriteLog | None = None
        # The conversation's id as the CLI last reported it; `/clear` changes it.
        self.session_id: str | None = None

    @property
    def quiet(self) -> bool:
        """True if the CLI lives and runs no turn, neither one of ours nor one of its own."""
        return (
            not self.exit_reason
            and not self._abandoned
            and self.turn is None
            and self._idle.is_set()
        )

    async def begin(self, emit: Emit) -> TurnLines:
        """Starts a turn, which gets all lines from now on, until `finish`.

        Lines that came since the last turn are emitted first. If the CLI runs a turn of its own,
        `begin` waits for its end: the CLI would answer a prompt sent meanwhile together with it.
        """
        turn = self.turn = TurnLines(emit)
        self._released.set()
        while self._between:
            line = self._between.popleft()
            self._between_size -= len(line)
            await emit(line)
        await self._idle.wait()
        return turn

    def finish(self) -> None:
        """Ends the turn on our side, even if the CLI has not: it gets no further lines."""
        if self.turn is not None and not self.turn.over.is_set():
            self._abandoned = self.turn.prompt_sent
            self.turn.end()
        self.turn = None
        self._released = trio.Event()

    def mark_dead(self, why: str) -> None:
        """Records that no further line will come. The first reason given is kept."""
        is_first, self.exit_reason = not self.exit_reason, self.exit_reason or why
        self._idle.set()
        if self.turn is not None:
            self.turn.end()
        elif is_first and self.on_end is not None:
            self.on_end(why)

    async def control_messages(self, stdout: AsyncIterable[bytes]) -> AsyncIterator[dict[str, Any]]:
        """Reads stdout to its end and yields the messages that are meant for the SDK."""
        lines = Lines()
        try:
            async for chunk in stdout:
                for line in lines.feed(chunk):
                    if (message := await self._sort(line)) is not None:
                        yield message
        except LineTooLong as error:
            self.mark_dead(f"The engine wrote too much: {error}")

    async def _sort(self, line: memoryview) -> dict[str, Any] | None:
        try:
            head = read_head(line)
            if isinstance(head.type, str) and head.type in _CONTROL:
                message: dict[str, Any] = json.loads(bytes(line))
                return message
        except ValueError as error:
            self._report_bad_line(bytes(line), error)
            return None
        if head.type == "system":
            self._read_system(head)
        if head.subtype in HOOK_SUBTYPES and (trouble := hook_trouble(line)):
            self._write_log(trouble)
        if head.sdk_host_only is not True:
            await self._pass_on(line)
        if (turn := self._unfinished_turn()) is not None and turn.prompt_sent:
            self._update_turn(turn, head)
        return None

    def _report_bad_line(self, line: bytes, error: Exception) -> None:
        """Logs a line that is not JSON; one that looks like a broken message fails the turn.

        Some builds of the CLI print plain text on stdout, which does no harm.
        """
        text = line[:200].decode(errors="replace")
        if self.turn is not None and line.lstrip().startswith(b"{"):
            self.turn.fault = f"The engine wrote a line that is not JSON ({error}): {text}"
        self._write_log(text)

    def _read_system(self, head: MessageHead) -> None:
        if head.subtype == "session_state_changed":
            self._update_state(head)
        elif head.subtype == "init" and is_uuid(head.session_id):
            self.session_id = head.session_id

    def _update_state(self, head: MessageHead) -> None:
        self._state = head.state
        if head.state == "idle":
            self._idle.set()
        elif self._idle.is_set():
            self._idle = trio.Event()

    def _update_turn(self, turn: TurnLines, head: MessageHead) -> None:
        if head.type == "result":
            turn.result_seen = True
        elif head.type == "system" and head.subtype == "init":
            turn.mcp_servers = head.mcp_servers
            turn.begun.set()
        if turn.result_seen and self._state in (None, "idle"):
            turn.end()

    async def _pass_on(self, line: memoryview) -> None:
        while self._between_size > MAX_BETWEEN_TURNS and self._unfinished_turn() is None:
            await self._released.wait()
        turn = self._unfinished_turn()
        if turn is None or self._between:
            # A copy, because the view would keep the whole chunk alive.
            self._between.append(bytes(line))
            self._between_size += len(line)
        else:
            await turn.emit(line)

    def _unfinished_turn(self) -> TurnLines | None:
        """The running turn, unless it is over: one chunk may hold lines that follow its end."""
        return None if self.turn is None or self.turn.over.is_set() else self.turn
