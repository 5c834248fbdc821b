"""The task that owns the engine's conversation, with an engine that the test speaks for."""

from contextlib import asynccontextmanager

import pytest
import trio
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

from ash.protocol import (
    BackgroundTasks,
    EngineMessage,
    Failed,
    Open,
    OwnTurn,
    Query,
    TurnDone,
    decode_event,
)
from bridge.engine import EngineBusy, EngineDied, EngineError, EngineGone
from bridge.engine_worker import INTERRUPT_SECONDS, MAX_QUEUED, EngineWorker

SESSION = "4f7f6bd5-4fd1-4a0c-9a4e-0f9c1d4be000"


class FakeEngine:
    """`opened` counts its conversations, `prompts` are the turns that they were given.

    A turn waits for `gate`, emits what the engine `says`, and raises what `failures` has for it.
    """

    def __init__(self):
        self.opened = self.interrupts = 0
        self.session_id = SESSION
        self.prompts = []
        self.failures = {}
        self.refusals = []
        self.says = []
        self.gate = trio.Event()
        self.gate.set()

    @asynccontextmanager
    async def open(self, launch, *, resume, write_log):
        await trio.lowlevel.checkpoint()
        self.opened += 1
        if self.refusals:
            raise EngineDied(self.refusals.pop())
        yield self

    def on_mcp_status(self, tell):
        pass

    def on_end(self, tell):
        self.tell_gone = tell

    async def interrupt(self):
        await trio.lowlevel.checkpoint()
        self.interrupts += 1

    def on_own_work(self, own_turn, tasks):
        self.wake, self.tell_tasks = own_turn, tasks

    async def own_turn(self, emit):
        self.prompts.append("own")
        await self.gate.wait()
        for raw in self.says:
            await emit(raw)
        if failure := self.failures.pop("own", None):
            raise failure

    async def turn(self, prompt, model, emit, taken=None):
        number = int(bytes(prompt))
        if isinstance(self.failures.get(number), EngineBusy):
            raise self.failures.pop(number)
        if taken is not None:
            taken()
        self.prompts.append(number)
        await self.gate.wait()
        for raw in self.says:
            await emit(raw)
        if failure := self.failures.pop(number, None):
            raise failure


class Memory:
    async def prepare(self, launch, *, resume):
        await trio.lowlevel.checkpoint()
        return resume

    def refused(self, launch, why):
        return why == "refused"


class Lines:
    """As an outbox that nobody empties."""

    def __init__(self):
        self.events = []

    async def put(self, line):
        self.put_now(line)

    def put_now(self, line):
        self.events.append(decode_event(line.rstrip(b"\n")))

    def of(self, command):
        """What was answered to it, in words."""
        mine = [event for event in self.events if getattr(event, "id", None) == command.id]
        return [
            event.error if isinstance(event, Failed) else type(event).__name__ for event in mine
        ]


class Bench:
    def __init__(self, nursery):
        self.engine = FakeEngine()
        self.lines = Lines()
        self.worker = EngineWorker(lambda: self.engine, self.lines, print, Memory())
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        nursery.start_soon(self._run)

    async def _run(self):
        with self.scope:
            await self.worker.run()
        self.ended.set()

    def ask(self, number, **more):
        query = Query(prompt=Raw(b"%d" % number), session_id=SESSION, id=f"q{number}", **more)
        self.worker.submit(query)
        return query

    async def answered(self, number):
        query = self.ask(number)
        await wait_all_tasks_blocked()
        return self.lines.of(query)


@pytest.fixture
async def bench(nursery, inline_threads):
    bench = Bench(nursery)
    await wait_all_tasks_blocked()
    return bench


async def test_prompts_are_done_one_after_the_other(bench):
    """In one conversation, each with its own end."""
    queries = [bench.ask(number) for number in range(3)]
    await wait_all_tasks_blocked()
    assert [0, 1, 2] == bench.engine.prompts
    assert [["TurnDone"]] * 3 == [bench.lines.of(query) for query in queries]
    assert 1 == bench.engine.opened


