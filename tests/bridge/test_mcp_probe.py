"""Trying MCP servers: which work, and why others don't."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from bridge.mcp_probe import main

ANSWER = {"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "2025-06-18"}}
GOOD = f"""
import json, sys
assert json.loads(input())["method"] == "initialize"
print("starting")
print(json.dumps({ANSWER}))
sys.stdout.flush()
input()
"""


def program(code):
    return {"command": sys.executable, "args": ["-c", code]}


def why(server, seconds=20):
    return main({"it": server}, seconds).get("it")


def test_program_that_answers_works():
    """Other lines before its answer do no harm."""
    assert why(program(GOOD)) is None


def test_program_that_ends_is_quoted():
    """With its last line on stderr, and its status."""
    code = "import sys; print('one\\ntwo', file=sys.stderr); sys.exit(3)"
    assert "it ended (3): two" == why(program(code))
    assert "it ended (0): it printed nothing" == why(program(""))


def test_program_that_is_missing_says_so():
    """In the words of the system."""
    assert "No such file or directory: 'nosuch'" in why({"command": "nosuch"})


def test_program_that_never_answers_is_killed_with_what_it_started():
    """After the time that it was given."""
    code = "import subprocess; subprocess.run(['sleep', '1000'])"
    assert "it did not answer initialize within 0.5 s" == why(program(code), 0.5)


def test_program_gets_its_own_variables():
    """Those of its server, beside those of the sandbox."""
    code = "import os, sys; sys.exit(os.environ['KEY'])"
    assert "it ended (1): k" == why({**program(code), "env": {"KEY": "k"}})


def test_each_server_is_tried_and_only_failures_are_told():
    """At the same time, so that one that hangs holds up no other."""
    failed = main({"good": program(GOOD), "bad": {"command": "nosuch"}, "odd": {"url": 3}}, 20)
    assert {"bad", "odd"} == failed.keys()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def do_GET(self):
        self.send_response(200 if "event-stream" == self.headers["Accept"][5:] else 405)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def address(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_remote_server_is_asked_over_http(address):
    """An error status is the reason."""
    assert why({"type": "http", "url": f"{address}/200"}) is None
    assert why({"type": "sse", "url": f"{address}/"}) is None
    assert "it answered 401 Unauthorized" == why({"type": "http", "url": f"{address}/401"})
    assert "refused" in why({"type": "http", "url": "http://127.0.0.1:1/"})
