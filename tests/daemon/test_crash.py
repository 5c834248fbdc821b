"""A daemon that is killed again and again, in the midst of its work."""

import pytest

from tests.support.crash import Crash

# bench/crash.py does it 200 times.
KILLS = 20


@pytest.mark.crash
async def test_nothing_is_lost_when_parts_are_killed(tmp_path):
    """What clients were shown is stored, turns have ends, sessions go on with what they had."""
    crash = Crash(tmp_path / "data", seed=7)
    await crash.run(KILLS)
    assert {"daemon": 7, "bridge": 7, "engine": 6} == crash.counts
    assert {"completed", "error", "lost"} <= crash.turns.keys()