async def test_prompt_that_is_refused_is_not_done_later(bench):
    """One too many is answered at once, and that is its only answer."""
    bench.engine.gate = trio.Event()
    bench.ask(0)
    await wait_all_tasks_blocked()
    taken = [bench.ask(number) for number in range(1, MAX_QUEUED + 1)]
    refused = bench.ask(99)
    expected = [f"There are {MAX_QUEUED} requests waiting already", "TurnDone"]
    assert expected == bench.lines.of(refused)
    bench.engine.gate.set()
    await wait_all_tasks_blocked()
    assert [*range(MAX_QUEUED + 1)] == bench.engine.prompts
    assert expected == bench.lines.of(refused)
    assert [["TurnDone"]] * MAX_QUEUED == [bench.lines.of(query) for query in taken]


async def test_prompt_that_is_given_up_while_it_waits_is_not_done(bench, autojump_clock):
    """It ends when the patience is over, and the turn that runs is not interrupted for it."""
    bench.engine.gate = trio.Event()
    running = bench.ask(0)
    await wait_all_tasks_blocked()
    waiting = bench.ask(1)
    [job] = bench.worker._waiting
    await bench.worker.stop(job)
    assert (INTERRUPT_SECONDS, 0) == (trio.current_time(), bench.engine.interrupts)
    assert [["TurnDone"], []] == [bench.lines.of(waiting), bench.lines.of(running)]
    bench.engine.gate.set()
    await wait_all_tasks_blocked()
    assert [0] == bench.engine.prompts
    assert [["TurnDone"], ["TurnDone"]] == [bench.lines.of(waiting), bench.lines.of(running)]


async def test_fault_of_the_engine_costs_one_turn(bench, capsys):
    """What no engine should raise ends the turn in words; the next one has a new conversation."""
    bench.engine.failures[0] = RuntimeError("a fault of the SDK")
    assert [
        "The engine failed: RuntimeError('a fault of the SDK')",
        "TurnDone",
    ] == await bench.answered(0)
    assert "RuntimeError: a fault of the SDK" in capsys.readouterr().err
    assert ["TurnDone"] == await bench.answered(1)
    assert 2 == bench.engine.opened


@pytest.mark.parametrize("partial", [True, False])
async def test_deltas_come_to_who_asks_for_them(bench, partial):
    """Whole messages come to everyone."""
    said = [b'{"type":"stream_event","n":1}', b'{"type":"assistant"}', b'{"type":"result"}']
    bench.engine.says = said
    bench.ask(0, include_partial_messages=partial)
    await wait_all_tasks_blocked()
    messages = [bytes(e.data) for e in bench.lines.events if isinstance(e, EngineMessage)]
    assert said[not partial :] == messages


async def test_turn_that_fails_keeps_the_conversation(bench):
    """Its error is told before its end."""
    bench.engine.failures[0] = EngineError("no")
    assert ["no", "TurnDone"] == await bench.answered(0)
    assert ["TurnDone"] == await bench.answered(1)
    assert 1 == bench.engine.opened


async def test_turn_in_which_the_engine_dies_is_not_tried_again(bench):
    """What it did may be half done."""
    bench.engine.failures[0] = EngineDied("it died")
    assert ["it died", "TurnDone"] == await bench.answered(0)
    assert [0] == bench.engine.prompts
    assert ["TurnDone"] == await bench.answered(1)
    assert 2 == bench.engine.opened


async def test_turn_that_found_no_engine_is_tried_once_more(bench):
    """The engine was gone before: nothing of the turn was done."""
    bench.engine.failures[0] = EngineGone("it was gone")
    assert ["TurnDone"] == await bench.answered(0)
    assert [0, 0] == bench.engine.prompts


