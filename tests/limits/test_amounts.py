import msgspec
import pytest

from ash.limits import Limits, cap
from ash.shapes import AskedLimits

MOST = Limits(memory_mb=4096, cpu_percent=200, disk_mb=2048, max_processes=512)


def asked(text):
    return msgspec.json.decode(text, type=AskedLimits)


def test_limits_have_the_names_of_the_api():
    """Limits are shown in camel case, all four of them."""
    shown = msgspec.json.encode(Limits())
    expected = b'{"memoryMb":2048,"cpuPercent":100,"diskMb":1024,"maxProcesses":256}'
    assert expected == shown


def test_asked_limits_read_the_names_of_the_api():
    """What is asked for is read in camel case, and what is not said stays open."""
    given = asked('{"memoryMb": 512, "maxProcesses": 32}')
    assert AskedLimits(memory_mb=512, max_processes=32) == given


@pytest.mark.parametrize(
    "text",
    [
        '{"memoryMB": 512}',
        '{"memoryMb": 63}',
        '{"memoryMb": "512"}',
        '{"memoryMb": 512.5}',
        '{"cpuPercent": 0}',
        '{"cpuPercent": true}',
        '{"diskMb": -1}',
        '{"maxProcesses": 7}',
        '{"maxProcesses": 1e9}',
    ],
)
def test_asked_limits_that_make_no_sense_are_refused(text):
    """A wrong name, kind or size is an error that names the place."""
    with pytest.raises(msgspec.ValidationError):
        asked(text)


def test_cap_with_nothing_asked_is_the_daemons():
    """Who asks for nothing gets what the daemon allows."""
    assert cap(None, most=MOST) == MOST


def test_cap_takes_less_than_the_daemons():
    """Less may be asked for, one amount at a time."""
    expected = Limits(memory_mb=256, cpu_percent=200, disk_mb=2048, max_processes=512)
    assert expected == cap(AskedLimits(memory_mb=256), most=MOST)


def test_cap_holds_what_asks_for_more():
    """Nobody gets more than the daemon allows."""
    greedy = AskedLimits(memory_mb=8192, cpu_percent=400, disk_mb=4096, max_processes=1024)
    assert cap(greedy, most=MOST) == MOST


def test_cap_lets_the_session_win_over_its_agent():
    """The later one wins where both ask, also for more; where it is silent the earlier holds."""
    agent = AskedLimits(memory_mb=256, cpu_percent=50)
    session = AskedLimits(memory_mb=1024)
    expected = Limits(memory_mb=1024, cpu_percent=50, disk_mb=2048, max_processes=512)
    assert expected == cap(agent, session, most=MOST)
