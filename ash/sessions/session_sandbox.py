"""What a session needs of its sandbox. `Sandbox` has it; a session assigns nothing there."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from ash.egress import ModelFaults
from ash.model import LogLevel, LogSink
from ash.protocol import BridgeCommand
from ash.sandbox.link import Link, Remember
from ash.sandbox.sandbox import EngineLaunch, RestoredFrom, SandboxEnd

Work: TypeAlias = Callable[[], Awaitable[None]]


class AgentProcess(Protocol):
    """The processes of a sandbox, as turns and shell commands use them."""

    @property
    def link(self) -> Link: ...

    @property
    def faults(self) -> ModelFaults:
        """What goes wrong with the model calls of the running turn."""
        ...

    @property
    def dying(self) -> bool:
        """Whether it was killed or has died: nothing can begin in it any more."""
        ...

    async def send(self, command: BridgeCommand) -> None:
        """Raises EngineFailed if the bridge is gone."""
        ...

    def kill(self) -> None: ...

    def take_limit_report(self) -> str | None:
        """Which limits were hit since the last call, in words for the agent's user."""
        ...

    async def exit_reason(self) -> str:
        """How it ended, in words for the agent's user. Waits for the end, but not for long."""
        ...


class SessionSandbox(Protocol):
    @property
    def process(self) -> AgentProcess | None:
        """None while no work can begin: before it is booted, and once it dies or is closed."""
        ...

    @property
    def idle_since(self) -> float | None:
        """When its last work ended, in trio's time; None if it is busy or closed."""
        ...

    @property
    def source(self) -> RestoredFrom:
        """Where its files come from."""
        ...

    @property
    def faults(self) -> Sequence[str]:
        """The faults of its agent, if that was deployed by force; otherwise none."""
        ...

    async def attach(self, sink: LogSink, remember: Remember | None = None) -> None:
        """From now on its log goes to `sink`, beginning with what was logged before.

        `remember` gives what is stored of the session's conversation.
        """
        ...

    async def bind(self, settings: EngineLaunch) -> None:
        """Gives the booted engine what the session asks for.

        Raises EngineFailed, and Unavailable if the sandbox is gone.
        """
        ...

    def activate(self, evict: Callable[[], Awaitable[bool]]) -> None:
        """Its session is active: it is idle from now on, until work begins.

        `evict` is called when another session needs the room. It gives the sandbox up if the
        session can do without, and returns whether it did.
        """
        ...

    def start(self, work: Work, *, is_turn: bool = False) -> None:
        """Runs `work` as a task of the process; the sandbox is busy until that ends.

        A sandbox that is closed or dies waits for its turn to end; other work is cancelled.
        """
        ...

    async def log(self, lines: Sequence[tuple[LogLevel, str]]) -> None: ...

    def close(self, failure: Exception | None = None) -> None:
        """Asks it to end, and says why if it has failed. `ended` tells when it has."""
        ...

    async def ended(self) -> SandboxEnd:
        """Returns when none of its processes is left and its files are put away."""
        ...
