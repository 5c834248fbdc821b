"""The boot of a sandbox: its bridge, the agent's own scripts, then the engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import trio
from msgspec import Struct

from ash.errors import EngineFailed
from ash.model import LogLevel, LogSink
from ash.protocol import Exec, Open, Resume
from ash.sandbox.logs import end_of
from ash.sandbox.sandbox_process import SandboxProcess
from ash.workspaces.workspaces import UNINSTALLED, HostPaths

EngineLaunch: TypeAlias = Open | Resume

# Where the files of a sandbox that starts come from.
RestoredFrom = Literal["fresh", "local", "cloud"]

# An agent's own preparations, in this order, before its engine boots.
SCRIPTS = ("install.sh", "startup.sh")

# What an error quotes of a script's output; the rest is in the log.
LAST_LINES = 5


class Boot(Struct, frozen=True):
    """`start_timeout` bounds the boot without its scripts, `script_timeout` each of these."""

    process: SandboxProcess
    paths: HostPaths
    source: RestoredFrom
    start_timeout: float
    script_timeout: float
    log: LogSink

    async def run(self, settings: EngineLaunch) -> None:
        """Raises EngineFailed."""
        timeout = self.start_timeout
        begun = trio.current_time()
        steps: dict[str, float] = {}
        with trio.move_on_after(timeout) as start:
            try:
                await self._take_steps(settings, start, steps)
            except EngineFailed:
                if self.process.died.is_set():
                    raise EngineFailed(await self.process.exit_reason()) from None
                raise
        if start.cancelled_caught:
            raise EngineFailed(f"The engine did not start within {timeout:g} seconds")
        await self.log([("system", f"started: {_step_times(begun, steps)}")])

    async def _take_steps(
        self, settings: EngineLaunch, start: trio.CancelScope, steps: dict[str, float]
    ) -> None:
        """Notes in `steps` when each was done."""
        await self.process.link.ready.wait()
        steps["bridge"] = trio.current_time()
        for script in await trio.to_thread.run_sync(_scripts_in, self.paths, self.source):
            start.deadline += self.script_timeout
            await self.run_script(script)
            steps[script] = trio.current_time()
        await trio.to_thread.run_sync(_mark_installed, self.paths)
        await self.process.link.open(settings)
        steps["engine"] = trio.current_time()

    async def run_script(self, script: str) -> None:
        """Raises EngineFailed with the last lines of the script if it failed."""
        timeout = self.script_timeout
        await self.log([("system", f"{script} runs, for {timeout:g} s at most")])
        result = await self.process.link.exec(
            Exec(command=f"bash {script}", timeout=int(timeout * 1000))
        )
        out, err = end_of("stdout", result.stdout), end_of("stderr", result.stderr)
        await self.log([*out, *err])
        if result.exit_code != 0:
            how = "took too long" if result.timed_out else f"failed ({result.exit_code})"
            raise EngineFailed(f"{script} {how}: {_last_lines([*out, *err])}")


def _last_lines(lines: Sequence[tuple[LogLevel, str]]) -> str:
    return "; ".join(text for _, text in lines[-LAST_LINES:]) or "it printed nothing"


def _scripts_in(paths: HostPaths, source: RestoredFrom) -> list[str]:
    """`install.sh` is not due if its work is among the files that were kept on this disk.

    It is due after a restore from the cloud: uploads leave out what can be installed again.
    """
    installed = source == "local" and not _uninstalled(paths).exists()
    due = SCRIPTS[1:] if installed else SCRIPTS
    return [name for name in due if (paths.workspace / name).is_file()]


def _mark_installed(paths: HostPaths) -> None:
    _uninstalled(paths).unlink(missing_ok=True)


def _uninstalled(paths: HostPaths) -> Path:
    return paths.workspace.parent / UNINSTALLED


def _step_times(begun: float, steps: dict[str, float]) -> str:
    """How long each step took, in the order of the steps."""
    starts = [begun, *steps.values()]
    pairs = zip(steps.items(), starts, strict=False)
    return ", ".join(f"{name} {end - start:.3f} s" for (name, end), start in pairs)
