"""One declaration of each option, and all that follows from it."""

import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ash.client.session_calls import configure_session, create_session
from ash.client.stream_calls import send_message
from ash.model import SessionSettings
from ash.protocol import Query
from ash.session_options import API_NAMES, OPTIONS, SessionOptions, without_secrets
from bridge.engine import Launch, wanted_by

ROOT = Path(__file__).parents[1]
LASTING = {"model", "allowedTools", "disallowedTools", "betas", "subagents", "initialAgent"}
CREATION = {"systemPrompt", "mcpServers", "permissionMode", "extraEnv", "limits"}
TURN = {
    "model",
    "includePartialMessages",
    "maxTurns",
    "maxBudgetUsd",
    "effort",
    "thinking",
    "outputFormat",
}
MOMENTS = [("create", LASTING | CREATION), ("configure", LASTING), ("turn", TURN)]

NEW_OPTIONS = """
    colour: Annotated[str | None, OptionRules(LASTING | AT_TURN)] = None
    word: Annotated[str | None, OptionRules(AT_CREATE, secret=True)] = None
    pace: Annotated[int | None, OptionRules(AT_TURN, Annotated[int, Meta(ge=1)])] = None
"""

# Each step is done with what the step before it wrote as JSON.
LIFE_OF_THE_NEW_OPTIONS = """
import msgspec
from ash import protocol
from ash.model import Agent, SessionSettings, StoredAgent
from ash.requests.messages import message_query
from ash.requests.sessions import ConfigureSession, CreateSession, new_session
from ash.session_options import given, without_secrets
from ash.sessions import session_spec
from bridge.engine import opened_with, wanted_by

def over_the_wire(command):
    return protocol.decode_command(protocol.encode(command))

body = b'{"agent":"a","colour":"red","word":"xyzzy","pace":7}'
wanted, _ = new_session(msgspec.json.decode(body, type=CreateSession))
times = {"created_at": "", "updated_at": ""}
agent = Agent(id="", name="a", tenant_id="", version=1, path="", **times)
agent = StoredAgent(agent=agent, source="")
stored = session_spec.new_session("id", agent, wanted, mode="default", owner="", now="")
settings = msgspec.json.encode(stored.settings)
stored.settings = msgspec.json.decode(settings, type=SessionSettings)
launch = opened_with(over_the_wire(session_spec.opening(agent, stored)))

changed = msgspec.json.decode(b'{"colour":"blue","word":"x"}', type=ConfigureSession)
changes = given(changed, "configure")
stored.session.model, stored.session.config = session_spec.configured(stored.session, changes)

def launched(message):
    query = message_query("id", message)
    session_spec.fill_in(query, stored.session)
    turn = wanted_by(over_the_wire(query), launch)
    return [turn.colour, turn.word, turn.pace]

print(msgspec.json.encode({
    "settings": msgspec.Raw(settings),
    "opened": [launch.colour, launch.word, launch.pace],
    "changed": changes,
    "config": stored.session.config,
    "turns": [launched(b'{"content":"","pace":2}'), launched(b'{"content":"","colour":"green"}')],
    "uploaded": without_secrets(stored.settings)[1],
}).decode())
"""


def parameters(call, *others):
    return set(inspect.signature(call).parameters) - {"session_id", *others}


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """What becomes of three new options, in a copy of the code with a line for each."""
    copy = tmp_path_factory.mktemp("copy")
    for package in ("ash", "bridge"):
        shutil.copytree(ROOT / package, copy / package)
    table = copy / "ash" / "session_options.py"
    head, end, rest = table.read_text().partition("\n\nclass SessionOptions(")
    table.write_text(head + NEW_OPTIONS + end + rest)
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(copy)!r})\n"]
    command[-1] += LIFE_OF_THE_NEW_OPTIONS
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_new_option_is_stored_where_its_moments_say(life):
    """What an owner may change is in the config; what only a creation gives is private."""
    assert {"permissionMode": "default", "word": "xyzzy"} == life["settings"]
    assert {"colour": "blue"} == life["config"]


def test_new_option_reaches_the_engine_of_a_new_session(life):
    """It is in the request, in the command to the bridge and in the launch."""
    assert ["red", "xyzzy", None] == life["opened"]


def test_new_option_is_given_only_when_it_may_be(life):
    """At another moment it is a field that nobody knows, and ignored."""
    assert {"colour": "blue"} == {name: v for name, v in life["changed"].items() if v is not None}
    assert "word" not in life["changed"]


