"""The sorting of the CLI's lines, without a process."""

import json

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.protocol import Lines
from bridge import turn_lines
from bridge.raw_lines import RawLines
from bridge.turn_lines import TurnLines

_INIT = b'{"type":"system","subtype":"init"}'
_RESULT = b'{"type":"result"}'
_STATE = b'{"type":"system","subtype":"session_state_changed","sdk_host_only":true,"state":"%b"}'
_RUNNING, _IDLE = _STATE % b"running", _STATE % b"idle"
_ENDED = b'{"type":"system","subtype":"task_notification"}'
_WAITING = b'{"type":"result","subagent_stats":{"spawned":1}}'


def _tasks(*descriptions: str) -> bytes:
    tasks = [{"task_id": "b1", "description": text} for text in descriptions]
    message = {"type": "system", "subtype": "background_tasks_changed", "tasks": tasks}
    return json.dumps(message).encode()


def _told(state: str, uuid: str = "ours") -> bytes:
    """What the CLI says of the prompt with that uuid."""
    message = {"type": "command_lifecycle", "command_uuid": uuid, "state": state}
    return json.dumps(message).encode()


class _Cli:
    """Feeds lines; `said` is the log, `control` the messages for the SDK."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.said: list[str] = []
        self.control: list[dict] = []
        self.lines = RawLines(self.said.append)
        self._send, self._receive = trio.open_memory_channel[bytes](100)
        nursery.start_soon(self._read)

    async def _read(self) -> None:
        async for message in self.lines.control_messages(self._receive):
            self.control.append(message)

    async def write(self, *lines: bytes) -> None:
        await self._send.send(b"".join(line + b"\n" for line in lines))
        await wait_all_tasks_blocked()

    async def begin(self, emitted: list[bytes]) -> TurnLines:
        turn = self.ask()
        await turn.claim(_into(emitted))
        return turn

    def ask(self, uuid: str = "ours", *, yields: bool = False) -> TurnLines:
        """A prompt that is sent; nobody has claimed its lines yet."""
        turn = self.lines.begin(uuid, yields=yields)
        self.lines.send(turn)
        return turn

    async def claim_own(self, emitted: list[bytes]) -> TurnLines:
        turn = self.lines.begin_own()
        await turn.claim(_into(emitted))
        return turn


def _into(emitted: list[bytes]):
    async def emit(line) -> None:
        emitted.append(bytes(line))

    return emit


@pytest.fixture
async def cli(nursery) -> _Cli:
    return _Cli(nursery)


async def test_control_messages_go_only_to_the_sdk(cli) -> None:
    """Control messages are parsed for the SDK and are never part of a turn."""
    emitted: list[bytes] = []
    await cli.begin(emitted)
    await cli.write(b'{"type":"control_response","response":{"a":1}}', _INIT)
    assert [{"type": "control_response", "response": {"a": 1}}] == cli.control
    assert [_INIT] == emitted


async def test_turn_begins_with_init_and_is_over_with_its_result(cli) -> None:
    """`begun` is set by `init`, and `over` by the result."""
    turn = await cli.begin([])
    assert (False, False) == (turn.begun.is_set(), turn.over.is_set())
    await cli.write(_INIT)
    assert (True, False) == (turn.begun.is_set(), turn.over.is_set())
    await cli.write(_RESULT)
    assert turn.over.is_set()


async def test_line_after_the_end_of_a_turn_is_not_part_of_it(cli) -> None:
    """A line that follows the result in the same chunk belongs to the next turn."""
    first: list[bytes] = []
    turn = await cli.begin(first)
    await cli.write(_INIT, _RESULT, b'{"type":"late"}')
    cli.lines.finish(turn)
    second: list[bytes] = []
    await cli.begin(second)
    assert ([_INIT, _RESULT], [b'{"type":"late"}']) == (first, second)


async def test_lines_between_turns_are_bounded(cli, monkeypatch) -> None:
    """Beyond the limit the CLI has to wait; the next turn gets all lines in order."""
    monkeypatch.setattr(turn_lines, "MAX_HELD", 10)
    lines = [b'{"type":"a"}', b'{"type":"b"}', b'{"type":"c"}']
    for line in lines:
        await cli.write(line)
    assert 1 == len(cli.lines._now._held)
    emitted: list[bytes] = []
    await cli.begin(emitted)
    await wait_all_tasks_blocked()
    assert lines == emitted


async def test_turn_that_ends_unclaimed_does_not_hold_the_reader(cli, monkeypatch) -> None:
    """A prompt may fail before its lines are claimed; the CLI's next lines are still read."""
    monkeypatch.setattr(turn_lines, "MAX_HELD", 10)
    turn = cli.lines.begin("u", yields=True)
    await cli.write(b'{"type":"a"}')
    await cli.write(b'{"type":"b"}')
    cli.lines.finish(turn)
    emitted: list[bytes] = []
    await cli.begin(emitted)
    await cli.write(b'{"type":"c"}')
    assert [b'{"type":"c"}'] == emitted


