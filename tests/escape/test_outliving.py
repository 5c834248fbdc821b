"""An agent's code tries to live on when the daemon is killed without warning."""

import os
import secrets
import select
import signal

import pytest

from ash.testing import StubModel
from tests.escape.conftest import GROUNDS, processes_of, running
from tests.support.waiting import block_until

# Deaf to what can be refused, in a session of its own.
LIVE_ON = """
setsid sh -c 'trap "" TERM HUP INT; while :; do sleep 100; done' \
  >/dev/null 2>&1 </dev/null &
"""


def once_there(secret):
    """What carries the secret, as soon as anything does: on a busy machine that takes a while."""
    block_until(lambda: processes_of(secret))
    return processes_of(secret)


@pytest.mark.parametrize(("engine", "uid"), [param.values[0] for param in GROUNDS[:2]])
def test_nothing_outlives_a_daemon_that_is_killed(engine, uid):
    """The kernel ends all that is in its sandboxes, whatever that has done against it."""
    secret = secrets.token_hex(16)
    with StubModel.in_thread() as model, running(engine, uid, model) as host:
        session = host.session("attacker", extraEnv={"SECRET": secret})
        session.execute(LIVE_ON)
        handles = [os.pidfd_open(pid) for pid in once_there(secret)]
        try:
            # The bridge would end with the daemon, but is stopped and can't.
            for handle in handles:
                signal.pidfd_send_signal(handle, signal.SIGSTOP)
            assert [] == select.select(handles, [], [], 0)[0]
            os.kill(host.pid, signal.SIGKILL)
            for handle in handles:
                assert [handle] == select.select([handle], [], [], 10)[0]
        finally:
            for handle in handles:
                os.close(handle)
