"""What an agent's folder says works as it does for the CLI; the model is the stub."""

import base64
import json

import pytest

from ash.testing import StubModel
from tests.support.daemon import running, settings

pytestmark = pytest.mark.cli

SERVER = """\
import json, sys
ANSWERS = {
    "initialize": {
        "protocolVersion": "2024-11-05",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "calendar", "version": "1"},
    },
    "tools/list": {"tools": [{"name": "today", "inputSchema": {"type": "object"}}]},
}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        result = ANSWERS.get(asked["method"], {})
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""

PERMISSIONS = {
    "allow": ["Bash(echo:*)"],
    "deny": ["Bash(ls:*)"],
    "ask": ["Bash(date:*)"],
    "defaultMode": "acceptEdits",
}

FOLDER = {
    "CLAUDE.md": "You are terse.",
    "calendar.py": SERVER,
    ".mcp.json": '{"mcpServers": {"filed": {"command": "python3", "args": ["calendar.py"]}}}',
    ".claude/settings.json": json.dumps({"permissions": PERMISSIONS}),
    ".claude/skills/greet/SKILL.md": "---\nname: greet\ndescription: Greets.\n---\nSay hi.\n",
}


def encoded(text):
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
async def world(tmp_path):
    """A client of a daemon on the real CLI, with the agent deployed, and the stub model."""
    async with StubModel() as model:
        wanted = settings(
            tmp_path / "data",
            engine="claude-agent",
            anthropic_base_url=model.url,
            anthropic_api_key="sk-real",
        )
        async with running(wanted) as daemon:
            files = [{"path": path, "content": encoded(text)} for path, text in FOLDER.items()]
            await daemon.us.deploy(systemPrompt=None, files=files)
            yield daemon.us, model


def result_of(frames):
    (found,) = [frame.value for frame in frames if frame.event == "tool_result"]
    return found


def init_of(frames):
    messages = [frame.value for frame in frames if frame.event == "message"]
    return next(message for message in messages if message.get("subtype") == "init")


async def test_folder_of_an_agent_holds_for_its_sessions(world):
    """`CLAUDE.md`, skills and `.mcp.json` work, and a session's own servers come beside them."""
    us, model = world
    own = {"own": {"command": "python3", "args": ["calendar.py"]}}
    session = await us.create(mcpServers=own)
    init = init_of(await us.say(session, "hello"))
    assert {"filed": "connected", "own": "connected"} == {
        server["name"]: server["status"] for server in init["mcp_servers"]
    }
    assert {"mcp__filed__today", "mcp__own__today"} <= set(init["tools"])
    assert "greet" in init["skills"]
    assert "You are terse." in str(model.requests[-1].body)


GUARD = """\
#!/bin/sh
case $(cat) in *forbidden*) echo "not here" >&2; exit 2;; esac
"""

GUARDED = {
    "CLAUDE.md": "You are guarded.",
    ".env": "GREETING=hello",
    ".agents/skills/greet/SKILL.md": FOLDER[".claude/skills/greet/SKILL.md"],
    ".claude/hooks/guard.sh": GUARD,
    ".claude/settings.json": json.dumps(
        {
            "hooks": {
                "PreToolUse": [
                    {
                        "matcher": "Bash",
                        "hooks": [
                            {
                                "type": "command",
                                "command": "$CLAUDE_PROJECT_DIR/.claude/hooks/guard.sh",
                            }
                        ],
                    }
                ]
            }
        }
    ),
}


async def test_guard_holds_though_its_permissions_were_lost(world):
    """A hook that came as JSON stops its tool; linked skills and the `.env` are there too."""
    us, _ = world
    files = [{"path": path, "content": encoded(text)} for path, text in GUARDED.items()]
    files.append({"path": ".claude/skills", "link": "../.agents/skills"})
    await us.deploy("guarded", systemPrompt=None, files=files)
    session = await us.create("guarded")
    frames = await us.say(session, "BASH: echo forbidden")
    assert "greet" in init_of(frames)["skills"]
    refused = result_of(frames)
    assert refused["is_error"]
    assert "not here" in str(refused["content"])
    assert "hello" == result_of(await us.say(session, "BASH: echo $GREETING"))["content"]


NO_RULE = 'BASH: python3 -c "print(1)"'
EDIT = "WRITE: note.txt hello"


@pytest.mark.parametrize(
    ("mode", "also_runs"),
    [("bypassPermissions", {NO_RULE, EDIT}), ("permissionsByAgent", {EDIT}), ("default", set())],
)
async def test_permission_mode_decides_what_runs_without_a_rule(world, mode, also_runs):
    """The agent's own rules hold in each mode; what a person would have to allow is refused."""
    us, _ = world
    session = await us.create(permissionMode=mode)
    ran = set()
    for tool in ("BASH: echo fine", "BASH: ls", "BASH: date", NO_RULE, EDIT):
        frames = await us.say(session, tool)
        assert "completed" == frames[-1].value["reason"]
        if not result_of(frames).get("is_error"):
            ran.add(tool)
    assert {"BASH: echo fine", *also_runs} == ran