async def test_text_of_a_hook_that_is_cut_in_a_character_stops_no_line(cli) -> None:
    """Neither as an escape nor as bytes: the hook's fault is logged if it can be read."""
    emitted: list[bytes] = []
    await cli.begin(emitted)
    head = (
        b'{"type":"system","subtype":"hook_response","hook_name":"Stop","outcome":"error","stderr":'
    )
    lines = [head + b'"a\\ud83d"}', head + b'"a\xff"}', b'{"type":"a"}']
    await cli.write(*lines)
    assert lines == emitted
    assert ["hook Stop: error (exit code None): a\ufffd"] == cli.said


async def test_line_that_is_too_long_ends_the_cli(nursery, monkeypatch) -> None:
    """The turn ends, and the reason names the limit."""
    monkeypatch.setattr("bridge.raw_lines.Lines", lambda: Lines(limit=50))
    cli = _Cli(nursery)
    turn = await cli.begin([])
    await cli.write(b"x" * 51)
    assert turn.over.is_set()
    assert "The engine wrote too much: a line is longer than 50 bytes" == cli.lines.exit_reason


async def test_plain_text_between_turns_is_logged(cli) -> None:
    """Plain text between turns fails no turn."""
    await cli.write(b"hello, human", b'{"type":"cut')
    assert ["hello, human", '{"type":"cut'] == cli.said


async def test_quiet_means_that_nothing_would_be_lost(cli) -> None:
    """`quiet` is false while any turn runs or an abandoned one may still run."""
    assert cli.lines.quiet
    turn = await cli.begin([])
    assert not cli.lines.quiet
    await cli.write(_RESULT)
    cli.lines.finish(turn)
    assert cli.lines.quiet
    await cli.write(_RUNNING)
    assert not cli.lines.quiet
    await cli.write(_IDLE)
    assert cli.lines.quiet
    await cli.write(_tasks("sleep 9"))
    assert not cli.lines.quiet
    await cli.write(_tasks())
    assert cli.lines.quiet
    cli.lines.finish(await cli.begin([]))
    assert not cli.lines.quiet


async def test_exit_between_turns_is_reported_once(cli) -> None:
    """`on_end` is called once, with the reason."""
    told: list[str] = []
    cli.lines.on_end = told.append
    cli.lines.mark_dead("first")
    cli.lines.mark_dead("second")
    assert ["first"] == told


async def test_exit_in_a_turn_ends_the_turn(cli) -> None:
    """An exit during a turn ends it, and `on_end` is not called."""
    told: list[str] = []
    cli.lines.on_end = told.append
    turn = await cli.begin([])
    cli.lines.mark_dead("gone")
    assert (True, []) == (turn.over.is_set(), told)


@pytest.mark.parametrize(
    "line", [b'{"type":"system","subtype":"status"}', b'{"type":"odd","subtype":"init"}']
)
async def test_turn_has_not_begun_before_its_own_init(cli, line) -> None:
    """Neither another message of the system nor another kind of `init` begins it."""
    turn = await cli.begin([])
    await cli.write(line)
    assert not turn.begun.is_set()


async def test_cli_that_died_is_not_quiet(cli) -> None:
    """There is nothing that could take the next prompt."""
    assert cli.lines.quiet
    cli.lines.mark_dead("it died")
    assert not cli.lines.quiet