@pytest.mark.parametrize(
    ("refusals", "answers"),
    [(["refused"], ["TurnDone"]), (["refused"] * 2, ["refused", "TurnDone"])],
)
async def test_engine_that_refuses_the_transcript_is_started_once_more(bench, refusals, answers):
    """By then there is another transcript."""
    bench.engine.refusals = refusals
    assert (answers, 2) == (await bench.answered(0), bench.engine.opened)


async def test_turn_that_ends_in_the_words_of_a_refusal_is_not_tried_again(bench):
    """The engine was open: what it did may be half done."""
    bench.engine.failures[0] = EngineDied("refused")
    assert ["refused", "TurnDone"] == await bench.answered(0)
    assert [0] == bench.engine.prompts


async def test_turn_that_finds_no_engine_twice_has_failed(bench):
    """An engine that dies at each start is not started for ever."""
    engine_turn, bench.engine.turn = bench.engine.turn, None

    async def gone(*args):
        await engine_turn(*args)
        raise EngineGone("it was gone")

    bench.engine.turn = gone
    assert ["it was gone", "TurnDone"] == await bench.answered(0)
    assert [0, 0] == bench.engine.prompts


async def test_interrupt_is_repeated_until_the_turn_is_over(bench, autojump_clock):
    """An interrupt may come at a moment in which the engine forgets it."""
    bench.engine.gate = trio.Event()
    query = bench.ask(0)
    await wait_all_tasks_blocked()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.worker.stop, bench.worker.find_turn())
        await trio.sleep(2.5)
        assert 3 == bench.engine.interrupts
        bench.engine.gate.set()
    assert 2.5 == trio.current_time()
    assert ["TurnDone"] == bench.lines.of(query)


async def test_engine_that_follows_no_interrupt_is_ended(bench, autojump_clock):
    """Within the patience; the next turn has a new conversation."""
    bench.engine.gate = trio.Event()
    query = bench.ask(0)
    await wait_all_tasks_blocked()
    await bench.worker.stop(bench.worker.find_turn())
    assert INTERRUPT_SECONDS == trio.current_time()
    words = "The engine did not stop when it was told to, and was ended"
    assert [words, "TurnDone"] == bench.lines.of(query)
    bench.engine.gate.set()
    assert ["TurnDone"] == await bench.answered(1)
    assert 2 == bench.engine.opened


async def test_second_interrupt_of_a_turn_does_nothing(bench, autojump_clock):
    """The first one sees to it."""
    bench.engine.gate = trio.Event()
    bench.ask(0)
    await wait_all_tasks_blocked()
    job = bench.worker.find_turn()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.worker.stop, job)
        await wait_all_tasks_blocked()
        await bench.worker.stop(job)
        assert (0, 1) == (trio.current_time(), bench.engine.interrupts)
        bench.engine.gate.set()


async def test_shutdown_answers_what_is_left(bench):
    """The turn that runs and those that wait: nobody waits for an end for ever."""
    bench.engine.gate = trio.Event()
    queries = [bench.ask(number) for number in range(2)]
    await wait_all_tasks_blocked()
    bench.scope.cancel()
    await bench.ended.wait()
    expected = ["The agent's process is shutting down", "TurnDone"]
    assert [expected, expected] == [bench.lines.of(query) for query in queries]


async def test_end_of_the_engine_is_told_while_nothing_runs(bench):
    """During a turn the turn says so, and of one that is being closed nobody asks."""
    bench.engine.gate = trio.Event()
    bench.ask(0)
    await wait_all_tasks_blocked()
    bench.engine.tell_gone("it ended")
    assert [] == bench.lines.events
    bench.engine.gate.set()
    await wait_all_tasks_blocked()
    bench.engine.tell_gone("it ended")
    assert ["TurnDone", "EngineExited"] == [type(event).__name__ for event in bench.lines.events]


async def test_interrupt_means_the_first_turn_not_what_opens_the_engine(bench):
    """An `open` ahead of it in the queue is no turn."""
    bench.engine.gate = trio.Event()
    assert bench.worker.find_turn() is None
    bench.worker.submit(Open(session_id=SESSION, id="open"))
    query = bench.ask(0)
    assert query is bench.worker.find_turn().command
    bench.engine.gate.set()


