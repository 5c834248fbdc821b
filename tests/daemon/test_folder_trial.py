"""A check starts in a sandbox what the folder starts, and leaves nothing behind."""

import base64
import json

SERVER = """
import json, os
request = json.loads(input())
assert os.environ["KEY"] == "agent's" and os.getcwd() == "/workspace"
print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {}}), flush=True)
input()
"""


def files(**contents):
    named = {"CLAUDE.md": "be kind", **contents}
    return [
        {"path": path, "content": base64.b64encode(text.encode()).decode()}
        for path, text in named.items()
    ]


def servers(**named):
    return {".mcp.json": json.dumps({"mcpServers": named}, indent=1)}


async def checked(us, contents, **fields):
    body = {"name": "a", "files": files(**contents), **fields}
    answer = await us.post("/api/agents/check", json=body, timeout=60)
    return answer.raise_for_status().json()


async def test_servers_are_started_in_a_sandbox(us, data_dir):
    """After install.sh, with the agent's variables; each that fails is named at its place."""
    contents = {
        "install.sh": "cp source.py server.py\n",
        "source.py": SERVER,
        **servers(
            good={"command": "python3", "args": ["${FILE:-server.py}"], "env": {"KEY": "${KEY}"}},
            ends={"command": "python3", "args": ["-c", "raise SystemExit('no licence')"]},
            closed={"type": "http", "url": "https://mcp.example.org/"},
        ),
    }
    found = await checked(us, contents, env={"KEY": "agent's"}, config={"network": "none"})
    assert found["ok"]
    said = {(each["line"], each["message"]) for each in found["findings"]}
    assert (12, 'the MCP server "ends" was tried: it ended (1): no licence') in said
    assert {"closed", "ends"} == {message.split('"')[1] for _, message in said}
    assert [] == [*data_dir.glob("sandboxes/*"), *data_dir.glob("agents/default/*")]


async def test_install_sh_that_fails_is_an_error(us):
    """With its last lines; a session would not start."""
    found = await checked(us, {"install.sh": "echo no such package\nexit 3\n"})
    assert {
        "ok": False,
        "findings": [
            {
                "severity": "error",
                "path": "install.sh",
                "message": "it failed (3): no such package",
            }
        ],
    } == found
