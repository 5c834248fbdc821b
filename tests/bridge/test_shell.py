"""Shell commands that run independent of turns."""

import os
import signal
from pathlib import Path

import pytest
import trio

from ash.protocol import Exec, ExecResult
from bridge.shell import MAX_OUTPUT, run_shell


async def _run(command: str, timeout: int = 20_000) -> ExecResult:
    return await run_shell(Exec(command=command, id="x", timeout=timeout))


async def test_output_and_exit_code_come_back() -> None:
    """The result has both streams, the exit code and the id of the request."""
    result = await _run("echo out; echo err >&2; exit 7")
    assert ExecResult(exit_code=7, stdout="out\n", stderr="err\n", id="x") == result


async def test_command_is_bash() -> None:
    """Commands are run by bash: arrays and brackets work."""
    assert "two\n" == (await _run('a=(one two); [[ ${a[1]} == t* ]] && echo "${a[1]}"')).stdout


async def test_stdin_is_empty() -> None:
    """A command that reads stdin gets its end at once."""
    assert "0\n" == (await _run("wc -c")).stdout


async def test_timeout_is_124_with_the_output_so_far() -> None:
    """A timeout kills the whole process group and keeps its output so far."""
    result = await _run("echo before; sleep 30 | sleep 30; echo after", timeout=300)
    assert (124, True, "before\n") == (result.exit_code, result.timed_out, result.stdout)


async def test_signal_is_128_and_its_number() -> None:
    """The exit code of a killed command is 128 plus the signal."""
    assert 128 + signal.SIGKILL == (await _run("kill -9 $$")).exit_code


async def test_output_is_capped_and_the_command_goes_on() -> None:
    """Output beyond the cap is dropped and marked as truncated."""
    result = await _run(f"head -c {MAX_OUTPUT + 1} /dev/zero; echo end >&2")
    assert (True, MAX_OUTPUT, "end\n") == (result.truncated, len(result.stdout), result.stderr)


async def test_output_of_just_the_cap_is_whole() -> None:
    """Output of exactly the cap is not marked as truncated."""
    result = await _run(f"head -c {MAX_OUTPUT} /dev/zero")
    assert (False, MAX_OUTPUT) == (result.truncated, len(result.stdout))


async def test_output_that_is_no_text_is_readable() -> None:
    """Bytes that are not UTF-8 are replaced."""
    assert "a\ufffdb" == (await _run(r"printf 'a\xffb'")).stdout


async def test_background_child_does_not_hold_the_answer() -> None:
    """The result comes when the shell ends, although its child keeps the pipe open."""
    with trio.fail_after(5):
        result = await _run("sleep 300 & echo $!")
    child = int(result.stdout)
    os.kill(child, signal.SIGKILL)


async def test_nothing_printed_before_the_end_is_lost() -> None:
    """Output that is still in the pipe when the command ends is read."""
    for _ in range(20):
        assert 60_000 == len((await _run("head -c 60000 /dev/zero")).stdout)


async def test_cancelled_command_is_killed(tmp_path: Path) -> None:
    """A cancelled command is killed."""
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_run, f"echo $$ > {fifo}; sleep 300; true")
        pid = int(await trio.to_thread.run_sync(fifo.read_text))
        nursery.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("command", ["echo \0", "x" * 200_000])
async def test_command_that_can_not_start_is_an_error(command) -> None:
    """A command that can't be started raises an error."""
    with pytest.raises((OSError, ValueError)):
        await _run(command)
