"""The commands `ash deploy` and `ash agent …`: what they send and print."""

import base64
import json
import os

import pytest

from ash.cli import agents
from ash.client.address import ServerAddress

AGENT = {
    "id": "a1",
    "name": "hello",
    "version": 2,
    "path": "/agents/hello",
    "updatedAt": "2026-01-02T03:04:05.678Z",
    "env": {"TOKEN": "***"},
}


@pytest.fixture
def folder(clean):
    """An agent's folder with files that are sent and files that are not."""
    root = clean / "hello"
    for name in (".claude", ".git", "node_modules", "src/__pycache__", ".venv"):
        (root / name).mkdir(parents=True)
        (root / name / "file").write_text(name)
    (root / "CLAUDE.md").write_text("# Hello ß")
    return root


@pytest.fixture
def deployed(server):
    server.sends("POST", "/api/agents", {"agent": AGENT}, 201)
    return server


def sent(server):
    """The files of the last request, decoded."""
    files = server.last_body["files"]
    return {
        file["path"]: base64.b64decode(file["content"]).decode()
        for file in files
        if "link" not in file and not file["path"].endswith("/")
    }


def test_deploy_to_a_local_server(client_ash, deployed, folder):
    """A server on this machine gets the absolute path, and the folder's name."""
    result = client_ash("deploy", "hello")

    assert (result.exit_code, result.stdout) == (0, "deployed hello, version 2\n")
    assert deployed.last_body == {"name": "hello", "path": str(folder)}


def test_deploy_by_name(client_ash, deployed, folder):
    """--name sets the agent's name."""
    client_ash("deploy", folder, "--name", "other")

    assert deployed.last_body["name"] == "other"


def test_deploy_json(client_ash, deployed, folder):
    """--json prints the agent."""
    assert json.loads(client_ash("deploy", folder, "--json").stdout) == AGENT


def test_deploy_warnings(client_ash, server, folder):
    """What the server has to say of the folder is printed on stderr, and is in --json too."""
    warnings = ["a: left out", "b: odd"]
    server.sends("POST", "/api/agents", {"agent": AGENT, "warnings": warnings}, 201)

    result = client_ash("deploy", folder, "--json")

    assert result.stderr == "warning: a: left out\nwarning: b: odd\n"
    assert json.loads(result.stdout) == {**AGENT, "warnings": warnings}


FOUND = {
    "ok": False,
    "findings": [
        {"severity": "error", "path": "a.json", "line": 3, "column": 17, "message": "a comma"},
        {"severity": "warning", "path": ".venv", "message": "left out"},
    ],
}


def test_deploy_check(client_ash, server, folder):
    """--check prints the findings as compilers do and deploys nothing; errors are a failure."""
    server.sends("POST", "/api/agents/check", FOUND)

    result = client_ash("deploy", folder, "--check")

    assert result.stdout == "a.json:3:17: a comma\n.venv: warning: left out\n"
    assert (result.exit_code, result.stderr) == (1, "1 error, 1 warning\n")
    assert "strict" not in server.last_body


def test_deploy_check_upload(client_ash, server, folder):
    """What stays behind is a warning too; the server never sees it."""
    server.sends("POST", "/api/agents/check", {"ok": True, "findings": []})

    good = client_ash("deploy", folder, "--check", "--upload")
    strict = client_ash("deploy", folder, "--check", "--upload", "--strict")

    assert [".git", ".venv", "node_modules", "src/__pycache__"] == [
        line.partition(": warning: left out")[0] for line in good.stdout.splitlines()
    ]
    assert (0, "0 errors, 4 warnings\n", 1) == (good.exit_code, good.stderr, strict.exit_code)


def test_deploy_check_strict_and_json(client_ash, server, folder):
    """--strict is the server's to judge, and --json prints what it answers."""
    server.sends("POST", "/api/agents/check", {"ok": True, "findings": []})

    result = client_ash("deploy", folder, "--check", "--strict", "--json")

    assert (result.exit_code, json.loads(result.stdout)) == (0, {"ok": True, "findings": []})
    assert server.last_body["strict"]


def test_deploy_force_and_strict(client_ash, deployed, folder):
    """Both are sent as they are given."""
    client_ash("deploy", folder, "--force", "--strict")

    assert (deployed.last_body["force"], deployed.last_body["strict"]) == (True, True)


def test_deploy_upload_strict(client_ash, deployed, folder):
    """With --strict nothing may stay behind, and the server is not asked."""
    result = client_ash("deploy", folder, "--upload", "--strict")

    assert result.exit_code == 1
    assert result.stderr.startswith("ash: .git: left out by default")
    assert result.stderr.endswith("Nothing was deployed: --strict allows no warning.\n")


def test_deploy_upload(client_ash, deployed, folder):
    """--upload sends the files, without folders that can be rebuilt, and says which."""
    result = client_ash("deploy", folder, "--upload")

    told = {line.split()[1] for line in result.stderr.splitlines()}
    assert told == {".git:", ".venv:", "node_modules:", "src/__pycache__:"}

    assert sent(deployed) == {"CLAUDE.md": "# Hello ß", ".claude/file": ".claude"}
    assert "path" not in deployed.last_body


def test_deploy_to_another_machine(client_ash, deployed, folder, monkeypatch):
    """A server on another machine gets the files."""
    monkeypatch.setattr(ServerAddress, "is_local", False)

    client_ash("deploy", folder)

    assert "CLAUDE.md" in sent(deployed)


