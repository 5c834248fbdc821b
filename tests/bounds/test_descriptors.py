"""A daemon with few descriptors: nobody can use them up, so that others are locked out."""

import socket
from contextlib import ExitStack, closing

import httpx
import pytest

from ash.descriptors import DescriptorPlan, divide
from tests.support.own_daemon import running

# What the daemon may open. Its own half is 300.
FEW = 600

# 40 connections of each kind, held by one process inside: with half a head, to a host that is
# silent, and with nothing.
HOLD = """
import socket, time
says = b"GET /v1/mod", b"CONNECT 192.0.2.1:9 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n", b""
held = []
for number in range(120):
    try:
        held.append(socket.create_connection(("127.0.0.1", 3128), 1))
        held[-1].sendall(says[number % 3])
    except OSError:
        break
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1_048_576, DescriptorPlan(clients=4096, proxied=4096)),
        (20_000, DescriptorPlan(clients=2500, proxied=2500)),
        (1024, DescriptorPlan(clients=128, proxied=128)),
        (600, DescriptorPlan(clients=75, proxied=75)),
    ],
)
def test_descriptors_are_divided(limit, expected):
    """Clients and proxies get as many as the other, and the daemon and its sandboxes the rest."""
    assert expected == divide(limit, max_sandboxes=1000, max_connections=4096)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("few"), open_files=FEW) as found:
        yield found


def strangers(daemon, count):
    for number in range(count):
        stranger = socket.create_connection(daemon.address, 5)
        stranger.sendall((b"GET /health HT", b"", b"POST / HTTP/1.1\r\nHost: x\r\n")[number % 3])
        yield stranger


def test_half_heads_and_proxied_connections_lock_nobody_out(daemon):
    """Half heads by the hundred and two sandboxes that hold all they get: others work on."""
    hogs, victim = [daemon.session() for _ in range(2)], daemon.session()
    for hog in hogs:
        said = daemon.execute(
            hog,
            f"cat > hold.py <<'END'\n{HOLD}\nEND\n"
            "(setsid python3 hold.py > held 2>&1 </dev/null &) ; "
            "for n in $(seq 100); do grep -qs . held && break; sleep 0.1; done; cat held",
        )
        assert "held\n" == said
    with ExitStack() as held:
        for stranger in strangers(daemon, 700):
            held.enter_context(closing(stranger))
        assert daemon.opened() < FEW - 50
        turn = daemon.call("POST", f"/api/sessions/{victim}/messages", {"content": "hello"})
        assert "event: done" in turn.text
        asked = "curl -s -m 10 -o /dev/null -w '%{http_code}' http://127.0.0.1:3128/v1/models"
        assert daemon.execute(victim, asked).startswith(("2", "4"))
        assert "ended" in daemon.call("DELETE", f"/api/sessions/{daemon.session()}").text
    for session in (*hogs, victim):
        daemon.call("DELETE", f"/api/sessions/{session}")


def test_streams_of_one_key_leave_room_for_a_request(daemon):
    """Whoever holds too many streams is told so, and all can be used again once some are ended."""
    session = daemon.session()
    ask = (
        f"GET /api/sessions/{session}/stream HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {daemon.key}\r\n\r\n"
    ).encode()
    with ExitStack() as held:
        said = []
        for _ in range(60):
            stream = held.enter_context(closing(socket.create_connection(daemon.address, 5)))
            stream.sendall(ask)
            said.append(stream.recv(12))
        assert {b"HTTP/1.1 200", b"HTTP/1.1 503"} == set(said)
        assert 200 == httpx.get(f"{daemon.url}/health", trust_env=False).status_code
    daemon.call("DELETE", f"/api/sessions/{session}")