async def test_engine_that_is_not_installed_is_told_to_each_turn(bench):
    """In words, and the bridge lives on: a later turn may find it."""

    def missing():
        raise ImportError("no module named sdk")

    load, bench.worker._load, bench.worker._engine = bench.worker._load, missing, None
    words = "The engine is not installed: no module named sdk"
    assert [words, "TurnDone"] == await bench.answered(0)
    bench.worker._load = load
    assert ["TurnDone"] == await bench.answered(1)


async def opened(bench):
    """A conversation that a command has opened."""
    bench.worker.submit(Open(session_id=SESSION, id="open"))
    await wait_all_tasks_blocked()
    bench.lines.events.clear()


async def test_turn_that_the_engine_begins_is_announced_and_has_its_own_end(bench):
    """Its messages stand between both, with the deltas that the last prompt has asked for."""
    await opened(bench)
    delta, whole = b'{"type":"stream_event"}', b'{"type":"assistant"}'
    bench.engine.says = [delta, whole]
    bench.engine.wake()
    await wait_all_tasks_blocked()
    assert [
        OwnTurn(SESSION, id="own-1"),
        EngineMessage(Raw(whole)),
        TurnDone(SESSION, id="own-1"),
    ] == bench.lines.events
    bench.ask(0, include_partial_messages=True)
    await wait_all_tasks_blocked()
    bench.lines.events.clear()
    bench.engine.wake()
    await wait_all_tasks_blocked()
    assert 2 == sum(isinstance(event, EngineMessage) for event in bench.lines.events)


async def test_prompts_wait_for_a_turn_of_the_engine(bench):
    """One that yields is refused instead, whether it came before the turn began or after."""
    await opened(bench)
    bench.engine.gate = trio.Event()
    running = bench.ask(0)
    await wait_all_tasks_blocked()
    early, patient = bench.ask(1, yields=True), bench.ask(2)
    bench.engine.wake()
    bench.engine.gate.set()
    bench.engine.gate = trio.Event()
    await wait_all_tasks_blocked()
    late = bench.ask(3, yields=True)
    bench.engine.gate.set()
    await wait_all_tasks_blocked()
    assert [0, "own", 2] == bench.engine.prompts
    assert [["TurnDone"], ["PromptRefused"], ["TurnDone"], ["PromptRefused"]] == [
        bench.lines.of(query) for query in (running, early, patient, late)
    ]


async def test_prompt_that_yields_is_answered_first_that_it_was_taken(bench):
    """Or that it was refused, because the engine was faster."""
    await opened(bench)
    bench.engine.failures[1] = EngineBusy("no")
    taken, refused = bench.ask(0, yields=True), bench.ask(1, yields=True)
    await wait_all_tasks_blocked()
    assert ["PromptTaken", "TurnDone"] == bench.lines.of(taken)
    assert ["PromptRefused"] == bench.lines.of(refused)


async def test_turn_of_the_engine_can_be_interrupted(bench):
    """As one that somebody has asked for."""
    await opened(bench)
    bench.engine.gate = trio.Event()
    bench.engine.wake()
    await wait_all_tasks_blocked()
    assert OwnTurn(SESSION, id="own-1") == bench.worker.find_turn("own-1").command


async def test_death_in_a_turn_of_the_engine_ends_it(bench):
    """With the reason; and what ran in the background is over."""
    await opened(bench)
    bench.engine.tell_tasks(["sleep 9"])
    bench.engine.failures["own"] = EngineDied("it died")
    bench.engine.wake()
    await wait_all_tasks_blocked()
    assert [
        BackgroundTasks(["sleep 9"]),
        OwnTurn(SESSION, id="own-1"),
        Failed("it died", id="own-1"),
        TurnDone(SESSION, id="own-1"),
        BackgroundTasks([]),
    ] == bench.lines.events
    assert ["TurnDone"] == await bench.answered(1)
