"""The sorting of the CLI's lines, without a process."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.protocol import Lines
from bridge import raw_lines
from bridge.raw_lines import RawLines

_INIT = b'{"type":"system","subtype":"init"}'
_RESULT = b'{"type":"result"}'


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

    async def begin(self, emitted: list[bytes]) -> raw_lines.TurnLines:
        async def emit(line) -> None:
            emitted.append(bytes(line))

        turn = await self.lines.begin(emit)
        turn.prompt_sent = True
        return turn


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
    await cli.begin(first)
    await cli.write(_INIT, _RESULT, b'{"type":"late"}')
    cli.lines.finish()
    second: list[bytes] = []
    await cli.begin(second)
    assert ([_INIT, _RESULT], [b'{"type":"late"}']) == (first, second)


async def test_lines_between_turns_are_bounded(cli, monkeypatch) -> None:
    """Beyond the limit the CLI has to wait; the next turn gets all lines in order."""
    monkeypatch.setattr(raw_lines, "MAX_BETWEEN_TURNS", 10)
    lines = [b'{"type":"a"}', b'{"type":"b"}', b'{"type":"c"}']
    for line in lines:
        await cli.write(line)
    assert 1 == len(cli.lines._between)
    emitted: list[bytes] = []
    await cli.begin(emitted)
    await wait_all_tasks_blocked()
    assert lines == emitted


async def test_line_that_is_too_long_ends_the_cli(nursery, monkeypatch) -> None:
    """The turn ends, and the reason names the limit."""
    monkeypatch.setattr(raw_lines, "Lines", lambda: Lines(limit=50))
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
    await cli.begin([])
    assert not cli.lines.quiet
    await cli.write(_RESULT)
    cli.lines.finish()
    assert cli.lines.quiet
    await cli.write(b'{"type":"system","subtype":"session_state_changed","state":"running"}')
    assert not cli.lines.quiet
    await cli.write(b'{"type":"system","subtype":"session_state_changed","state":"idle"}')
    assert cli.lines.quiet
    await cli.begin([])
    cli.lines.finish()
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
