"""Every error is one line on stderr that says what to do, with a non-zero exit code."""

import socket
from threading import Thread

import click
import pytest
from click.testing import CliRunner

from ash.cli import main, output
from ash.errors import NotFound


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_refused_connection(ash):
    """The error names the URL that was tried, and how to start a server."""
    url = f"http://127.0.0.1:{closed_port()}"

    result = ash("--server", url, "health")

    assert result.exit_code == 1
    assert result.stderr == (
        f"ash: cannot reach {url}: Connection refused; start a server with `ash start`\n"
    )


def test_wrong_key(client_ash, server):
    """The error says where the key came from, but not the key."""
    server.sends("GET", "/api/agents", {"error": "unknown key", "statusCode": 401}, 401)

    result = client_ash("agent", "list", env={"ASH_API_KEY": "topsecret"})

    assert result.exit_code == 1
    assert result.stderr == (
        "ash: the server refused the key; looked for one in --api-key, ASH_API_KEY,"
        " data/initial-api-key\n"
    )


def test_missing_key(client_ash, server):
    """The error says where a key is looked for."""
    server.sends("GET", "/api/agents", {"error": "missing key", "statusCode": 401}, 401)

    result = client_ash("agent", "list")

    assert server.keys == [None]
    assert result.stderr.startswith("ash: the server wants a key; looked for one in --api-key")


def test_error_of_the_server(client_ash, server):
    """The server's error text is shown on one line."""
    server.sends("GET", "/api/agents/x", {"error": "no agent\n\x1b[2Jx", "statusCode": 404}, 404)

    result = client_ash("agent", "get", "x")

    assert (result.exit_code, result.stderr) == (1, "ash: no agent [2Jx\n")


@pytest.mark.parametrize("status", [200, 502])
def test_another_server(client_ash, server, status):
    """The error says that the server is not ash."""
    server.sends("GET", "/health", b"<html>", status)

    result = client_ash("health")

    assert result.exit_code == 1
    assert "is this an ash server?" in result.stderr
    assert result.stderr.count("\n") == 1


def test_broken_off_connection(ash):
    """A connection that ends without an answer is reported as such."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def hang_up():
            listener.accept()[0].close()

        thread = Thread(target=hang_up)
        thread.start()
        result = ash("--server", f"127.0.0.1:{port}", "health")
        thread.join()

    assert result.exit_code == 1
    assert f"ash: the connection to http://127.0.0.1:{port} broke off" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bogus"], "ash: No such command 'bogus'. (see ash --help)\n"),
        (["agent", "get"], "ash: Missing argument 'NAME'. (see ash agent get --help)\n"),
        (["--server", "ftp://x", "health"], "ash: the server must be an http:// or https:// URL"),
    ],
)
def test_wrong_usage(ash, arguments, line):
    """Wrong usage is one line that refers to --help."""
    result = ash(*arguments)

    assert result.exit_code != 0
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1


def test_broken_settings(ash, clean):
    """An invalid ash.toml is reported by every command that reads it."""
    (clean / "ash.toml").write_text("prot = 1")

    assert ash("status").stderr == "ash: unknown key 'prot' in ash.toml; did you mean port?\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (NotFound("no such\nthing"), 1, "tool: no such thing\n"),
        (ZeroDivisionError("by zero"), 1, "tool: unexpected ZeroDivisionError: by zero\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "tool: /x: Permission denied\n"),
        (click.ClickException("no"), 1, "tool: no\n"),
        (KeyboardInterrupt(), 130, "\n"),
    ],
)
def test_any_exception(error, code, line):
    """Any exception is one line without a traceback."""

    @click.command("tool", cls=output.OneLineCommand)
    def tool():
        raise error

    result = CliRunner().invoke(tool, [])

    assert (code, line) == (result.exit_code, result.stderr)


def test_help_names_every_command(ash):
    """The help of `ash` lists all commands."""
    help_text = ash("--help").stdout

    assert {"start", "stop", "status", "health", "deploy", "agent", "session", "demo"} == set(
        main.commands
    )
    assert all(f"\n  {name} " in help_text for name in main.commands)


def test_no_command(ash):
    """`ash` alone prints the help."""
    assert "Usage: ash" in ash().stderr
