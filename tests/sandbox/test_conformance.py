"""What sessions rely on, of a real sandbox with the scripted engine and of the one for tests."""

from collections import Counter
from contextlib import asynccontextmanager, closing

import pytest
import trio
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

from ash.egress import PUBLIC
from ash.errors import EngineFailed, Unavailable
from ash.limits import Limits, open_resource_groups
from ash.protocol import EngineMessage, Exec, Failed, Interrupt, Open, Query, Shutdown, TurnDone
from ash.sandbox.process import Spawner
from ash.sandbox.runtime import find_runtime, model_upstream
from ash.sandbox.sandbox import PoolKey, Sandbox, SandboxDependencies, SandboxSpec
from ash.sandbox.sandbox_process import open_sandbox_process
from ash.workspaces.workspaces import Workspaces
from tests.support.daemon import settings
from tests.support.sandbox import RUNTIME, FakeAgent, FakeSandboxProcess, serving

LIMITS = Limits(memory_mb=512, cpu_percent=100, disk_mb=64, max_processes=60)
PLAIN = Open(session_id="", permission_mode="default")

# For a bridge to start, on a machine that is busy with other things.
PATIENCE = 30.0


@asynccontextmanager
async def real(data_dir):
    """A bridge with the scripted engine, in the isolation and the limits of this machine."""
    wanted = settings(data_dir)
    data_dir.mkdir()
    with closing(Spawner()) as spawner:
        async with open_resource_groups(data_dir) as groups, model_upstream(wanted) as upstream:
            runtime = await find_runtime(wanted, spawner, groups, upstream)
            assert "bubblewrap" == runtime.isolation.name
            yield runtime, open_sandbox_process


@asynccontextmanager
async def fake(data_dir):
    @asynccontextmanager
    async def open_fake(*args, **more):
        async with serving(FakeSandboxProcess(FakeAgent())) as process:
            yield process

    yield RUNTIME, open_fake


class Bench:
    def __init__(self, tmp_path, runtime, opener, nursery):
        self._nursery = nursery
        self._source = tmp_path / "agent"
        self._source.mkdir()
        (self._source / "CLAUDE.md").write_text("be kind")
        workspaces = Workspaces(tmp_path / "data")
        self._dependencies = SandboxDependencies(runtime, workspaces, PATIENCE, PATIENCE, opener)

    def sandbox(self):
        """One that a session has claimed and that boots."""
        spec = SandboxSpec(
            key=PoolKey("default", "agent", 1),
            source=self._source,
            env={},
            limits=LIMITS,
            network=PUBLIC,
        )
        sandbox = Sandbox(
            "5a4db0c5-0000-4000-8000-000000000000", spec, self._dependencies, Counter()
        )
        sandbox.claimed = True
        return sandbox

    def boot(self, sandbox):
        self._nursery.start_soon(self._run, sandbox)

    async def _run(self, sandbox):
        await sandbox.run(PLAIN)
        sandbox.forget()


@pytest.fixture(params=[real, fake])
async def bench(request, tmp_path):
    with trio.fail_after(2 * PATIENCE):
        async with request.param(tmp_path / "data") as given, trio.open_nursery() as own:
            yield Bench(tmp_path, *given, own)
            own.cancel_scope.cancel()


@pytest.fixture
async def sandbox(bench):
    """One that is booted, and whose session is active."""
    sandbox = bench.sandbox()
    bench.boot(sandbox)
    await sandbox.ready.wait()
    assert sandbox.failure is None
    sandbox.activate(refuse)
    return sandbox


async def refuse():
    return False


class Turn:
    """One that runs in the sandbox; `events` are what came, `ended` is set behind the last one.

    `exit_reason` is how the process ended, if it did so before the turn.
    """

    def __init__(self, sandbox, prompt):
        self.process = sandbox.process
        self.events = []
        self.begun, self.ended = trio.Event(), trio.Event()
        self._query = Query(
            prompt=Raw(b'"%b"' % prompt.encode()), session_id="5a4db0c5-0000-4000-8000-000000000000"
        )
        sandbox.start(self._run, is_turn=True)

    async def _run(self):
        async with self.process.link.turn() as batches:
            await self.process.send(self._query)
            self.begun.set()
            async for batch in batches:
                self.events += batch
                if any(isinstance(event, TurnDone) for event in batch):
                    break
            else:
                self.exit_reason = await self.process.exit_reason()
        self.ended.set()


async def slow_turn(sandbox):
    """Its agent has the prompt, and goes on until it is stopped."""
    turn = Turn(sandbox, "SLOW: 100 60")
    await turn.begun.wait()
    return turn


async def test_process_is_there_while_work_can_begin(bench):
    """Neither before the boot nor once it is closed."""
    sandbox = bench.sandbox()
    assert sandbox.process is None
    bench.boot(sandbox)
    await sandbox.ready.wait()
    assert not sandbox.process.dying
    sandbox.close()
    assert sandbox.process is None
    end = await sandbox.ended()
    assert (None, None, True) == (sandbox.process, end.failure, end.kept)


