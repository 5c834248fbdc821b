"""A bridge process, isolated from the host, that lives as long as its scope."""

import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import trio
from msgspec import Struct

from ash.descriptors import DescriptorPlan
from ash.egress import SOCKET_NAME, Egress, ModelFaults, ModelUpstream, Places, open_listener
from ash.isolation import Isolation
from ash.isolation.code import PYTHON
from ash.large_lines import LargeLines
from ash.limits import DiskSweep, Limits, ResourceGroup, ResourceGroups
from ash.limits.disk_usage import family
from ash.model import LogSink
from ash.protocol import BridgeCommand
from ash.sandbox.environment import environment, for_bridge
from ash.sandbox.link import Link
from ash.sandbox.logs import pump
from ash.sandbox.process import Process, Spawner
from ash.workspaces.workspaces import HostPaths

# How long we wait for the last output and the exit status of a dead sandbox.
LAST_WORDS_SECONDS = 2


class Runtime(Struct, frozen=True):
    """What all sandboxes of a daemon share. No agent can change the variables in `environment`."""

    spawner: Spawner
    isolation: Isolation
    groups: ResourceGroups
    disk: DiskSweep
    large_lines: LargeLines
    engine: str
    upstream: ModelUpstream
    environment: dict[str, str]
    descriptors: DescriptorPlan
    places: Places


class SandboxProcess:
    """Work in the sandbox runs in `nursery`, which ends with it. `died` is set at its end."""

    def __init__(
        self,
        link: Link,
        process: Process,
        group: ResourceGroup,
        nursery: trio.Nursery,
        faults: ModelFaults,
    ) -> None:
        self.link = link
        self.faults = faults
        self.nursery = nursery
        self.died = link.closed
        self._process = process
        self._group = group
        self._killed = False

    @property
    def pid(self) -> int:
        """The id of the outermost process on the host."""
        return self._process.pid

    async def send(self, command: BridgeCommand) -> None:
        """Raises EngineFailed if the bridge is gone."""
        await self.link.send(command)

    @property
    def dying(self) -> bool:
        """Whether it was killed or has died: nothing can begin in it any more."""
        return self._killed or self.died.is_set()

    def kill(self) -> None:
        """Ends every process in it, now."""
        self._killed = True
        self._group.kill()
        self._process.kill()

    def take_limit_report(self) -> str | None:
        """Which limits were hit since the last call, in words for the agent's user."""
        return self._group.take_limit_report()

    async def exit_reason(self) -> str:
        """How the process ended, for the error that its session gets."""
        if hit := self.take_limit_report():
            return hit
        if self.link.fault:
            return self.link.fault
        with trio.move_on_after(LAST_WORDS_SECONDS):
            status = await self._process.wait()
            how = f"signal {-status}" if status < 0 else f"exit code {status}"
            return f"The agent's process ended ({how})"
        return "The agent's process closed its connection"


@asynccontextmanager
async def open_sandbox_process(
    runtime: Runtime,
    paths: HostPaths,
    env: Mapping[str, str],
    *,
    limits: Limits,
    egress: Egress,
    log: LogSink,
) -> AsyncIterator[SandboxProcess]:
    """Starts a bridge; `sandbox.link.ready` is set once it takes commands.

    Leaving the context kills all its processes and logs their last output. Raises OSError if the
    process can't be started. What the body raises comes out in an exception group.
    """
    async with (
        open_listener(paths.sockets) as way_out,
        _acquired(runtime.isolation, paths) as acquired,
        runtime.groups.open(limits) as group,
    ):
        ours, theirs = socket.socketpair()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        link = Link(stream, runtime.large_lines)
        egress.faults.tell = link.tell
        with theirs:
            process = await _start(runtime, acquired, env, group, theirs.fileno())
        try:
            async with trio.open_nursery() as outer:
                outer.start_soon(pump, process.stdout, "stdout", log)
                outer.start_soon(pump, process.stderr, "stderr", log)
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(link.run)
                        nursery.start_soon(egress.serve, way_out)
                        sandbox = SandboxProcess(link, process, group, nursery, egress.faults)
                        with _disk_watched(runtime.disk, paths, sandbox, group):
                            yield sandbox
                        nursery.cancel_scope.cancel()
                finally:
                    group.kill()
                    process.kill()
                    outer.cancel_scope.deadline = trio.current_time() + LAST_WORDS_SECONDS
        finally:
            await process.aclose()


@asynccontextmanager
async def _acquired(isolation: Isolation, paths: HostPaths) -> AsyncIterator[HostPaths]:
    """Folder ownership is fixed until the last process has exited."""
    acquired = await trio.to_thread.run_sync(isolation.acquire, paths)
    try:
        yield acquired
    finally:
        isolation.release(acquired)


@contextmanager
def _disk_watched(
    disk: DiskSweep, paths: HostPaths, sandbox: SandboxProcess, group: ResourceGroup
) -> Iterator[None]:
    """Kills a sandbox that is over its disk limit, as open files could go on growing."""

    def over(text: str) -> None:
        group.note(text)
        sandbox.kill()

    def processes() -> set[int]:
        """Without cgroups all are below the outermost: its pid namespace keeps them there."""
        return group.processes() or family(sandbox.pid)

    folders = [paths.workspace, paths.home]
    with disk.watch(
        folders,
        group.limits.disk_mb,
        over,
        processes,
        group.cpu_used,
        frozen=group.frozen,
    ):
        yield


async def _start(
    runtime: Runtime, paths: HostPaths, env: Mapping[str, str], group: ResourceGroup, fd: int
) -> Process:
    inside, isolated = runtime.isolation.inside(paths), runtime.isolation.name != "none"
    full = {
        **for_bridge(environment(inside, env, runtime.environment, isolated=isolated)),
        "ASH_ENGINE": runtime.engine,
        "ASH_BRIDGE_FD": str(fd),
        "ASH_EGRESS_SOCKET": f"{inside.sockets}/{SOCKET_NAME}",
    }
    # -P, -s: Python must not import a module from the workspace, or from the agent's home.
    wrapped = runtime.isolation.wrap(
        [PYTHON, "-P", "-s", "-m", "bridge"], paths, full, is_init=True
    )
    try:
        return await runtime.spawner.start(
            [*group.prefix, *wrapped.argv],
            env=wrapped.env,
            cwd=paths.workspace,
            pass_fds=[fd, *wrapped.fds],
        )
    finally:
        for extra in wrapped.fds:
            os.close(extra)
