"""Processes that die with the scope that owns them."""

import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest
import trio

from ash.sandbox.process import Spawner
from tests.support.processes import children_of_thread, exists, open_descriptors, stopped


@pytest.fixture
def spawner():
    spawner = Spawner()
    yield spawner
    spawner.close()


@pytest.fixture
def start(spawner, tmp_path):
    """`start(script)`: a context with a shell that runs it."""

    @asynccontextmanager
    async def start(script, env=None, pass_fds=()):
        argv = ["/bin/sh", "-c", script]
        process = await spawner.start(argv, env=env or {}, cwd=tmp_path, pass_fds=pass_fds)
        try:
            yield process
        finally:
            await process.aclose()

    return start


async def read(stream):
    """All that comes."""
    return b"".join([bytes(chunk) async for chunk in stream])


async def test_output_and_status_come_out(start):
    """Both outputs are streams of their own; the status is what the program ended with."""
    async with start("echo out; echo err >&2; exit 7") as process:
        assert (b"out\n", b"err\n") == (await read(process.stdout), await read(process.stderr))
        assert 7 == await process.wait()
        assert 7 == await process.wait()


async def test_program_gets_what_it_is_given_and_nothing_else(start, tmp_path, monkeypatch):
    """Environment, folder and descriptors are those that were named; there is no input."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "s3cret")
    receive, send = os.pipe()
    hidden = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(hidden, True)  # noqa: FBT003 - it takes no keyword
    with os.fdopen(receive, "rb"), os.fdopen(send, "wb"):
        script = "pwd; cat; tr '\\0' '\\n' < /proc/self/environ; ls /proc/self/fd"
        async with start(script, env={"ONE": "1"}, pass_fds=[send]) as process:
            folder, *rest = (await read(process.stdout)).decode().split()
    os.close(hidden)
    assert str(tmp_path) == folder
    fds = [int(word) for word in rest if word.isdecimal()]
    assert {0, 1, 2, send} <= set(fds)
    assert hidden not in fds
    assert ["ONE=1"] == [word for word in rest if "=" in word and not word.startswith("PWD=")]


async def test_process_leads_a_session_of_its_own(start):
    """A signal to the daemon's terminal is not one to its sandboxes."""
    async with start("exec sleep 1000") as process:
        assert process.pid == os.getsid(process.pid) == os.getpgid(process.pid)


async def test_process_is_a_child_of_the_thread_that_lives_on(start, spawner):
    """The parent-death signal follows the thread that forked: it has to be the spawner's own."""
    async with start("exec sleep 1000") as process:
        (thread,) = spawner._thread._threads
        assert process.pid in children_of_thread(thread.native_id)


async def test_program_that_is_not_there_is_an_error(spawner, tmp_path):
    """Nothing is started, and nothing is left to wait for."""
    with pytest.raises(FileNotFoundError):
        await spawner.start(["/not/there"], env={}, cwd=tmp_path, pass_fds=())
    assert (set(), 0) == (spawner.running, spawner.starting)


async def test_killed_process_takes_its_group_along(start):
    """What it has started ends with it."""
    async with start("sleep 1000 & echo $!; wait") as process:
        child = int(await process.stdout.receive_some())
        process.kill()
        assert -signal.SIGKILL == await process.wait()
        await stopped(child)


async def test_process_that_ends_takes_its_group_along(start):
    """A program that left others behind does not leave them to the host."""
    async with start("sleep 1000 >&- 2>&- & echo $!") as process:
        child = int(await process.stdout.receive_some())
        assert 0 == await process.wait()
        await stopped(child)


async def test_end_of_the_scope_ends_the_process(start, spawner):
    """Nothing is left: no process, no descriptor, nobody to wait for."""
    before = open_descriptors()
    async with start("exec sleep 1000") as process:
        assert {process.pid} == spawner.running
    assert not exists(process.pid)
    assert set() == spawner.running
    assert before == open_descriptors()


async def test_process_can_be_closed_twice_and_killed_late(start):
    """Who is too late does no harm: the number may be another's by then."""
    async with start("exit 0") as process:
        await process.wait()
        process.kill()
        await process.aclose()


async def test_cancelled_scope_ends_the_process(start):
    """Cancelling is an end like another."""
    with trio.CancelScope() as scope:
        async with start("exec sleep 1000") as process:
            scope.cancel()
            await trio.sleep_forever()
    assert not exists(process.pid)


async def test_cancelled_start_leaves_no_process(start):
    """Who is cancelled while it starts one still gets it, and so can end it."""
    with trio.CancelScope() as scope:
        scope.cancel()
        async with start("exec sleep 1000") as process:
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert not exists(process.pid)


async def test_arguments_are_not_read_by_a_shell(spawner, tmp_path):
    """Words stay words."""
    argv = [sys.executable, "-I", "-c", "import sys; print(sys.argv[1:])", "$HOME", "a b;"]
    process = await spawner.start(argv, env={}, cwd=tmp_path, pass_fds=())
    assert b"['$HOME', 'a b;']\n" == await read(process.stdout)
    await process.aclose()
