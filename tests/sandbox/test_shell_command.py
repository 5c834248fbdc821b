"""A shell command and its sandbox: who waits for what, and for how long."""

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from ash.errors import EngineFailed
from ash.large_lines import LargeLines
from ash.protocol import Exec, ExecResult, Failed, decode_command, encode
from ash.sandbox.link import Link, ShellCommand


@pytest.fixture
async def sandbox(nursery):
    """The link to a bridge, and the bridge's end of it."""
    ours, theirs = memory_stream_pair()
    link = Link(ours, LargeLines())
    nursery.start_soon(link.run)
    yield link, theirs
    await theirs.aclose()
    await link.closed.wait()


@pytest.fixture
def start(sandbox, nursery):
    def start(text="true", **more):
        command = ShellCommand(sandbox[0], Exec(command=text, **more))
        nursery.start_soon(command.run)
        return command

    return start


async def heard(bridge):
    return decode_command(bytes(await bridge.receive_some()).rstrip())


async def test_result_is_what_the_bridge_says(sandbox, start):
    """The command goes to the bridge as it is, and its result comes back."""
    command = start("echo hi", timeout=7)
    asked = await heard(sandbox[1])
    answer = ExecResult(exit_code=0, stdout="hi\n", stderr="", id=asked.id)
    await sandbox[1].send_all(encode(answer))
    assert ("echo hi", 7) == (asked.command, asked.timeout)
    assert answer == await command.result()


async def test_command_that_can_not_be_run_raises_why(sandbox, start):
    """What the bridge says is wrong is raised for whoever asked, and for nobody else."""
    command = start()
    asked = await heard(sandbox[1])
    await sandbox[1].send_all(encode(Failed("The command can't be run", id=asked.id)))
    with pytest.raises(EngineFailed, match="can't be run"):
        await command.result()


async def test_bridge_that_does_not_answer_is_given_up(start, autojump_clock):
    """The bridge keeps the time; one that keeps silent is waited for ten seconds longer."""
    command = start(timeout=5000)
    with pytest.raises(EngineFailed, match="does not answer"):
        await command.result()
    assert 15.0 == trio.current_time()


async def test_bridge_that_goes_ends_the_command(sandbox, start):
    """A command in a sandbox that dies is told of."""
    command = start()
    await heard(sandbox[1])
    await sandbox[1].aclose()
    with pytest.raises(EngineFailed, match="ended"):
        await command.result()


async def test_sandbox_that_is_closed_ends_the_command(sandbox):
    """Cancelling the sandbox ends its command, and who waits elsewhere is told."""
    command = ShellCommand(sandbox[0], Exec(command="sleep 1000"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(command.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with pytest.raises(EngineFailed, match="sandbox ended with the command"):
        await command.result()


async def test_waiting_may_end_before_the_command_does(sandbox, start):
    """Who leaves leaves the command alone: another can still have its result."""
    command = start()
    asked = await heard(sandbox[1])
    with trio.move_on_after(0) as left:
        await command.result()
    answer = ExecResult(exit_code=0, stdout="", stderr="", id=asked.id)
    await sandbox[1].send_all(encode(answer))
    assert left.cancelled_caught
    assert answer == await command.result()
