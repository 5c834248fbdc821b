"""The commands `ash session files …`: what they send and print."""

import base64
import json

import pytest

FILES = "/api/sessions/s1/files"
LISTED = {
    "files": [
        {"path": "CLAUDE.md", "size": 12, "modifiedAt": "2026-01-02T03:04:05.678Z"},
        {"path": "src/a\x1b.py", "size": 3, "modifiedAt": "2026-01-02T03:04:05.678Z"},
    ],
    "source": "sandbox",
}


def test_list(client_ash, server):
    """Files are printed as a table, without control characters in names."""
    server.sends("GET", FILES, LISTED)

    result = client_ash("session", "files", "list", "s1")

    head, first, second = result.stdout.splitlines()
    assert ["PATH", "SIZE", "MODIFIED"] == head.split()
    assert "CLAUDE.md  12    2026-01-02T03:04:05.678Z" == first
    assert second.startswith("src/a.py ")


def test_list_hidden(client_ash, server):
    """--hidden also asks for hidden files; --json prints the answer."""
    server.sends("GET", f"{FILES}?includeHidden=true", LISTED)

    result = client_ash("session", "files", "list", "s1", "--hidden", "--json")

    assert LISTED == json.loads(result.stdout)


def test_list_that_is_cut(client_ash, server):
    """A truncated list is reported on stderr."""
    server.sends("GET", FILES, {**LISTED, "truncated": True})

    result = client_ash("session", "files", "list", "s1")

    assert "there are more files than are listed\n" == result.stderr


def test_get(client_ash, server):
    """A file is printed byte for byte."""
    server.sends("GET", f"{FILES}/src/a%20b.bin", b"\x00\xff\x1b\r\n")

    result = client_ash("session", "files", "get", "s1", "src/a b.bin")

    assert (0, b"\x00\xff\x1b\r\n") == (result.exit_code, result.stdout_bytes)


def test_get_into_a_file(client_ash, server, clean):
    """-o writes the bytes into a local file."""
    server.sends("GET", f"{FILES}/a", b"\x00\xff")

    result = client_ash("session", "files", "get", "s1", "a", "-o", "copy")

    assert (0, b"\x00\xff") == (result.exit_code, (clean / "copy").read_bytes())


def test_get_on_a_terminal(client_ash, server, monkeypatch):
    """On a terminal a file is printed without control characters."""
    monkeypatch.setattr("ash.cli.output._on_terminal", lambda **_: True)
    server.sends("GET", f"{FILES}/a", b"a\x1b[2J\xff\n")

    assert "a[2J\ufffd\n" == client_ash("session", "files", "get", "s1", "a").stdout


def test_get_missing(client_ash, server, clean):
    """A missing file is an error, and no local file is made."""
    body = {"error": 'There is no file "a"', "statusCode": 404}
    server.sends("GET", f"{FILES}/a", body, 404)

    result = client_ash("session", "files", "get", "s1", "a", "-o", "copy")

    assert (1, 'ash: There is no file "a"\n') == (result.exit_code, result.stderr)
    assert not (clean / "copy").exists()


def test_put(client_ash, server, clean):
    """Files keep their names and go into the given folder."""
    (clean / "local").mkdir()
    (clean / "local" / "a").write_bytes(b"\x00\xff")
    (clean / "b").write_bytes(b"")
    written = [
        {"path": "up/a", "written": True, "size": 2},
        {"path": "up/b", "written": True, "size": 0},
    ]
    server.sends("POST", FILES, {"files": written})

    result = client_ash("session", "files", "put", "s1", "local/a", "b", "--to", "up")

    assert (0, "wrote up/a, 2 bytes\nwrote up/b, 0 bytes\n") == (result.exit_code, result.stdout)
    sent = {file["path"]: base64.b64decode(file["content"]) for file in server.last_body["files"]}
    assert ({"a": b"\x00\xff", "b": b""}, "up") == (sent, server.last_body["targetPath"])


def test_put_of_an_executable(client_ash, server, clean):
    """It is sent as one; of other files the server knows best."""
    for name, mode in (("run", 0o755), ("text", 0o644)):
        (clean / name).touch()
        (clean / name).chmod(mode)
    server.sends("POST", FILES, {"files": []})

    client_ash("session", "files", "put", "s1", "run", "text")

    assert [True, None] == [file.get("executable") for file in server.last_body["files"]]


def test_name_that_is_not_utf_8(client_ash, server):
    """It is spelled as the server spells it, in the request and on the screen."""
    server.sends("DELETE", f"{FILES}/caf%EF%BF%BDE9", {"path": "caf\ufffdE9", "deleted": True})

    result = client_ash("session", "files", "rm", "s1", "caf\udce9")

    assert (0, "deleted caf\ufffdE9\n") == (result.exit_code, result.stdout)


def test_put_that_fails_for_one(client_ash, server, clean):
    """Files that were not written are reported, and the exit code is 1."""
    (clean / "a").touch()
    (clean / "b").touch()
    written = [
        {"path": "a", "written": False, "error": '"a" is a folder, not a file'},
        {"path": "b", "written": True, "size": 0},
    ]
    server.sends("POST", FILES, {"files": written})

    result = client_ash("session", "files", "put", "s1", "a", "b")

    assert (1, "wrote b, 0 bytes\n") == (result.exit_code, result.stdout)
    assert 'error: "a" is a folder, not a file\n' == result.stderr


def test_put_missing(client_ash, server):
    """A missing local file is an error before anything is sent."""
    result = client_ash("session", "files", "put", "s1", "nothing")

    assert (1, "ash: nothing: No such file or directory\n") == (result.exit_code, result.stderr)
    assert [] == server.asked


def test_rm(client_ash, server):
    """Deleting prints what was deleted."""
    server.sends("DELETE", f"{FILES}/src/a", {"path": "src/a", "deleted": True})

    assert "deleted src/a\n" == client_ash("session", "files", "rm", "s1", "src/a").stdout


@pytest.mark.parametrize(
    ("file", "sent"),
    [("..", "%2E%2E"), ("../../s2", "%2E%2E/%2E%2E/s2"), ("/etc", "/etc"), ("a?b#c", "a%3Fb%23c")],
)
def test_odd_path_is_no_other_route(client_ash, server, file, sent):
    """`rm ID ..` deletes a file called `..`, and does not end the session."""
    client_ash("session", "files", "rm", "s1", file)

    assert [("DELETE", f"{FILES}/{sent}")] == [request[:2] for request in server.asked]