def test_deploy_links(client_ash, deployed, folder):
    """Links are sent as links; one that names the folder's own path leads there from the inside."""
    (folder.parent / "secret").write_text("secret")
    links = {"inside": "CLAUDE.md", "upwards": "../secret", "src/up": "../.claude", "none": "x"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "absolute").symlink_to(folder / ".claude" / "file")

    client_ash("deploy", folder, "--upload")

    files = deployed.last_body["files"]
    found = {file["path"]: file["link"] for file in files if "link" in file}
    assert found == {**links, "absolute": ".claude/file"}
    assert "secret" not in sent(deployed).values()


def test_deploy_permissions(client_ash, deployed, folder):
    """The permissions of each file are sent with it, and folders are sent too."""
    (folder / "run.sh").write_text("x")
    (folder / "run.sh").chmod(0o750)
    (folder / "CLAUDE.md").chmod(0o604)
    (folder / "empty").mkdir()

    client_ash("deploy", folder, "--upload")

    modes = {file["path"]: file.get("mode") for file in deployed.last_body["files"]}
    assert ("750", "604", None) == (modes["run.sh"], modes["CLAUDE.md"], modes["empty/"])


def test_deploy_env_file(client_ash, deployed, folder):
    """`.env` is sent, for the agent's environment; the server leaves the file itself out."""
    (folder / ".env").write_text("TOKEN=x")

    client_ash("deploy", folder, "--upload")

    assert sent(deployed)[".env"] == "TOKEN=x"


def test_deploy_name_that_is_not_utf_8(client_ash, deployed, folder):
    """Each byte that is not UTF-8 is sent as U+FFFD and its digits."""
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("x")

    result = client_ash("deploy", folder, "--upload")

    assert result.exit_code == 0
    assert "caf\ufffdE9.txt" in sent(deployed)


def test_deploy_too_much(client_ash, server, folder, monkeypatch):
    """Too large a folder is refused before anything is sent."""
    monkeypatch.setattr(agents, "_MOST_BYTES", 5)

    result = client_ash("deploy", folder, "--upload")

    assert result.exit_code == 1
    assert "holds more than" in result.stderr
    assert server.asked == []


@pytest.mark.parametrize("path", ["hello/src", "nowhere", "hello/CLAUDE.md"])
def test_deploy_of_a_folder_without_a_prompt(client_ash, server, folder, path):
    """A folder without a CLAUDE.md is refused before anything is sent."""
    result = client_ash("deploy", path)

    assert result.exit_code == 1
    assert result.stderr == f"ash: {path} is not an agent: there is no CLAUDE.md in it\n"
    assert server.asked == []


def test_deploy_folder_name_that_is_no_agent_name(client_ash, folder):
    """If the folder's name is no valid agent name, the error suggests --name."""
    odd = folder.rename(folder.parent / "hello world")

    result = client_ash("deploy", odd)

    assert result.exit_code == 1
    assert "choose one with --name" in result.stderr


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_deploy_path_that_the_server_refuses(client_ash, server, folder, options):
    """If the server refuses the path, the error suggests --upload."""
    for path in ("/api/agents", "/api/agents/check"):
        server.sends("POST", path, {"error": "path: no folder", "statusCode": 400}, 400)

    result = client_ash("deploy", folder, *options)

    assert result.stderr == "ash: path: no folder (--upload sends the files instead)\n"


@pytest.mark.parametrize("options", [[], ["--upload"], ["--check"]])
def test_deploy_agent_config(client_ash, deployed, folder, options):
    """--agent-config is the agent's config, also for a check."""
    deployed.sends("POST", "/api/agents/check", {"ok": True, "findings": []})

    client_ash("deploy", folder, "--agent-config", '{"systemPrompt": "claude-code"}', *options)

    assert deployed.last_body["config"] == {"systemPrompt": "claude-code"}


@pytest.mark.parametrize("text", ["", "x", "[1]", "null"])
def test_deploy_agent_config_that_is_no_object(client_ash, deployed, folder, text):
    """Nothing is sent, and the error shows what is expected."""
    result = client_ash("deploy", folder, "--agent-config", text)

    assert result.exit_code == 1
    assert result.stderr.startswith("ash: --agent-config must be a JSON object, such as '{")


def test_agent_list(client_ash, server):
    """Agents are printed as a table."""
    server.sends("GET", "/api/agents", {"agents": [AGENT, {**AGENT, "name": "a-longer-name"}]})

    lines = client_ash("agent", "list").stdout.splitlines()

    assert lines[0] == "NAME           VERSION  UPDATED                   PATH"
    assert lines[1] == "hello          2        2026-01-02T03:04:05.678Z  /agents/hello"
    assert lines[2].startswith("a-longer-name  2")


def test_agent_list_json(client_ash, server):
    """--json prints the agents as the server sends them."""
    server.sends("GET", "/api/agents", {"agents": [AGENT]})

    assert json.loads(client_ash("agent", "list", "--json").stdout) == [AGENT]


def test_agent_list_empty(client_ash, server):
    """Without agents the table is empty."""
    server.sends("GET", "/api/agents", {"agents": []})

    assert client_ash("agent", "list").stdout == "NAME  VERSION  UPDATED  PATH\n"


def test_agent_get(client_ash, server):
    """An agent is printed one field a line, with objects as JSON."""
    server.sends("GET", "/api/agents/hello", {"agent": AGENT})

    lines = client_ash("agent", "get", "hello").stdout.splitlines()

    assert "name:      hello" in lines
    assert 'env:       {"TOKEN": "***"}' in lines


def test_agent_get_odd_name(client_ash, server):
    """A name with a slash is one part of the path."""
    client_ash("agent", "get", "a/../b?c")

    assert server.asked[-1][1] == "/api/agents/a%2F..%2Fb%3Fc"


def test_agent_delete(client_ash, server):
    """Deleting prints what was deleted."""
    server.sends("DELETE", "/api/agents/hello", {"ok": True})

    assert client_ash("agent", "delete", "hello").stdout == "deleted hello\n"