async def test_turn_goes_from_its_query_to_its_end(sandbox):
    """Messages first, then the end, after which the next one may come."""
    for _ in range(2):
        turn = Turn(sandbox, "hello")
        await turn.ended.wait()
        *messages, done = turn.events
        assert (TurnDone, True) == (type(done), b'"result"' in bytes(messages[-1].data))
        assert {EngineMessage} == {type(message) for message in messages}


async def test_turn_that_is_interrupted_ends(sandbox):
    """The agent ends it itself, and lives on."""
    turn = await slow_turn(sandbox)
    await turn.process.send(Interrupt())
    await turn.ended.wait()
    assert isinstance(turn.events[-1], TurnDone)
    assert sandbox.process is turn.process


async def test_shutdown_ends_the_process(sandbox):
    """The turn ends as an error first."""
    turn = await slow_turn(sandbox)
    await turn.process.send(Shutdown())
    await turn.ended.wait()
    assert [Failed, TurnDone] == [type(event) for event in turn.events][-2:]
    assert (await sandbox.ended()).failure.text.startswith("The agent's process ended (")


async def test_killed_process_is_dying_at_once(sandbox):
    """Nothing begins in it any more; its turn and its owner are told how it ended."""
    turn = await slow_turn(sandbox)
    turn.process.kill()
    assert (True, None) == (turn.process.dying, sandbox.process)
    await turn.ended.wait()
    assert "The agent's process ended (signal 9)" == turn.exit_reason
    assert turn.process.take_limit_report() is None
    assert turn.exit_reason == (await sandbox.ended()).failure.text
    with pytest.raises(EngineFailed):
        await turn.process.send(Interrupt())


async def test_sandbox_is_idle_while_nothing_works_in_it(sandbox):
    """Two works count as one; the last one's end counts."""
    begun, works = sandbox.idle_since, [trio.Event(), trio.Event()]
    assert begun <= trio.current_time()
    for work in works:
        sandbox.start(work.wait)
    assert sandbox.idle_since is None
    works[0].set()
    await wait_all_tasks_blocked()
    assert sandbox.idle_since is None
    works[1].set()
    await wait_all_tasks_blocked()
    assert begun <= sandbox.idle_since <= trio.current_time()
    sandbox.close()
    assert sandbox.idle_since is None


async def test_closed_sandbox_waits_for_its_turn_alone(sandbox):
    """Other work is cut off; the turn is ended by whoever closed the sandbox."""
    turn, cut = await slow_turn(sandbox), trio.Event()

    async def work():
        try:
            await trio.sleep_forever()
        finally:
            cut.set()

    sandbox.start(work)
    sandbox.close()
    await wait_all_tasks_blocked()
    assert (False, False) == (cut.is_set(), sandbox.gone.is_set())
    await turn.process.send(Interrupt())
    await sandbox.ended()
    assert (True, True) == (turn.ended.is_set(), cut.is_set())


async def test_command_runs_beside_a_turn(sandbox):
    """Its answer is its own."""
    turn = await slow_turn(sandbox)
    answer = await turn.process.link.exec(Exec(command="true"))
    assert (0, "", "") == (answer.exit_code, answer.stdout, answer.stderr)
    await turn.process.send(Interrupt())
    await turn.ended.wait()


async def test_engine_is_bound_to_a_session_s_settings(sandbox):
    """It answers with them; a sandbox that is gone can't be bound."""
    await sandbox.bind(Open(session_id="", model="other", permission_mode="default"))
    turn = Turn(sandbox, "hello")
    await turn.ended.wait()
    sandbox.close()
    await sandbox.ended()
    with pytest.raises(Unavailable, match="was closed"):
        await sandbox.bind(PLAIN)


async def test_log_begins_with_the_boot(sandbox):
    """What was logged before there was a session, then what is logged after."""
    lines = []

    async def sink(more):
        lines.extend(more)

    await sandbox.attach(sink)
    await sandbox.log([("system", "late")])
    assert ["started", "late"] == [text.partition(":")[0] for _, text in lines][-2:]


async def test_session_says_whether_it_gives_way(bench, sandbox):
    """Before it is active nobody can, then it is asked."""
    assert not await bench.sandbox().evict()
    assert not await sandbox.evict()

    async def give_way():
        sandbox.close()
        return True

    sandbox.activate(give_way)
    assert await sandbox.evict()


async def test_failure_is_told_at_the_end(sandbox):
    """With which it is closed; its files are kept all the same."""
    sandbox.close(EngineFailed("it is of no use"))
    end = await sandbox.ended()
    assert ("it is of no use", True) == (end.failure.text, end.kept)
