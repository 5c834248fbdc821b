"""A bridge in a process of its own, spoken to as the daemon does, and what its engine needs."""

import fcntl
import os
import shlex
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import claude_agent_sdk
import msgspec
from msgspec import Raw, Struct, field

from ash.protocol import (
    BackgroundTasks,
    BridgeCommand,
    BridgeEvent,
    EngineExited,
    EngineMessage,
    Failed,
    History,
    HistoryWanted,
    Interrupt,
    Lines,
    McpServerState,
    McpStatus,
    Open,
    Opened,
    OwnTurn,
    PromptRefused,
    PromptTaken,
    Query,
    Ready,
    Recovered,
    Resume,
    TurnDone,
    decode_event,
    encode,
)

CLI = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"

# Long enough for a CLI on two busy cores, short enough to find a bridge that hangs.
PATIENCE = 30.0

_QUIET = (
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "DISABLE_AUTOUPDATER",
    "DISABLE_BUG_COMMAND",
    "DISABLE_ERROR_REPORTING",
    "DISABLE_TELEMETRY",
    "IS_SANDBOX",
)


class Turn(Struct):
    """What came for one query, up to its `done`, and `gone` engines before it.

    `tasks` is what ran in the background, each time it changed. `own` says which turn the engine
    has begun by itself. `taken` is None unless the query yields.
    """

    raw: list[bytes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    tasks: list[list[str]] = field(default_factory=list)
    own: str = ""
    taken: bool | None = None
    mcp: list[list[McpServerState]] = field(default_factory=list)
    done: TurnDone | None = None

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.raw]

    @property
    def result(self) -> dict[str, Any]:
        """The last message, which must be a result."""
        last = self.messages[-1]
        assert "result" == last["type"], last
        return last

    @property
    def text(self) -> str:
        """What the turn said in the end."""
        assert not self.errors
        return self.result["result"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    @property
    def deltas(self) -> list[str]:
        """The text as it was streamed."""
        events = [message["event"] for message in self.of("stream_event")]
        return [event["delta"]["text"] for event in events if "text" in event.get("delta", {})]


class Bridge:
    """Blocking: a test says something and reads what comes. Each read is bounded by PATIENCE."""

    def __init__(self, process: subprocess.Popen[bytes], link: socket.socket, log: Path) -> None:
        self.process = process
        self.session_id = str(uuid4())
        self._link = link
        self._link.settimeout(PATIENCE)
        self._log = log
        self._lines = Lines()
        self._events: list[BridgeEvent] = []
        self._ids = 0
        # What is stored of the conversation; and what the bridge said that it mended.
        self.history: list[Raw] = []
        self.recovered: list[Recovered] = []

    @property
    def log(self) -> str:
        """What it printed so far."""
        return self._log.read_text()

    def send(self, command: BridgeCommand) -> None:
        self.send_bytes(encode(command))

    def send_bytes(self, data: bytes) -> None:
        self._link.sendall(data)

    def unread(self) -> int:
        """How many bytes of it wait in our socket."""
        found = fcntl.ioctl(self._link, termios.FIONREAD, bytes(4))
        return int.from_bytes(found, sys.byteorder)

    def receive(self) -> BridgeEvent:
        """The next event. Raises EOFError when the bridge has gone."""
        while not self._events:
            chunk = self._link.recv(1024 * 1024)
            if not chunk:
                raise EOFError(self.log)
            self._events += filter(self._is_news, map(decode_event, self._lines.feed(chunk)))
        return self._events.pop(0)

    def _is_news(self, event: BridgeEvent) -> bool:
        """Answers what the bridge asks itself, and keeps what it says of its memory."""
        match event:
            case HistoryWanted():
                self.send(History(messages=self.history))
            case Recovered():
                self.recovered.append(event)
            case _:
                return True
        return False

    def wait_ready(self) -> "Bridge":
        assert isinstance(self.receive(), Ready)
        return self

    def open(self, **settings: Any) -> "Bridge":
        """Begins the conversation `session_id`; raises if that fails."""
        return self._open(Open(session_id=self.session_id, id="open", **_usual(settings)))

    def resume(self, session_id: str, **settings: Any) -> "Bridge":
        self.session_id = session_id
        return self._open(Resume(session_id=session_id, id="open", **_usual(settings)))

    def _open(self, command: Open | Resume) -> "Bridge":
        self.send(command)
        answer = self.receive()
        assert isinstance(answer, Opened), answer
        return self

    def ask(self, prompt: Any, *, partial: bool = False, **settings: Any) -> str:
        """Sends a query and returns its id."""
        self._ids += 1
        query = Query(
            prompt=Raw(msgspec.json.encode(prompt)),
            session_id=self.session_id,
            id=str(self._ids),
            include_partial_messages=partial,
            **settings,
        )
        self.send(query)
        return query.id

    def finish(self) -> Turn:
        """Reads up to the turn's `done`; a query that is refused leaves it to another turn."""
        turn = Turn()
        while turn.done is None:
            match self.receive():
                case EngineMessage(data=data):
                    turn.raw.append(bytes(data))
                case Failed(error=error):
                    turn.errors.append(error)
                case McpStatus(servers=servers):
                    turn.mcp.append(servers)
                case EngineExited(error=error):
                    turn.gone.append(error)
                case BackgroundTasks(tasks=tasks):
                    turn.tasks.append(tasks)
                case OwnTurn(id=own):
                    turn.own = own
                case PromptTaken() | PromptRefused() as answer:
                    turn.taken = isinstance(answer, PromptTaken)
                case TurnDone() as done:
                    turn.done = done
                case other:
                    raise AssertionError(other)
        return turn

    def turn(self, prompt: Any, *, partial: bool = False, **settings: Any) -> Turn:
        self.ask(prompt, partial=partial, **settings)
        return self.finish()

    def message(self, kind: str) -> dict[str, Any]:
        """Reads up to a message of that type."""
        while True:
            event = self.receive()
            if isinstance(event, BackgroundTasks | OwnTurn):
                continue
            assert isinstance(event, EngineMessage), event
            message: dict[str, Any] = msgspec.json.decode(event.data)
            if message["type"] == kind:
                return message

    def interrupt(self) -> None:
        self.send(Interrupt())

    def hang_up(self) -> int:
        """Closes the socket and waits for the exit code."""
        self._link.close()
        return self.process.wait(PATIENCE)


def _usual(settings: dict[str, Any]) -> dict[str, Any]:
    return {"permission_mode": "bypassPermissions", **settings}


@contextmanager
def start_bridge(engine: str, folder: Path, model_url: str, **env: str) -> Iterator[Bridge]:
    """A bridge that has said it is ready, with `workspace` and `home` in the folder."""
    workspace, home, log = folder / "workspace", folder / "home", folder / f"log-{uuid4()}"
    workspace.mkdir(exist_ok=True)
    home.mkdir(exist_ok=True)
    ours, theirs = socket.socketpair()
    environment = {
        **dict.fromkeys(_QUIET, "1"),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "ANTHROPIC_API_KEY": "not-a-key",
        "ANTHROPIC_BASE_URL": model_url,
        "ASH_ENGINE": engine,
        "ASH_BRIDGE_FD": str(theirs.fileno()),
        **env,
    }
    with ours, theirs, log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bridge"],
            cwd=workspace,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        theirs.close()
        try:
            yield Bridge(process, ours, log).wait_ready()
        finally:
            ours.close()
            try:
                process.wait(PATIENCE)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                process.wait()


class RecordedCli:
    """A stand-in for the CLI that notes its arguments and what it writes, and is the CLI."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "recorded-claude"
        self._argv, self._stdout = folder / "argv", folder / "stdout"
        self.path.write_text(
            "#!/bin/bash\n"
            f"printf '%s\\0' $$ \"$@\" > {shlex.quote(str(self._argv))}\n"
            f'exec {shlex.quote(str(CLI))} "$@" > >(exec tee {shlex.quote(str(self._stdout))})\n'
        )
        self.path.chmod(0o755)

    @property
    def pid(self) -> int:
        """Of its last start, like all that follows."""
        return int(self._argv.read_text().split("\0")[0])

    @property
    def argv(self) -> list[str]:
        return self._argv.read_text().split("\0")[1:-1]

    def option(self, name: str) -> str:
        """The value of a flag, however it was written."""
        for word in self.argv:
            if word.startswith(f"{name}="):
                return word.removeprefix(f"{name}=")
        return self.argv[self.argv.index(name) + 1]

    @property
    def lines(self) -> list[bytes]:
        return self._stdout.read_bytes().splitlines()


def processes_under(folder: Path) -> list[int]:
    """Who works inside the folder, or was started for somebody who does."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            home = f"HOME={folder}/home".encode()
            if home in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found
