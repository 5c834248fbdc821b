"""Shell commands beside the turn."""

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
    """Both streams apart, the code as the shell gave it, the id of the request."""
    result = await _run("echo out; echo err >&2; exit 7")
    assert ExecResult(exit_code=7, stdout="out\n", stderr="err\n", id="x") == result


async def test_command_is_bash() -> None:
    """Arrays and brackets work."""
    assert "two\n" == (await _run('a=(one two); [[ ${a[1]} == t* ]] && echo "${a[1]}"')).stdout


async def test_stdin_is_empty() -> None:
    """A command that reads does not wait for anybody."""
    assert "0\n" == (await _run("wc -c")).stdout


async def test_timeout_is_124_with_what_was_printed() -> None:
    """The whole group is killed, and its output so far is not lost."""
    result = await _run("echo before; sleep 30 | sleep 30; echo after", timeout=300)
    assert (124, True, "before\n") == (result.exit_code, result.timed_out, result.stdout)


async def test_signal_is_128_and_its_number() -> None:
    """As in a shell."""
    assert 128 + signal.SIGKILL == (await _run("kill -9 $$")).exit_code


async def test_output_is_capped_and_the_command_goes_on() -> None:
    """What is over the cap is dropped, and said to be."""
    result = await _run(f"head -c {MAX_OUTPUT + 1} /dev/zero; echo end >&2")
    assert (True, MAX_OUTPUT, "end\n") == (result.truncated, len(result.stdout), result.stderr)


async def test_output_of_just_the_cap_is_whole() -> None:
    """The last byte that fits is not called too much."""
    result = await _run(f"head -c {MAX_OUTPUT} /dev/zero")
    assert (False, MAX_OUTPUT) == (result.truncated, len(result.stdout))


async def test_output_that_is_no_text_is_readable() -> None:
    """Bytes that are not UTF-8 are replaced."""
    assert "a\ufffdb" == (await _run(r"printf 'a\xffb'")).stdout


async def test_background_child_does_not_hold_the_answer() -> None:
    """The shell has ended; what it left behind keeps the pipe and lives on."""
    with trio.fail_after(5):
        result = await _run("sleep 300 & echo $!")
    child = int(result.stdout)
    os.kill(child, signal.SIGKILL)


async def test_nothing_printed_before_the_end_is_lost() -> None:
    """The last words of a command are in the pipe when it has ended."""
    for _ in range(20):
        assert 60_000 == len((await _run("head -c 60000 /dev/zero")).stdout)


async def test_cancelled_command_is_killed(tmp_path: Path) -> None:
    """When the bridge ends, so do its commands."""
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
    """What the system refuses is told, and nothing hangs."""
    with pytest.raises((OSError, ValueError)):
        await _run(command)
