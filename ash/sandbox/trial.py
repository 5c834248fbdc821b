"""Tries in a sandbox what a folder starts: its scripts, then its MCP servers."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import trio
from msgspec import Struct

from ash.egress import Egress, Policy, unreachable, with_servers
from ash.errors import AshError, EngineFailed
from ash.expansion import expand
from ash.folder_check import read_servers, report_servers
from ash.limits import Limits
from ash.model import Finding, LogLevel
from ash.protocol import Exec, ExecResult
from ash.sandbox.boot import SCRIPTS, Boot
from ash.sandbox.environment import environment
from ash.sandbox.sandbox import SandboxDependencies
from ash.sandbox.sandbox_process import Runtime, SandboxProcess
from ash.workspaces.workspaces import HostPaths

# The CLI waits for 30 s, and the first message waits with it.
ANSWER_SECONDS = 10
# For the start of the probe itself.
_SLACK_SECONDS = 10
# A trial takes the room of a session, but nobody has asked for a session.
_AT_ONCE = 2

_failures = msgspec.json.Decoder(dict[str, str])


class Trial:
    """Tries folders within `limits`, two at a time."""

    def __init__(self, dependencies: SandboxDependencies, limits: Limits) -> None:
        self._dependencies = dependencies
        self._limits = limits
        self._room = trio.CapacityLimiter(_AT_ONCE)

    async def run(self, folder: Path, env: Mapping[str, str], network: Policy) -> list[Finding]:
        """A script that fails, and each server that does not answer. Raises AshError."""
        servers = await trio.to_thread.run_sync(read_servers, folder)
        if not servers and not any((folder / name).is_file() for name in SCRIPTS):
            return []
        # The check of the files has named those that the policy keeps out.
        servers = {
            name: server
            for name, server in servers.items()
            if "url" not in server or unreachable(expand(server["url"], env), network) is None
        }
        policy = with_servers(network, servers, env)
        async with self._room:
            outcome = await self._in_sandbox(folder, env, policy, servers)
        found = [] if outcome.fault is None else [outcome.fault]
        return found + await trio.to_thread.run_sync(report_servers, folder, outcome.failed)

    async def _in_sandbox(
        self, folder: Path, env: Mapping[str, str], network: Policy, servers: dict[str, Any]
    ) -> "_Outcome":
        own, name = self._dependencies, str(uuid4())
        egress = Egress(network, own.runtime.upstream, _drop, places=own.runtime.places)
        paths = await trio.to_thread.run_sync(own.workspaces.prepare, name, folder)
        outcome = _Outcome()
        try:
            async with own.open(
                own.runtime, paths, env, limits=self._limits, egress=egress, log=_drop
            ) as process:
                # Kept as a value: an error would cross the nursery of the process as a group.
                outcome = await self._outcome(process, paths, env, servers)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(own.workspaces.discard, name)
        return outcome

    async def _outcome(
        self,
        process: SandboxProcess,
        paths: HostPaths,
        env: Mapping[str, str],
        servers: dict[str, Any],
    ) -> "_Outcome":
        own = self._dependencies
        boot = Boot(process, paths, "fresh", own.start_timeout, own.script_timeout, _drop)
        with trio.move_on_after(own.start_timeout):
            await process.link.ready.wait()
        for script in SCRIPTS:
            if (paths.workspace / script).is_file():
                try:
                    await boot.run_script(script)
                except EngineFailed as error:
                    why = error.text.removeprefix(f"{script} ")
                    return _Outcome(Finding(severity="error", path=script, message=f"it {why}"))
        try:
            probe = _probe(own.runtime, paths, env, servers)
            return _Outcome(failed=_read(await process.link.exec(probe)))
        except AshError as error:
            return _Outcome(failed=dict.fromkeys(servers, error.text))


class _Outcome(Struct):
    """`failed` says why, for each server that does not work."""

    fault: Finding | None = None
    failed: dict[str, str] = {}


def _probe(
    runtime: Runtime, paths: HostPaths, env: Mapping[str, str], servers: dict[str, Any]
) -> Exec:
    """The command that tries the servers, with the variables that they get in a session."""
    inside = runtime.isolation.inside(paths)
    full = environment(inside, env, runtime.environment)
    wanted = msgspec.json.encode(_expanded(servers, full)).decode()
    words = [sys.executable, "-P", "-m", "bridge.mcp_probe", wanted, str(ANSWER_SECONDS)]
    command = f"PYTHONPATH={shlex.quote(inside.python_path)} {shlex.join(words)}"
    return Exec(command=command, timeout=(ANSWER_SECONDS + _SLACK_SECONDS) * 1000)


def _expanded(value: Any, env: Mapping[str, str]) -> Any:
    match value:
        case str():
            return expand(value, env)
        case list():
            return [_expanded(item, env) for item in value]
        case dict():
            return {name: _expanded(item, env) for name, item in value.items()}
    return value


def _read(result: ExecResult) -> dict[str, str]:
    """What the probe printed. It ran beside the agent's own programs, so it may be anything."""
    try:
        return _failures.decode(result.stdout)
    except msgspec.DecodeError:
        raise EngineFailed("the trial did not end as it should") from None


async def _drop(lines: Sequence[tuple[LogLevel, str]]) -> None:
    """Nobody reads the log of a trial."""
