"""Reads the CLI's stdout and decides for each line who gets it, and when a turn has ended.

Clients are promised the CLI's messages byte for byte, so a message must not pass through an SDK,
which would parse it into objects. Each engine therefore gives its SDK a transport that reads
stdout here. Only a line's head (`type`, `subtype`, `state`) is decoded. Control messages are
parsed and given to the SDK, which speaks the control protocol with the CLI; every other line is
handed, unchanged, to the turn that is running.

The CLI also begins turns by itself, when a command in the background has ended. Each of them begins
with an `init` that no prompt of ours has asked for. Such a turn is kept, up to a limit, until
somebody claims it. Lines that come between two turns open the next one.

Each prompt is sent with a uuid. The CLI says when it takes that prompt (`command_lifecycle`), so an
`init` before that is of a turn of its own. A CLI that does not say so takes each prompt at once.

A `result` alone does not end a turn, because an agent in the background may report later and the
model then answers the report. The turn ends when the CLI has written a `result` and says that it
is idle, or begins another turn though no agent has still to report. A CLI that never reports its
state ends the turn with its first `result`.
docs/decisions/0004-engines.md has the observations behind this.
"""

import json
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any

import msgspec
import trio
from msgspec import Raw, Struct

from ash.protocol import Lines, LineTooLong, is_uuid, subagents_run, with_whole_characters
from bridge.engine import WriteLog
from bridge.hook_trouble import HOOK_SUBTYPES, hook_trouble
from bridge.turn_lines import TurnLines, described

_CONTROL = {"control_request", "control_response", "control_cancel_request"}


class MessageHead(Struct):
    """The fields that we look at. They are `Any`: a line of unknown shape is passed on too."""

    type: Any = None
    subtype: Any = None
    state: Any = None
    session_id: Any = None
    sdk_host_only: Any = None
    command_uuid: Any = None
    tasks: Any = None
    mcp_servers: Any = ()
    subagent_stats: Any = None


class _RawHead(Struct):
    type: Raw = Raw(b"null")
    subtype: Raw = Raw(b"null")
    state: Raw = Raw(b"null")
    session_id: Raw = Raw(b"null")
    sdk_host_only: Raw = Raw(b"null")
    command_uuid: Raw = Raw(b"null")
    tasks: Raw = Raw(b"null")
    mcp_servers: Raw = Raw(b"[]")
    subagent_stats: Raw = Raw(b"null")


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