def test_new_option_reaches_the_engine_with_a_turn(life):
    """A turn's own value goes before the session's; what a turn does not say is as configured."""
    assert [["blue", "xyzzy", 2], ["green", "xyzzy", None]] == life["turns"]


def test_new_option_that_is_secret_is_in_no_snapshot(life):
    """Its name is told in its place."""
    assert ["word"] == life["uploaded"]


@pytest.mark.parametrize(("moment", "expected"), MOMENTS)
def test_options_are_those_of_the_contract(moment, expected):
    """What may be given when is promised to clients."""
    assert expected == {API_NAMES[name] for name in OPTIONS if moment in OPTIONS[name].at}


@pytest.mark.parametrize(
    ("call", "moment", "others"),
    [
        (create_session, "create", ["agent"]),
        (configure_session, "configure", []),
        (send_message, "turn", ["content", "when_busy", "resume", "on_disconnect"]),
    ],
)
def test_client_takes_every_option(call, moment, others):
    """A call of the client has a parameter for each option of its moment, and sends it."""
    names = {name for name in OPTIONS if moment in OPTIONS[name].at}
    assert names == parameters(call, *others)
    request = call("x", *(["hi"] if moment == "turn" else []), **dict.fromkeys(names, 1))
    body = (request.message if moment == "turn" else request).body
    assert {API_NAMES[name] for name in names} == body.keys() - {"agent", "content"}


def test_settings_of_an_older_version_are_read():
    """What is in a database stays readable, fields that were dropped included."""
    old = b"""{"systemPrompt":"be kind","mcpServers":{"s":{"url":"http://s"}},
        "permissionMode":"default","extraEnv":{"A":"b"},"credentialId":"c",
        "limits":{"memoryMb":512},"fork":[{"sessionId":"p","at":"u","prompts":1}]}"""
    settings = msgspec.json.decode(old, type=SessionSettings)
    written = msgspec.json.decode(old)
    del written["credentialId"]
    assert written == msgspec.json.decode(msgspec.json.encode(settings))


def test_settings_that_say_nothing_are_empty():
    """Only what a session asked for is stored."""
    assert b"{}" == msgspec.json.encode(SessionSettings())


def test_secrets_are_taken_out_and_named():
    """The environment and the MCP servers, whose headers often hold a key."""
    options = SessionOptions(model="m", extra_env={"A": "b"}, mcp_servers={"s": {"url": "u"}})
    assert (SessionOptions(model="m"), ["extraEnv", "mcpServers"]) == without_secrets(options)
    assert (SessionOptions(model="m"), []) == without_secrets(SessionOptions(model="m"))


def test_turn_changes_the_launch_for_what_is_fixed_at_spawn():
    """Budgets hold for one turn, other options from then on; the model needs no new engine."""
    standing = Launch(session_id="s", model="m", system_prompt="p", max_turns=1, betas=["a"])
    query = Query(
        prompt=msgspec.Raw(b""),
        session_id="s",
        model="other",
        system_prompt="other",
        extra_env={"A": "b"},
        include_partial_messages=True,
        effort="low",
        allowed_tools=["Bash"],
    )
    changed = Launch(
        session_id="s",
        model="m",
        system_prompt="p",
        effort="low",
        betas=["a"],
        allowed_tools=["Bash"],
    )
    assert changed == wanted_by(query, standing)


def test_bridge_imports_little_of_ash():
    """Every sandbox pays for what the bridge imports."""
    code = "import sys, bridge.server; print(*(m for m in sys.modules if m.startswith('ash')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    expected = {"ash", "ash.protocol", "ash.session_options", "ash.shapes"}
    assert expected == set(run.stdout.decode().split())


@pytest.mark.parametrize("engine", ["claude_agent", "claude_code"])
def test_cli_engines_read_every_field_of_a_launch(engine):
    """An option that reaches the launch reaches the CLI too, or is refused."""
    # The worker puts the environment into its own; partial messages are always asked for.
    # The conversation is made ready before an engine is opened.
    elsewhere = {"extra_env", "include_partial_messages", "last", "began", "fork"}
    sources = [
        (ROOT / f"bridge/{name}.py").read_text()
        for name in (engine, "cli_settings", "launch_files")
    ]
    read = {name for source in sources for name in re.findall(r"\blaunch\.(\w+)", source)}
    assert set() == set(Launch.__struct_fields__) - elsewhere - read