async def test_turn_that_the_cli_begins_by_itself_is_one_of_its_own(cli) -> None:
    """It has what came before it, and ends when the CLI is idle. The next prompt has none of it."""
    woken: list[bool] = []
    cli.lines.on_own_turn = lambda: woken.append(True)
    cli.lines.finish(await _done(cli))
    await cli.write(_ENDED, _RUNNING, _INIT, b'{"type":"assistant"}')
    assert ([True], False) == (woken, cli.lines.quiet)
    own: list[bytes] = []
    turn = await cli.claim_own(own)
    await cli.write(_RESULT)
    assert not turn.over.is_set()
    await cli.write(_IDLE)
    assert turn.over.is_set()
    cli.lines.finish(turn)
    ours: list[bytes] = []
    await cli.begin(ours)
    await cli.write(_INIT)
    assert ([_ENDED, _INIT, b'{"type":"assistant"}', _RESULT], [_INIT]) == (own, ours)


async def _done(cli: _Cli) -> TurnLines:
    """A turn of ours on a CLI that reports its state and names prompts."""
    turn = await cli.begin([])
    await cli.write(_RUNNING, _told("queued"), _told("started"), _INIT, _RESULT)
    await cli.write(_told("completed"), _IDLE)
    assert turn.over.is_set()
    return turn


async def test_wake_up_that_the_agent_has_scheduled_is_a_turn_of_its_own(cli) -> None:
    """What the CLI says of its own prompt is passed on; what it says of ours is not."""
    ours: list[bytes] = []
    turn = await cli.begin(ours)
    await cli.write(_RUNNING, _told("started"), _INIT, _RESULT, _told("completed"), _IDLE)
    cli.lines.finish(turn)
    own: list[bytes] = []
    await cli.write(_RUNNING, _told("started", "theirs"), _INIT)
    await cli.claim_own(own)
    await cli.write(_RESULT, _told("completed", "theirs"), _IDLE)
    assert [_INIT, _RESULT] == ours
    assert [_told("started", "theirs"), _INIT, _RESULT, _told("completed", "theirs")] == own


async def test_own_turn_that_is_over_before_it_is_claimed_is_whole(cli) -> None:
    """Its lines are kept, apart from those of the next one."""
    await cli.write(_RUNNING, _INIT, _RESULT, _INIT, b'{"type":"second"}', _RESULT, _IDLE)
    first: list[bytes] = []
    second: list[bytes] = []
    cli.lines.finish(await cli.claim_own(first))
    turn = await cli.claim_own(second)
    assert turn.over.is_set()
    assert ([_INIT, _RESULT], [_INIT, b'{"type":"second"}', _RESULT]) == (first, second)


async def test_turn_that_yields_is_overtaken(cli) -> None:
    """The CLI began a turn by itself before it took the prompt, which has no line then."""
    cli.lines.finish(await _done(cli))
    turn = cli.ask(yields=True)
    await cli.write(_told("queued"), _ENDED, _RUNNING, _INIT)
    assert (True, True) == (turn.decided.is_set(), turn.overtaken)
    await cli.write(_told("cancelled"))
    cli.lines.finish(turn)
    own: list[bytes] = []
    await cli.claim_own(own)
    await cli.write(_RESULT, _IDLE)
    assert [_ENDED, _INIT, _RESULT] == own


async def test_turn_that_yields_is_taken(cli) -> None:
    """The CLI has taken the prompt: what comes next is its own."""
    cli.lines.finish(await _done(cli))
    turn = cli.ask(yields=True)
    await cli.write(_RUNNING, _told("queued"))
    assert not turn.decided.is_set()
    await cli.write(_told("started"), _INIT)
    assert (True, False, True) == (
        turn.decided.is_set(),
        turn.overtaken,
        turn.begun.is_set(),
    )


async def test_prompt_that_can_not_be_withdrawn_has_its_own_lines(cli) -> None:
    """The CLI takes an overtaken prompt after all: its turn begins there, the other one ends."""
    cli.lines.finish(await _done(cli))
    turn = cli.ask(yields=True)
    await cli.write(_RUNNING, _INIT, _RESULT, _told("started"), _INIT)
    ours: list[bytes] = []
    own: list[bytes] = []
    await turn.claim(_into(ours))
    await cli.write(_RESULT, _IDLE)
    cli.lines.finish(turn)
    await cli.claim_own(own)
    assert ([_INIT, _RESULT], [_INIT, _RESULT]) == (ours, own)