class RawLines:
    """Sorts the lines of one CLI process.

    `exit_reason` is empty while the CLI may still write, and then says why it no longer does;
    `on_end` is called with it if that happens while no turn is claimed. `on_own_turn` is called
    when the CLI has begun a turn by itself, `on_tasks` when the `tasks` in the background change.
    """

    def __init__(self, write_log: WriteLog) -> None:
        self._write_log = write_log
        # Gets the lines: the running turn, or what collects for the next one.
        self._now = TurnLines()
        self._own: deque[TurnLines] = deque()
        self._overtaken: TurnLines | None = None
        self._claimed = False
        self._names_prompts = False
        # The latest prompts, whose lines of this kind answer us alone.
        self._sent: deque[str] = deque(maxlen=8)
        # The state that the CLI last reported; None if it never reports one.
        self._state: Any = None
        self._idle = trio.Event()
        self._idle.set()
        # A turn was abandoned after its prompt was sent, so the CLI may still be working on it.
        self._abandoned = False
        self.tasks: list[str] = []
        self.exit_reason = ""
        self.on_end: WriteLog | None = None
        self.on_own_turn: Callable[[], None] | None = None
        self.on_tasks: Callable[[list[str]], None] | None = None
        # The conversation's id as the CLI last reported it; `/clear` changes it.
        self.session_id: str | None = None

    @property
    def quiet(self) -> bool:
        """True if the CLI lives and does nothing: no turn, and no task in the background."""
        return (
            not self.exit_reason
            and not self._abandoned
            and not self._now.is_turn
            and not self._own
            and not self.tasks
            and self._idle.is_set()
        )

    def begin(self, uuid: str, *, yields: bool = False) -> TurnLines:
        """Starts the turn of the prompt with that uuid; it gets all lines from now on.

        If the CLI has begun a turn of its own, one that `yields` is overtaken by it. Any other
        gets the lines of both.
        """
        turn = self._now
        if turn.is_own and yields:
            turn = TurnLines()
            turn.overtaken = True
            turn.decided.set()
        elif turn.is_own:
            self._own.remove(turn)
            turn.become_ours()
        if not turn.overtaken:
            self._now = turn
        turn.uuid, turn.yields = uuid, yields
        self._claimed = True
        return turn

    def begin_own(self) -> TurnLines:
        """The oldest turn that the CLI has begun by itself and that nobody has claimed."""
        self._claimed = True
        return self._own.popleft()

    async def idle(self) -> None:
        """Returns when the CLI works on no turn; it would answer two prompts together."""
        await self._idle.wait()

    def send(self, turn: TurnLines) -> None:
        """The prompt is being written to the CLI."""
        turn.prompt_sent = True
        self._sent.append(turn.uuid)
        if not self._names_prompts:
            turn.take()

    def finish(self, turn: TurnLines) -> None:
        """Ends the turn on our side, even if the CLI has not: it gets no further lines."""
        if not turn.over.is_set():
            self._abandoned = turn.prompt_sent
        self._claimed = False
        self._overtaken = None
        self._end(turn)

    def mark_dead(self, why: str) -> None:
        """Records that no further line will come. The first reason given is kept."""
        is_first, self.exit_reason = not self.exit_reason, self.exit_reason or why
        self._idle.set()
        if self._now.is_turn:
            self._end(self._now)
        if self._overtaken is not None:
            self._overtaken.end()
        if is_first and not self._claimed and self.on_end is not None:
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
        if head.type == "command_lifecycle" and head.command_uuid in self._sent:
            self._follow_prompt(head)
            return None
        if head.type == "system":
            self._read_system(head)
        if head.subtype in HOOK_SUBTYPES and (trouble := hook_trouble(line)):
            self._write_log(trouble)
        turn = self._now
        if head.sdk_host_only is not True:
            await turn.put(line)
        self._update(turn, head)
        return None

    def _report_bad_line(self, line: bytes, error: Exception) -> None:
        """Logs a line that is not JSON; one that looks like a broken message fails the turn.

        Some builds of the CLI print plain text on stdout, which does no harm.
        """
        text = line[:200].decode(errors="replace")
        if self._now.is_turn and line.lstrip().startswith(b"{"):
            self._now.fault = f"The engine wrote a line that is not JSON ({error}): {text}"
        self._write_log(text)

    def _read_system(self, head: MessageHead) -> None:
        match head.subtype:
            case "session_state_changed":
                self._update_state(head)
            case "init":
                if is_uuid(head.session_id):
                    self.session_id = head.session_id
                self._begin_what_it_belongs_to()
            case "background_tasks_changed":
                self.tasks = described(head.tasks)
                if self.on_tasks is not None:
                    self.on_tasks(self.tasks)

    def _update_state(self, head: MessageHead) -> None:
        self._state = head.state
        if head.state == "idle":
            self._idle.set()
        elif self._idle.is_set():
            self._idle = trio.Event()

    def _begin_what_it_belongs_to(self) -> None:
        """Finds out whose `init` this is: of the turn that waits for it, or of one of the CLI's."""
        if self._now.answered:
            self._end(self._now)
        if not self._now.is_turn:
            self._now.begin_own()
        elif self._now.yields and not self._now.taken:
            self._overtaken, self._now = self._now, self._now.overtake()
        else:
            return
        self._own.append(self._now)
        if self.on_own_turn is not None:
            self.on_own_turn()

    def _follow_prompt(self, head: MessageHead) -> None:
        """Reads what the CLI says of a prompt: it is queued, and later taken or dropped."""
        self._names_prompts = True
        turn = next(
            (t for t in (self._now, self._overtaken) if t and t.uuid == head.command_uuid), None
        )
        if turn is None or head.state == "queued":
            return
        if turn is self._overtaken:
            self._overtaken = None
            if head.state != "started":
                return
            # It was too late to withdraw the prompt.
            self._end(self._now)
            self._now = turn
        turn.take()
        if head.state == "cancelled":
            turn.see_result(last=True)

    def _update(self, turn: TurnLines, head: MessageHead) -> None:
        if not turn.taken:
            return
        is_idle = self._state == "idle"
        if head.type == "result":
            turn.see_result(last=not subagents_run(head.subagent_stats))
        elif head.type == "system" and head.subtype == "init":
            turn.mcp_servers = head.mcp_servers
            turn.begun.set()
        if (turn.result_seen and (is_idle or self._state is None)) or (turn.is_own and is_idle):
            self._end(turn)

    def _end(self, turn: TurnLines) -> None:
        turn.end()
        if turn is self._now:
            self._now = TurnLines()
