"""Fixtures: a small server that answers from a table, and the command line against it."""

import json
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from click.testing import CliRunner

from ash.cli import main


class Served:
    """The server's answers, `(method, path) -> (status, body)`, and the requests it has got.

    A body that is a list of byte strings is sent as an event stream, one chunk each; a function is
    called with the request's body.
    """

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.answers = {}
        self.asked = []
        self.keys = []

    def sends(self, method, path, body, status=200):
        self.answers[method, path] = (status, body)

    def streams(self, session, *frames):
        self.sends(
            "POST",
            f"/api/sessions/{session}/messages?resume=auto",
            [self.sse(*frame) for frame in frames],
        )

    @staticmethod
    def sse(event, data, frame_id=""):
        text = data if isinstance(data, str) else json.dumps(data)
        head = f"id: {frame_id}\n" if frame_id else ""
        return f"{head}event: {event}\ndata: {text}\n\n".encode()

    @property
    def last_body(self):
        return self.asked[-1][2]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self):
        served = self.server.served
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        served.asked.append((self.command, self.path, body))
        served.keys.append(self.headers.get("Authorization"))
        unknown = (404, {"error": f"no {self.path}", "statusCode": 404})
        status, answer = served.answers.get((self.command, self.path), unknown)
        if callable(answer):
            answer = answer(body)
        if isinstance(answer, list):
            self._stream(answer)
        else:
            self._send(status, answer)

    def __getattr__(self, name):
        """Serves every method alike; the base class looks for `do_GET` and so on."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _send(self, status, answer):
        payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _stream(self, chunks):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(chunk)
        self.close_connection = True

    def log_message(self, *_):
        """Keeps requests out of the test's output."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Ignores clients that leave early, which some tests do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving():
    server = _Server(("127.0.0.1", 0), _Handler)
    server.served = Served(server.server_port)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server():
    with serving() as served:
        yield served


@pytest.fixture
def soon(monkeypatch):
    """Makes streams reconnect at once."""
    monkeypatch.setattr("ash.client.reconnecting.FIRST_PAUSE", 0)


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """Removes the machine's own settings, and works in an empty directory."""
    for name in ("ASH_SERVER_URL", "ASH_API_KEY", "ASH_DATA_DIR", "ASH_CONFIG", "ASH_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ash(clean):
    """Runs `ash` with the arguments; the result has exit_code, stdout and stderr."""
    runner = CliRunner()
    return lambda *args, **options: runner.invoke(main, [str(a) for a in args], **options)


@pytest.fixture
def client_ash(ash, server):
    """Runs `ash` against the server."""
    return lambda *args, **options: ash("--server", server.url, *args, **options)