async def test_turn_that_begins_while_the_cli_runs_its_own_yields(cli) -> None:
    """Or gets the lines of both, if it does not yield; its first result is not its end."""
    cli.lines.finish(await _done(cli))
    await cli.write(_RUNNING, _INIT)
    assert cli.lines.begin("ours", yields=True).overtaken
    ours: list[bytes] = []
    turn = await cli.begin(ours)
    await cli.write(_RESULT)
    assert not turn.over.is_set()
    await cli.write(_told("started"), _INIT, _RESULT, _IDLE)
    assert turn.over.is_set()
    assert [_INIT, _RESULT, _INIT, _RESULT] == ours


async def test_turn_waits_for_the_report_of_a_subagent(cli) -> None:
    """A result before that ends it only if the CLI is idle, and another `init` is part of it."""
    turn = await cli.begin([])
    await cli.write(_RUNNING, _told("started"), _INIT, _WAITING, _told("completed"), _INIT)
    assert not turn.over.is_set()
    await cli.write(_RESULT, _IDLE)
    assert turn.over.is_set()
    cli.lines.finish(turn)
    turn = await cli.begin([])
    await cli.write(_RUNNING, _told("started"), _INIT, _WAITING, _IDLE)
    assert turn.over.is_set()


async def test_turn_that_follows_at_once_is_not_part_of_the_first(cli) -> None:
    """A task has ended during a turn, and the CLI answers that before it is idle."""
    ours: list[bytes] = []
    own: list[bytes] = []
    turn = await cli.begin(ours)
    await cli.write(_RUNNING, _told("started"), _INIT, _RESULT, _told("completed"), _INIT)
    assert turn.over.is_set()
    cli.lines.finish(turn)
    await cli.claim_own(own)
    await cli.write(_RESULT, _IDLE)
    assert ([_INIT, _RESULT], [_INIT, _RESULT]) == (ours, own)


async def test_prompt_that_the_cli_drops_ends_its_turn(cli) -> None:
    """Nothing follows, so nobody waits for a result."""
    cli.lines.finish(await _done(cli))
    turn = await cli.begin([])
    await cli.write(_told("queued"), _told("cancelled"), _IDLE)
    assert turn.over.is_set()


@pytest.mark.parametrize(
    ("tasks", "described"),
    [([{"description": "a"}, {"description": 1}, {}, "odd"], ["a"]), ("odd", []), (None, [])],
)
async def test_tasks_in_the_background_are_told(cli, tasks, described) -> None:
    """In the CLI's words; odd ones are left out."""
    told: list[list[str]] = []
    cli.lines.on_tasks = told.append
    message = {"type": "system", "subtype": "background_tasks_changed", "tasks": tasks}
    await cli.write(json.dumps(message).encode())
    assert [described] == told


async def test_own_turn_ends_with_the_cli(cli) -> None:
    """It is kept for whoever claims it, and is over."""
    await cli.write(_RUNNING, _INIT)
    cli.lines.mark_dead("gone")
    own: list[bytes] = []
    turn = await cli.claim_own(own)
    assert (True, [_INIT]) == (turn.over.is_set(), own)


@pytest.mark.parametrize("value", [b"9" * 5000, b'"\xff"', b'"\\ud800"', b"1e999"])
@pytest.mark.parametrize("field", [b"subtype", b"x"])
async def test_result_of_any_value_ends_the_turn(cli, field, value) -> None:
    """Whatever else a result has, it is one, and is passed on as it is."""
    emitted: list[bytes] = []
    turn = await cli.begin(emitted)
    line = b'{"type":"result","%b":%b}' % (field, value)
    await cli.write(_INIT, line)
    assert turn.over.is_set()
    assert [_INIT, line] == emitted


@pytest.mark.parametrize("value", [b"9" * 5000, b'"\xff"'])
async def test_control_message_that_can_not_be_read_costs_the_turn_alone(cli, value) -> None:
    """It is a fault of the turn; the lines after it are read."""
    turn = await cli.begin([])
    await cli.write(b'{"type":"control_response","x":%b}' % value, _RESULT)
    assert turn.over.is_set()
    assert "not JSON" in turn.fault
    assert [] == cli.control
